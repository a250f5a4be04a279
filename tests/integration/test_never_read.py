"""A listener whose certificate nobody has ever read: all others of its load balancer are served and changed, and it says why it is not.
One that served before it was changed to such a certificate serves on as before.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
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


def _files(site: Site) -> dict[pathlib.Path, bytes]:
    """What the store holds."""
    return {path: path.read_bytes() for path in (site.folder / "secrets").rglob("*") if path.is_file()}


def _put_back(kept: dict[pathlib.Path, bytes]) -> None:
    for path, content in kept.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)


def _lose(site: Site, store: local.LocalSecrets, project: str, reference: str) -> None:
    """It is in the store no more, and there is no copy of it, as where the API has no key for copies."""
    store.delete(project, reference)
    engine = sa.create_engine(site.machine.database_url)
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.tenant_certificates).where(tables.tenant_certificates.c.reference == reference))
    engine.dispose()


def _shown_certificate(site: Site, address: str) -> str:
    """The name in the certificate that a client is shown; an empty string if nobody answers with 200."""
    command = ["curl", "--silent", "--fail", "--insecure", "--verbose", "--connect-timeout", "2", "--max-time", "20", f"https://{address}/"]
    asked = subprocess.run([*site.machine.entrance("client"), *command], capture_output=True, text=True, check=False)
    found = re.search(r"subject: .*CN ?= ?(\S+)", asked.stderr)
    return found[1] if found and not asked.returncode else ""


@contextlib.contextmanager
def _clients(site: Site, address: str) -> Iterator[list[str]]:
    """Clients one after the other, over TLS; yields what they are shown."""
    seen: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            seen.append(_shown_certificate(site, address))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        ended.set()
        asking.join()


def test_a_listener_that_is_changed_to_a_certificate_that_can_not_be_read_serves_on(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    store = local.LocalSecrets(site.folder / "secrets", create=True)
    project = balancer.show()["project_id"]
    old, new = (store.store_bundle(project, "t", tls_material.issue(f"{word}.example", kind="RSA").bundle) for word in ("old", "new"))
    kept = _files(site)
    ends = {"loadbalancer_id": balancer.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool_id": balancer.pool_id}
    listener = site.api.post("/listeners", {"listener": ends | {"default_tls_container_ref": old}})["listener"]["id"]
    balancer.wait_active()
    eventually(lambda: _shown_certificate(site, balancer.vip) == "old.example", _WITHIN, str)

    def shown() -> dict[str, object]:
        found: dict[str, object] = site.api.get(f"/listeners/{listener}")["listener"]
        return found

    with site.traffic(balancer.vip) as traffic, _clients(site, balancer.vip) as seen:
        with _stopped(site):
            site.api.put(f"/listeners/{listener}", {"listener": {"default_tls_container_ref": new}})
            _lose(site, store, project, new)
            site.api.post(balancer.members_path, {"member": {"name": "web-2", "address": site.web["web-2"], "protocol_port": 80}})
        balancer.wait_active()
        balancer.serves({"web-1", "web-2"})
        assert shown()["provisioning_status"] == "ERROR"
        events = site.api.get(f"/loadbalancers/{balancer.id}/events")["events"]
        [told] = [one for one in events if one["code"] == model.LEFT_OUT]
        assert told["object_id"] == listener
        assert new in told["message"]
        time.sleep(5)  # housekeeping tries again meanwhile
        assert set(seen) == {"old.example"}
        _put_back(kept)
        eventually(lambda: shown()["provisioning_status"] == "ACTIVE", _WITHIN, lambda: str(shown()))
        eventually(lambda: seen[-1] == "new.example", _WITHIN, lambda: str(seen[-5:]))
    assert traffic["failed"] == 0, traffic
    assert set(seen) == {"old.example", "new.example"}
    balancer.delete()


def test_a_listener_whose_certificate_was_never_read_is_in_nobodys_way(site: Site) -> None:
    balancer = site.balancer(["web-1"])
    store = local.LocalSecrets(site.folder / "secrets", create=True)
    project, bundle = balancer.show()["project_id"], tls_material.issue("web.example", kind="RSA").bundle
    reference = store.store_bundle(project, "t", bundle)
    kept = _files(site)
    ends = {"loadbalancer_id": balancer.id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_pool_id": balancer.pool_id}
    with _stopped(site):
        listener = site.api.post("/listeners", {"listener": ends | {"default_tls_container_ref": reference}})["listener"]["id"]
        _lose(site, store, project, reference)
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
    _put_back(kept)
    eventually(lambda: shown()["provisioning_status"] == "ACTIVE", _WITHIN, lambda: str(shown()))
    assert site.fetch(balancer.vip, 443, "https") in ("web-1", "web-2")
    balancer.delete()
