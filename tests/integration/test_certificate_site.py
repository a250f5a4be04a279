"""A whole Figlina whose certificates live for seconds: renewed, run out and mended, and led to other roots, with traffic all the while."""

from __future__ import annotations

import datetime
import subprocess
import time
from typing import Any

import pytest

from controller.dev import processes
from controller.dev.client import eventually
from tests.integration.site import Balancer, Site

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LIFETIME = 20
OPTIONS = {
    "certificates.cert_validity_time": str(LIFETIME),
    "certificates.client_cert_validity_time": str(LIFETIME),
    "house_keeping.cert_interval": "0.5",
}
PROCESSES = ("worker", "health_manager", "housekeeping")


@pytest.fixture(scope="module")
def balancer(site: Site) -> Balancer:
    return site.balancer()


def amphora(balancer: Balancer) -> dict[str, Any]:
    """The API's view of its amphora; there is one."""
    [found] = balancer.site.api.get(f"/v2/octavia/amphorae?loadbalancer_id={balancer.id}")["amphorae"]
    return dict(found)


def until(balancer: Balancer) -> datetime.datetime:
    return datetime.datetime.fromisoformat(amphora(balancer)["cert_expiration"])


def events(balancer: Balancer) -> list[str]:
    return [event["code"] for event in balancer.site.api.get(f"/loadbalancers/{balancer.id}/events?limit=1000")["events"]]


def undisturbed(balancer: Balancer, before: dict[str, Any], traffic: dict[str, Any]) -> None:
    """No request failed, no beat was missed, and the amphora is the same."""
    assert traffic["failed"] == 0, traffic
    assert traffic["requests"] > 500, traffic
    assert amphora(balancer)["id"] == before["id"]
    told = events(balancer)
    assert not {"heartbeats_lost", "amphora_lost", "replaced", "certificate_not_renewed", "certificate_replacement"} & set(told), told
    assert balancer.show()["provisioning_status"] == "ACTIVE"


def test_certificates_of_seconds_are_renewed_under_traffic_and_nobody_notices(site: Site, balancer: Balancer) -> None:
    """Long enough that each of the first certificates, the controllers' own included, has run out twice over."""
    before, seen = amphora(balancer), {until(balancer)}
    with site.traffic(balancer.vip, rate=100, seconds=200) as traffic:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 2.5 * LIFETIME or (len(seen) < 4 and passed < 5 * LIFETIME):
            time.sleep(0.5)
            seen.add(until(balancer))
        balancer.site.api.put(f"/loadbalancers/{balancer.id}", {"loadbalancer": {"description": "changed"}})
        balancer.wait_active()
    undisturbed(balancer, before, traffic)
    assert len(seen) >= 4
    assert max(seen).timestamp() > time.time()
    assert events(balancer).count("certificate_renewed") >= 3
    for name in PROCESSES:
        assert "Traceback" not in site.log(name)


def test_one_whose_certificate_ran_out_takes_the_next_write(site: Site, balancer: Balancer) -> None:
    """Housekeeping is away for longer than a certificate lives: no ERROR, no failover, and the write is carried out."""
    before = amphora(balancer)
    site.machine.processes.stop(["housekeeping"])
    try:
        with site.traffic(balancer.vip, rate=100, seconds=200) as traffic:
            eventually(lambda: until(balancer).timestamp() < time.time() - 2, 3 * LIFETIME, lambda: "it has not run out")
            member = next(iter(balancer.members().values()))
            site.api.put(f"{balancer.members_path}/{member['id']}", {"member": {"weight": 7}})
            balancer.wait_active()
    finally:
        site.machine.up()
    undisturbed(balancer, before, traffic)
    eventually(lambda: until(balancer).timestamp() > time.time(), 60, lambda: "it was not renewed")


def test_an_operator_leads_everybody_to_other_roots_under_traffic(site: Site, balancer: Balancer) -> None:
    before, first = amphora(balancer), (site.folder / "ca" / "server_ca.pem").read_bytes()
    assert "phase: none" in command(site, "status")
    with site.traffic(balancer.vip, rate=100, seconds=200) as traffic:
        for word in ("start", "switch", "finish"):
            eventually(lambda: "1 of 1 have followed" in command(site, "status"), 60, lambda: command(site, "status"))
            command(site, word)
        eventually(lambda: "1 of 1 have followed" in command(site, "status"), 60, lambda: command(site, "status"))
        balancer.site.api.put(f"/loadbalancers/{balancer.id}", {"loadbalancer": {"description": "changed again"}})
        balancer.wait_active()
    undisturbed(balancer, before, traffic)
    assert "phase: none" in command(site, "status")
    assert (site.folder / "ca" / "server_ca.pem").read_bytes() != first
    for name in PROCESSES:
        assert "Traceback" not in site.log(name)


def command(site: Site, word: str) -> str:
    """`figlina ca WORD`, as an operator types it."""
    program = processes.python("controller.cmd.figlina", "ca", word, "--config-file", str(site.folder / "figlina.conf"))
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
