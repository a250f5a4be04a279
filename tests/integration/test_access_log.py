"""The access log of a load balancer, with real targets: what arrives is JSON, whoever asked, and a target in trouble costs no client."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from controller.dev.client import eventually
from controller.drivers.secrets import bundles, local
from controller.embedded import linux
from tests import tls_material
from tests.integration import hostile_client, log_target
from tests.integration.dual import Dual
from tests.integration.lineage import parent
from tests.integration.site import Balancer, Site, haproxy_workers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
ROOT = tls_material.issue("root.example", is_ca=True)
_PORT, _WITHIN = 6514, 60


class Target:
    """Somebody who takes lines: beside web-2, or at another address behind the entrance of its machine."""

    def __init__(self, site: Site, folder: pathlib.Path, address: str = "", entrance: Sequence[str] = ()) -> None:
        self.site, self.file, self.pem = site, folder / "lines", folder / "target.pem"
        self.address, self.entrance = address or site.web["web-2"], entrance or site.machine.entrance("web-2")
        self.file.touch()
        self.pem.write_bytes(bundles.pem(tls_material.issue("logs.example", ROOT, names=["logs.example"]).bundle))

    @contextlib.contextmanager
    def listening(self, protocol: str, port: int = _PORT) -> Iterator[None]:
        words = [protocol, self.address, str(port), str(self.file), *([str(self.pem)] if protocol == "TLS" else [])]
        command = [*self.entrance, sys.executable, log_target.__file__, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            try:
                assert running.stdout is not None
                assert running.stdout.readline() == b"ready\n"
                yield
            finally:
                running.kill()

    def fields(self, protocol: str, **more: Any) -> dict[str, Any]:
        return {"protocol": protocol, "address": self.address, "port": _PORT} | more

    def raw(self) -> list[bytes]:
        return self.file.read_bytes().split(b"\n")[:-1]

    def lines(self) -> list[dict[str, Any]]:
        """What was told; each message has RFC 5424's header (severity: information), and JSON behind it, or says that some are lost.

        HAProxy 3.0 says that with a null character behind its words.
        """
        found = []
        for line in self.raw():
            head, _, told = line.partition(b" - - ")
            if head.startswith(b"<133>1 ") and re.fullmatch(rb"\d+ events? dropped\0?", told):
                continue
            assert head.startswith(b"<134>1 "), line
            found.append(json.loads(told.decode("ascii")))
        return found

    def wait_for(self, count: int = 1, **wanted: Any) -> dict[str, Any]:
        """The last of so many lines that have these values."""

        def such() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line.items() >= wanted.items()]

        eventually(lambda: len(such()) >= count, _WITHIN, lambda: f"{count} lines with {wanted} do not come: {self.raw()[-5:]}")
        assert len(such()) == count
        return such()[-1]


@pytest.fixture
def target(site: Site, tmp_path: pathlib.Path) -> Target:
    return Target(site, tmp_path)


def _ask(balancer: Balancer, path: str, *more: str, url: str = "") -> None:
    command = [
        "curl",
        "--silent",
        "--insecure",
        "--output",
        "/dev/null",
        "--max-time",
        "20",
        *more,
        f"{url or f'http://{balancer.vip}'}{path}",
    ]
    subprocess.run([*balancer.site.machine.entrance("client"), *command], check=False)


def _set(balancer: Balancer, target: dict[str, Any] | None) -> None:
    """And wait until the workers of before have ended: on a busy machine they take a last request under the old configuration."""
    balancer.site.api.put(f"/loadbalancers/{balancer.id}", {"loadbalancer": {"access_log": target}})
    balancer.wait_active()
    balancer.workers()


def _workers(balancer: Balancer) -> set[int]:
    (amphora,) = balancer.amphorae()
    return haproxy_workers(amphora)


def _stored_authority(site: Site, balancer: Balancer, authority: tls_material.Issued = ROOT) -> str:
    body = {"secret": {"kind": "ca", "payload": authority.pem.decode(), "project_id": balancer.show()["project_id"]}}
    return str(site.api.post("/secrets", body)["secret"]["ref"])


@pytest.mark.parametrize("protocol", ["UDP", "TCP", "TLS"])
def test_every_request_and_connection_is_told_in_json_whoever_asked(site: Site, target: Target, protocol: str) -> None:
    balancer = site.balancer(["web-1"])
    (member,) = balancer.members().values()
    listener = {"loadbalancer_id": balancer.id, "protocol": "TCP", "protocol_port": 81, "default_pool_id": balancer.pool_id}
    tcp = site.api.post("/listeners", {"listener": listener})["listener"]["id"]
    balancer.wait_active()
    log = target.fields(protocol)
    if protocol == "TLS":
        log |= {"ca_tls_container_ref": _stored_authority(site, balancer), "host_name": "logs.example"}
        store = local.LocalSecrets(site.folder / "secrets", create=True)
        reference = store.store_bundle(balancer.show()["project_id"], "t", tls_material.issue("web.example", kind="RSA").bundle)
        ended = listener | {"protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_tls_container_ref": reference}
        https = site.api.post("/listeners", {"listener": ended})["listener"]["id"]
    with target.listening(protocol):
        _set(balancer, log)
        _ask(balancer, "/first?a=b", "--user-agent", 'x "y" \\z', "--referer", "http://r.example/ü")
        served: dict[str, Any] = {"pool_id": balancer.pool_id, "member_id": member["id"], "termination": "--"}
        common = {"load_balancer_id": balancer.id, "listener_id": balancer.listener_id, "http_version": "HTTP/1.1", **served}
        headers: dict[str, Any] = {"host": balancer.vip, "user_agent": 'x "y" \\z', "referer": "http://r.example/ü"}
        line = target.wait_for(path="/first?a=b", method="GET", status=200, **headers, **common)
        assert line["client_address"].startswith("198.19."), line
        assert line["client_port"] > 0
        assert line["bytes_in"] > 100
        assert line["bytes_out"] > 50
        assert 0 <= line["duration_ms"] < 20_000
        time.strptime(line["time"], "%Y-%m-%dT%H:%M:%SZ")
        client = [*site.machine.entrance("client"), sys.executable]
        before = len(target.lines())
        done = subprocess.run([*client, hostile_client.__file__, balancer.vip, "80"], capture_output=True, check=True)
        sent = int(done.stdout)
        eventually(lambda: len(target.lines()) >= before + sent, _WITHIN, lambda: f"{len(target.lines())} of {before + sent}")
        assert len(target.lines()) == before + sent
        for one in ("x\u0001y", 'x"y', "x\\y", "x\u007fy"):
            target.wait_for(user_agent=one)
        _ask(balancer, "/tcp", url=f"http://{balancer.vip}:81")
        assert "path" not in target.wait_for(listener_id=tcp, **served)
        if protocol == "TLS":
            _ask(balancer, "/tls", "--http1.1", url=f"https://{balancer.vip}")
            target.wait_for(listener_id=https, path="/tls", status=200, tls_version="TLSv1.3", http_version="HTTP/1.1")
            _ask(balancer, "/streams/[1-5]", "--http2", url=f"https://{balancer.vip}")
            over_h2: dict[str, Any] = {"http_version": "HTTP/2.0", "method": "GET", "host": balancer.vip, "listener_id": https}
            for stream in range(1, 6):
                target.wait_for(path=f"/streams/{stream}", status=200, **over_h2)
        _set(balancer, None)
        told = len(target.raw())
        _ask(balancer, "/untold")
        _set(balancer, log)
        _ask(balancer, "/told")
        target.wait_for(path="/told")
        assert len(target.raw()) == told + 1, "who unsets it is told of nothing"
    balancer.delete()


@pytest.mark.parametrize("protocol", ["UDP", "TCP", "TLS"])
def test_a_connection_that_outlives_reloads_is_told_when_it_ends(site: Site, target: Target, protocol: str) -> None:
    """Once, as is what was told before the reload; and the worker that has told it ends."""
    balancer = site.balancer(["web-1"])
    log = target.fields(protocol)
    if protocol == "TLS":
        log |= {"ca_tls_container_ref": _stored_authority(site, balancer), "host_name": "logs.example"}
    with target.listening(protocol):
        _set(balancer, log)
        held = [*site.machine.entrance("client"), sys.executable, "-c", _HOLD, balancer.vip]
        with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"begun\n"
            _ask(balancer, "/before")
            target.wait_for(path="/before")
            before = _workers(balancer)
            for timeout in (60_000, 70_000):
                site.api.put(f"/listeners/{balancer.listener_id}", {"listener": {"timeout_client_data": timeout}})
                balancer.wait_active()
            assert _workers(balancer) > before, "no reload, or the old worker has ended"
            assert not [line for line in target.lines() if line["path"] == "/held"]
            client.communicate(b"\n", timeout=60)
        target.wait_for(path="/held", status=200)
        balancer.workers()
        assert [line["path"] for line in target.lines() if line["path"] in ("/before", "/held")] == ["/before", "/held"]
    balancer.delete()


_HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80))
s.sendall(b"POST /held HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 10\\r\\n\\r\\n12345")
print("begun", flush=True)
sys.stdin.readline()
s.sendall(b"67890")
s.recv(65536)
"""


@pytest.mark.parametrize(("protocol", "listening"), [("UDP", None), ("TCP", None), ("TCP", "DEAF"), ("TLS", "TCP")])
def test_a_target_in_trouble_costs_no_client(site: Site, target: Target, protocol: str, listening: str | None) -> None:
    """Nobody is there; nobody reads; somebody speaks another protocol. When it is well again, it is told again."""
    balancer = site.balancer(["web-1"])
    log = target.fields(protocol)
    log |= {"ca_tls_container_ref": _stored_authority(site, balancer)} if protocol == "TLS" else {}
    with target.listening(listening) if listening else contextlib.nullcontext():
        _set(balancer, log)
        _ask(balancer, "/[1-300]")
        worker = _worker(balancer)
        before = _resident(worker)
        with site.traffic(balancer.vip, rate=150) as traffic:
            _ask(balancer, f"/[1-4000]?{'x' * 900}")  # five times as many bytes of lines as a ring has
            time.sleep(6)
        assert traffic["failed"] == 0, traffic
        assert traffic["requests"] > 300, traffic
        assert _resident(worker) - before < 3 << 20, "what nobody takes piles up"
    with target.listening(protocol):
        count = iter(range(1_000_000))

        def told() -> bool:
            _ask(balancer, f"/again/{next(count)}")
            return any(str(line.get("path")).startswith("/again/") for line in target.lines())

        target.file.write_bytes(b"")
        eventually(told, _WITHIN, lambda: "it is not told again")
    balancer.delete()


def _worker(balancer: Balancer) -> int:
    """The one of HAProxy's two processes that serves: a child of the other one."""
    both = balancer.workers()
    (found,) = [pid for pid in both if parent(pid) in both]
    return found


def _resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    (line,) = (one for one in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


def test_a_target_is_told_nothing_before_it_has_shown_who_it_is(site: Site, target: Target) -> None:
    balancer = site.balancer(["web-1"])
    good = _stored_authority(site, balancer)
    foreign = _stored_authority(site, balancer, tls_material.issue("foreign.example", is_ca=True))
    with target.listening("TLS"):
        for refused in ({"ca_tls_container_ref": foreign}, {"ca_tls_container_ref": good, "host_name": "other.example"}):
            target.file.write_bytes(b"")
            _set(balancer, target.fields("TLS", **refused))
            _ask(balancer, "/secret")
            eventually(lambda: bool(target.raw()), _WITHIN, lambda: "nobody tries to speak to it")
            assert set(target.raw()) == {b"no handshake"}
        target.file.write_bytes(b"")
        _set(balancer, target.fields("TLS", ca_tls_container_ref=good, host_name="logs.example"))
        _ask(balancer, "/open")
        eventually(lambda: b'"path":"\\/open"' in target.file.read_bytes(), _WITHIN, lambda: str(target.raw()[:5]))
    balancer.delete()


@pytest.mark.parametrize("protocol", ["UDP", "TCP", "TLS"])
def test_of_a_pair_over_ipv6_the_half_that_serves_tells_and_after_a_takeover_the_other_one(
    dual: Dual, tmp_path: pathlib.Path, protocol: str
) -> None:
    """Each request once: who stands by has nothing to tell."""
    site, vip_and_target = dual.site, 6
    target = Target(site, tmp_path, dual.addresses["front-web"][vip_and_target], linux.enter(dual.namespace("front-web")))
    made = dual.balancer(vip_and_target, "ACTIVE_STANDBY", {"back-web-4": "back"})
    vip = made["vip_address"]
    log = target.fields(protocol)
    if protocol == "TLS":
        body = {"secret": {"kind": "ca", "payload": ROOT.pem.decode(), "project_id": made["project_id"]}}
        log |= {"ca_tls_container_ref": site.api.post("/secrets", body)["secret"]["ref"], "host_name": "logs.example"}
    dual.all_answer(vip, {"back-web-4"})
    with target.listening(protocol):
        site.api.put(f"/loadbalancers/{made['id']}", {"loadbalancer": {"access_log": log}})
        site.api.wait_active(made["id"])
        _ask_over_ipv6(dual, vip, "/first")
        line = target.wait_for(path="/first", status=200, listener_id=made["listeners"][0]["id"])
        assert line["client_address"] == dual.addresses["client"][6]
        eventually(lambda: len(dual.holders(made)) == 1, _WITHIN, "not exactly one half has the VIP")
        (victim,) = dual.holders(made)
        site.kill(victim["pids"])
        eventually(lambda: dual.fetch(vip) == "back-web-4", _WITHIN, "nobody takes over")
        _ask_over_ipv6(dual, vip, "/second")
        target.wait_for(path="/second", status=200)

        def ids() -> set[str]:
            return {one["id"] for one in dual.amphorae(made)}

        eventually(lambda: len(ids()) == 2 and victim["id"] not in ids(), 120, "the lost half was not replaced")
        site.api.wait_active(made["id"], 120)
        _ask_over_ipv6(dual, vip, "/third")
        target.wait_for(path="/third", status=200)
    dual.delete(made)


def _ask_over_ipv6(dual: Dual, vip: str, path: str) -> None:
    """Until it is answered: for a moment after a takeover a connection may lead to nobody."""
    command = [
        *linux.enter(dual.namespace("client")),
        "curl",
        "--silent",
        "--globoff",
        "--fail",
        "--max-time",
        "5",
        f"http://[{vip}]{path}",
    ]
    asked = subprocess.run([*command, "--retry", "5", "--retry-all-errors"], capture_output=True, check=False, timeout=60)
    assert asked.returncode == 0, asked
