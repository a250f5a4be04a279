"""A listener whose certificate nobody has ever read: all others of its load balancer are served and changed, and it says why it is not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from controller.db import tables
from controller.dev.client import eventually
from controller.drivers.secrets import local
from controller.model import load_balancer as model
from tests import tls_material
from tests.integration.site import Site

pytestmark = [pytest.mark.integration]
OPTIONS = {"house_keeping.compare_interval": "2"}
_WITHIN = 60


@contextlib.contextmanager
def _stopped(site: Site) -> Iterator[None]:
    """No worker does anything meanwhile."""
    pids = site.machine.processes.pids("worker")
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_listener_whose_certificate_was_never_read_is_in_nobodys_way(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    store = local.LocalSecrets(site.folder / "secrets")
    project, bundle = balancer.show()["project_id"], tls_material.issue("web.example", kind="RSA").bundle
    reference = store.store_bundle(project, "t", bundle)
    kept = {path: path.read_bytes() for path in (site.folder / "secrets").rglob("*") if path.is_file()}
    ends = {"loadbalancer_id": balancer.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool_id": balancer.pool_id}
    engine = sa.create_engine(site.machine.database_url)
    with _stopped(site):
        listener = site.api.post("/listeners", {"listener": ends | {"default_tls_container_ref": reference}})["listener"]["id"]
        store.delete(project, reference)
        with engine.begin() as connection:  # as where the API has no key for copies
            connection.execute(sa.delete(tables.tenant_certificates))
    balancer.wait_active()

    def shown() -> dict[str, object]:
        found: dict[str, object] = site.api.get(f"/listeners/{listener}")["listener"]
        return found

    assert shown()["provisioning_status"] == "ERROR"
    events = site.api.get(f"/loadbalancers/{balancer.id}/events")["events"]
    assert [one["object_id"] for one in events if one["code"] == model.LEFT_OUT] == [listener]
    with site.traffic(balancer.vip) as traffic:
        site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
        balancer.wait_active()
        balancer.serves({"web-1", "web-2"})
        site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"timeout_client_data": 60_000}})
        balancer.wait_active()
        time.sleep(5)  # housekeeping tries again meanwhile, and nobody takes the amphora for one that lacks a listener
    assert traffic["failed"] == 0, traffic
    assert shown()["provisioning_status"] == "ERROR"
    assert site.fetch(balancer.vip, 443, "https") == ""
    for path, content in kept.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
    eventually(lambda: shown()["provisioning_status"] == "ACTIVE", _WITHIN, lambda: str(shown()))
    assert site.fetch(balancer.vip, 443, "https") in ("web-1", "web-2")
    balancer.delete()
