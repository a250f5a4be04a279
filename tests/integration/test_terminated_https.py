"""TLS that ends here, and TLS to members, with real clients: which certificate they see, who may come, what members are told."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from amphora_agent import system
from controller.cmd import figlina
from controller.dev.client import eventually
from controller.drivers.secrets import bundles, local
from tests import tls_material
from tests.integration import tls_member
from tests.integration.site import Site, haproxy_workers

pytestmark = [pytest.mark.integration]
TOPOLOGY = "SINGLE"

ROOT = tls_material.issue("root.example", is_ca=True)
BETWEEN = tls_material.issue("between.example", ROOT, is_ca=True)
FOREIGN = tls_material.issue("foreign.example", is_ca=True)
HEADERS = ["X-Forwarded-Proto", "X-SSL-Client-Verify", "X-SSL-Client-Has-Cert", "X-SSL-Client-DN", "X-SSL-Client-CN", "X-SSL-Issuer"]
HEADERS += ["X-SSL-Client-SHA1", "X-SSL-Client-Not-Before", "X-SSL-Client-Not-After"]
ECHO, ECHO_TLS, ECHO_CLIENTS, ECHO_BELOW, ECHO_STAYS = 8081, 8443, 8444, 8445, 8446


class Bed:
    """A load balancer whose member tells what reached it, and the store that its certificates are in."""

    def __init__(self, site: Site, folder: pathlib.Path) -> None:
        self.site, self.folder = site, folder
        self.member = tls_material.issue("member.example", ROOT, names=["member.example"])
        member = {"address": site.web["web-1"], "protocol_port": ECHO}
        pool = {"name": "echo", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
        body = {"name": "tls", "vip_subnet_id": site.subnet_id, "pools": [pool]}
        made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        self.id, self.vip, self.project = made["id"], made["vip_address"], made["project_id"]
        self.pool_id = made["pools"][0]["id"]
        self.store = local.LocalSecrets(site.folder / "secrets", create=True)
        self.serial = 442
        self.root = self.file("root.pem", ROOT.pem)
        site.api.wait_active(self.id)

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def bundle(self, issued: tls_material.Issued) -> str:
        return self.store.store_bundle(self.project, "t", issued.bundle)

    def listener(self, default: tls_material.Issued | None = None, **fields: Any) -> tuple[str, int]:
        """Id and port of a new TERMINATED_HTTPS listener."""
        self.serial += 1
        body = {"loadbalancer_id": self.id, "protocol": "TERMINATED_HTTPS", "protocol_port": self.serial, "default_pool_id": self.pool_id}
        body |= {"default_tls_container_ref": self.bundle(default)} if default else {}
        made = self.site.api.post("/listeners", {"listener": body | fields})["listener"]
        self.site.api.wait_active(self.id)
        return made["id"], self.serial

    def pool(self, **fields: Any) -> str:
        """Below the load balancer; `port` is that of its one member."""
        port = fields.pop("port")
        body = {"loadbalancer_id": self.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
        made = self.site.api.post("/pools", {"pool": body | fields})["pool"]
        self.site.api.post(f"/pools/{made['id']}/members", {"member": {"address": self.site.web["web-1"], "protocol_port": port}})
        return str(made["id"])

    def change(self, listener_id: str, **fields: Any) -> None:
        self.site.api.put(f"/listeners/{listener_id}", {"listener": fields})
        self.site.api.wait_active(self.id)

    def run(self, *command: str, **how: Any) -> subprocess.CompletedProcess[str]:
        entered = [*self.site.machine.entrance("client"), *command]
        return subprocess.run(entered, capture_output=True, text=True, check=False, **{"timeout": 60, **how})

    def shown(self, port: int, name: str | None = None, *options: str) -> str:
        """What `openssl s_client` says; the whole chain must be good."""
        named = ["-servername", name] if name else ["-noservername"]
        command = ["openssl", "s_client", "-connect", f"{self.vip}:{port}", "-CAfile", self.root, *named, *options]
        done = self.run(*command, input="")
        return done.stdout + done.stderr

    def subject(self, port: int, name: str | None = None, *options: str) -> str:
        found = [line for line in self.shown(port, name, *options).splitlines() if line.startswith("subject=")]
        return found[0].rpartition("CN = ")[2] if found else ""

    def ask(self, port: int, *options: str, scheme: str = "https") -> tuple[int, dict[str, Any], str]:
        """Status, what the member says, and the head of the answer; by curl."""
        shown = ["--silent", "--include", "--insecure", "--max-time", "20", *options, f"{scheme}://{self.vip}:{port}/x"]
        done = self.run("curl", *shown).stdout
        head, _, body = done.partition("\n\n") if "\r\n\r\n" not in done else done.partition("\r\n\r\n")
        words = head.split()
        told = json.loads(body) if body.startswith("{") else {}
        return (int(words[1]) if len(words) > 1 else 0), told, head

    def amphorae(self) -> list[dict[str, Any]]:
        return [one for one in self.site.machine.status()["amphorae"] if one["load_balancer_id"] == self.id]

    def workers(self) -> set[int]:
        """Masters and workers, once those of before an earlier reload have ended: a further reload makes another one."""
        eventually(lambda: all(len(haproxy_workers(one)) == 2 for one in self.amphorae()), 60, "a former worker does not end")
        return {pid for one in self.amphorae() for pid in haproxy_workers(one)}


@pytest.fixture(scope="module")
def bed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("tls")
    made = Bed(site, folder)
    pem, ca = made.file("member.pem", bundles.pem(made.member.bundle)), made.file("ca.pem", ROOT.pem)
    below = made.file("below.pem", bundles.pem(tls_material.issue("below.example", BETWEEN, names=["below.example"]).bundle))
    plain, more = [[str(ECHO)], [str(ECHO_TLS), pem]], [[str(ECHO_CLIENTS), pem, ca], [str(ECHO_BELOW), below]]
    with contextlib.ExitStack() as ends:
        for arguments in (*plain, *more, [str(ECHO_STAYS), pem, ca, "stay"]):
            program = [*site.machine.entrance("web-1"), sys.executable, tls_member.__file__, *arguments]
            running = ends.enter_context(subprocess.Popen(program, stdout=subprocess.PIPE))
            ends.callback(running.kill)
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
        yield made


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
def test_a_client_sees_the_certificate_of_the_name_that_it_asks_for(bed: Bed, kind: str) -> None:
    default = tls_material.issue("default.example", BETWEEN, kind=kind)
    other = tls_material.issue("other.example", BETWEEN, names=["other.example", "*.wild.example"], kind=kind)
    as_pkcs12 = bed.store.store_bundle(bed.project, "p", bundles.read(other.pkcs12(b"secret"), b"secret"))
    _, port = bed.listener(default, sni_container_refs=[as_pkcs12])
    for name, seen in ((None, "default"), ("nobody.example", "default"), ("other.example", "other"), ("a.wild.example", "other")):
        assert bed.subject(port, name) == f"{seen}.example", name
    assert "Verify return code: 0 (ok)" in bed.shown(port, "other.example")  # the chain is sent
    assert bed.ask(port)[0] == 200


def test_application_protocols_versions_and_ciphers(bed: Bed) -> None:
    certificate = tls_material.issue("web.example", BETWEEN, kind="RSA")
    _, port = bed.listener(certificate)
    assert "ALPN protocol: h2" in bed.shown(port, None, "-alpn", "h2,http/1.1")
    assert bed.ask(port, "--http2")[2].startswith("HTTP/2 200")
    for version, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        assert ("web.example" in bed.subject(port, None, version, "-cipher", "ALL:@SECLEVEL=0")) is works, version
    assert "CBC" not in bed.shown(port, None, "-tls1_2", "-cipher", "AES256-SHA")
    assert bed.subject(port, None, "-tls1_2", "-cipher", "AES256-SHA") == ""
    cipher = "ECDHE-RSA-AES256-GCM-SHA384"
    _, narrow = bed.listener(certificate, tls_ciphers=cipher, tls_versions=["TLSv1.2"], alpn_protocols=["http/1.1"])
    assert bed.subject(narrow, None, "-tls1_3") == ""
    assert bed.subject(narrow, None, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256") == ""
    assert f"Cipher is {cipher}" in bed.shown(narrow, None)
    assert bed.ask(narrow, "--http2")[2].startswith("HTTP/1.1 200")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed_and_no_ticket_bears_its_keys(bed: Bed, version: str) -> None:
    """A ticket with the state in it is sealed by a key that lives as long as the process (RFC 5077, section 5.5)."""
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN))
    path, fetch = str(bed.folder / f"session{version}"), "GET /x HTTP/1.0\r\n\r\n"
    command = ["openssl", "s_client", "-ign_eof", version, "-connect", f"{bed.vip}:{port}", "-sess_out", path]
    shown = bed.run(*command, input=fetch).stdout
    assert f"New, TLSv1.{version[-1]}" in shown
    sealed = re.findall(r"(?m)^ +[0-9a-f]{4} - ", shown.partition("TLS session ticket:")[2].partition("Start Time")[0])
    assert len(sealed) <= 2, shown  # the name of a session that the server remembers has 32 bytes
    assert f"Reused, TLSv1.{version[-1]}" in bed.run(*command, "-sess_in", path, input=fetch).stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
def test_a_scanner_finds_no_weak_default(bed: Bed, kind: str) -> None:
    """Mozilla's recommendation `intermediate`, and every known attack that sslyze tries."""
    web = tls_material.issue("web.example", BETWEEN, names=["web.example"], kind=kind, ends=80 * tls_material.DAY)
    _, port = bed.listener(web)
    report = bed.folder / f"{kind}.json"
    command = [sys.executable, "-m", "sslyze", "--certinfo_ca_file", bed.root, "--json_out", str(report), "--sni", "web.example"]
    done = bed.run(*command, f"{bed.vip}:{port}", timeout=150)
    [scanned] = json.loads(report.read_text())["server_scan_results"]
    found = {name: part["result"] for name, part in scanned["scan_result"].items() if part["status"] == "COMPLETED"}
    assert len(found) > 12, done.stdout
    for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert found[f"{old}_cipher_suites"]["accepted_cipher_suites"] == [], old
    for name, weakness in (("heartbleed", "is_vulnerable_to_heartbleed"), ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection")):
        assert not found[name][weakness]
    assert not found["tls_compression"]["supports_compression"]
    assert not found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    assert found["session_renegotiation"]["supports_secure_renegotiation"]
    assert "NOT_VULNERABLE" in found["robot"]["robot_result"]
    compared = done.stdout.partition("Checking results against Mozilla")[2]
    assert compared, done.stdout
    # More curves than recommended (P-521, X448) are no weaker ones, and a tenant's key may be on one of them.
    assert set(re.findall(r"(?m)^\s+\* (\w+):", compared)) <= {"tls_curves"}, compared


@pytest.mark.slow
def test_http2_is_as_its_standard_says(bed: Bed, tmp_path: pathlib.Path) -> None:
    """Every case of h2spec (RFC 9113 and 7541)."""
    if shutil.which("go") is None:
        pytest.skip("needs Go, which builds h2spec")
    building = ["go", "install", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"]
    built = subprocess.run(building, env={**os.environ, "GOBIN": str(tmp_path)}, capture_output=True, text=True, timeout=600, check=False)
    assert built.returncode == 0, built.stderr
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN, names=["web.example"]))
    done = bed.run(str(tmp_path / "h2spec"), "--tls", "--insecure", "--host", bed.vip, "--port", str(port), timeout=240)
    counted = re.search(r"(\d+) tests, (\d+) passed, 0 skipped, 0 failed", done.stdout)
    assert counted, done.stdout[-4000:]
    assert counted[1] == counted[2]
    assert int(counted[1]) > 140


@pytest.mark.slow
def test_clients_of_http2_get_their_answers_side_by_side(bed: Bed) -> None:
    if shutil.which("h2load") is None:
        pytest.skip("needs nghttp2-client")
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN, names=["web.example"]))
    done = bed.run("nghttp", "--verbose", "--null-out", f"https://{bed.vip}:{port}/x", timeout=60)
    assert "The negotiated protocol: h2" in done.stdout
    assert ":status: 200" in done.stdout
    done = bed.run("h2load", "--requests=300", "--clients=5", "--max-concurrent-streams=20", f"https://{bed.vip}:{port}/x", timeout=120)
    assert "300 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert "Application protocol: h2" in done.stdout


def test_browsers_are_told_to_come_back_by_tls(bed: Bed) -> None:
    certificate = tls_material.issue("web.example", BETWEEN)
    _, port = bed.listener(certificate, hsts_max_age=600, hsts_include_subdomains=True, hsts_preload=True)
    assert "strict-transport-security: max-age=600; includesubdomains; preload" in bed.ask(port)[2].lower()
    _, without = bed.listener(certificate)
    assert "strict-transport-security" not in bed.ask(without)[2].lower()


def test_clients_prove_who_they_are(bed: Bed) -> None:
    hostile = 'a"b\r\nX-Evil: 1\\'
    good = tls_material.issue("client.example", ROOT, organization=hostile)
    revoked, stranger = tls_material.issue("revoked.example", ROOT), tls_material.issue("client.example", FOREIGN)
    files = {
        word: bed.file(f"{word}.pem", one.pem + one.key_pem())
        for word, one in (("good", good), ("revoked", revoked), ("stranger", stranger))
    }
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem)
    crl = bed.store.store_secret(bed.project, "crl", tls_material.revoke(ROOT, revoked))
    fields = {"client_ca_tls_container_ref": ca, "client_crl_container_ref": crl, "insert_headers": dict.fromkeys(HEADERS, "true")}
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), client_authentication="MANDATORY", **fields)

    def outcome(word: str | None) -> int:
        return bed.ask(port, *(["--cert", files[word]] if word else []))[0]

    assert [outcome(word) for word in ("good", "revoked", "stranger", None)] == [200, 0, 0, 0]
    head = bed.ask(port, "--cert", files["good"])[1]["head"]
    told = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    assert set(map(str.lower, HEADERS)) <= set(told)
    assert (told["x-ssl-client-verify"], told["x-ssl-client-has-cert"], told["x-forwarded-proto"]) == ("0", "1", "https")
    assert "client.example" in told["x-ssl-client-cn"]
    assert "root.example" in told["x-ssl-issuer"]
    assert "x-evil" not in told  # what stands in a certificate is no header
    bed.change(listener_id, client_authentication="OPTIONAL")
    assert [outcome(word) for word in ("good", "revoked", "stranger", None)] == [200, 0, 0, 200]
    bed.change(listener_id, client_authentication="NONE")
    assert outcome(None) == 200


def test_clients_below_an_intermediate_ca_are_known_by_the_lists_of_both_cas(bed: Bed) -> None:
    """HAProxy asks for a list of every CA above a client."""
    good, revoked = tls_material.issue("good.example", BETWEEN), tls_material.issue("gone.example", BETWEEN)
    files = {one: bed.file(f"{name}-below.pem", one.pem + one.key_pem()) for name, one in (("good", good), ("revoked", revoked))}

    def stored(kind: str, *parts: bytes) -> str:
        body = {"payload": b"".join(parts).decode(), "kind": kind, "project_id": bed.project}
        return str(bed.site.api.post("/secrets", {"secret": body})["secret"]["ref"])

    ca = stored("ca", ROOT.pem, BETWEEN.pem)
    crls = [stored("crl", tls_material.revoke(ROOT, *above), tls_material.revoke(BETWEEN, revoked)) for above in ((), (BETWEEN,))]
    fields = {"client_ca_tls_container_ref": ca, "client_crl_container_ref": crls[0]}
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), client_authentication="MANDATORY", **fields)
    assert [bed.ask(port, "--cert", files[one])[0] for one in (good, revoked)] == [200, 0]
    bed.change(listener_id, client_crl_container_ref=crls[1])
    assert [bed.ask(port, "--cert", files[one])[0] for one in (good, revoked)] == [0, 0]


def test_a_member_below_an_intermediate_ca_is_known_by_the_lists_of_both_cas(bed: Bed) -> None:
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem + BETWEEN.pem)
    files = [tls_material.revoke(BETWEEN) + tls_material.revoke(ROOT, *revoked) for revoked in ((), (BETWEEN,))]
    crls = [bed.store.store_secret(bed.project, "crl", one) for one in files]
    pool_id = bed.pool(port=ECHO_BELOW, ca_tls_container_ref=ca, crl_container_ref=crls[0])
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=pool_id)
    assert bed.ask(port)[0] == 200
    bed.site.api.put(f"/pools/{pool_id}", {"pool": {"crl_container_ref": crls[1]}})
    bed.site.api.wait_active(bed.id)
    assert bed.ask(port)[0] == 503


def test_rules_look_at_certificates_of_clients(bed: Bed) -> None:
    good, other = tls_material.issue("client.example", ROOT), tls_material.issue("other.example", ROOT)
    files = {one: bed.file(f"{name}-rule.pem", one.pem + one.key_pem()) for name, one in (("good", good), ("other", other))}
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem)
    web = tls_material.issue("web.example", BETWEEN)
    listener_id, port = bed.listener(web, client_authentication="OPTIONAL", client_ca_tls_container_ref=ca)
    policy = bed.site.api.post("/l7policies", {"l7policy": {"listener_id": listener_id, "action": "REJECT"}})["l7policy"]["id"]

    def with_rule(**fields: Any) -> list[int]:
        rule = bed.site.api.post(f"/l7policies/{policy}/rules", {"rule": {"compare_type": "EQUAL_TO", **fields}})["rule"]["id"]
        bed.site.api.wait_active(bed.id)
        found = [bed.ask(port, "--cert", files[good])[0], bed.ask(port, "--cert", files[other])[0], bed.ask(port)[0]]
        bed.site.api.delete(f"/l7policies/{policy}/rules/{rule}")
        bed.site.api.wait_active(bed.id)
        return found

    assert with_rule(type="SSL_CONN_HAS_CERT", value="True", invert=True) == [200, 200, 403]
    assert with_rule(type="SSL_DN_FIELD", key="CN", value="client.example") == [403, 200, 200]
    assert with_rule(type="SSL_VERIFY_RESULT", value="0") == [403, 403, 403]


def test_certificates_and_lists_change_without_a_reload_and_without_a_failed_handshake(bed: Bed) -> None:
    listener_id, port = bed.listener(
        tls_material.issue("first.example", BETWEEN), sni_container_refs=[bed.bundle(tls_material.issue("a.example", BETWEEN))]
    )
    before = bed.workers()
    one = f"for i in $(seq 60); do curl -sko /dev/null -w '%{{http_code}}\\n' --max-time 20 https://{bed.vip}:{port}/x; done"
    loop = f"({one}) & ({one}) & ({one}) & wait"  # each request is a handshake of its own
    asking = subprocess.Popen([*bed.site.machine.entrance("client"), "sh", "-c", loop], stdout=subprocess.PIPE, text=True)
    others = [bed.bundle(tls_material.issue(f"{name}.example", BETWEEN)) for name in "bc"]
    for number in range(4):
        bed.change(
            listener_id,
            default_tls_container_ref=bed.bundle(tls_material.issue(f"n{number}.example", BETWEEN, kind="RSA" if number % 2 else "ECDSA")),
            sni_container_refs=others[: number % 3],
        )
        assert bed.subject(port) == f"n{number}.example"
        for name, served in (("b", number % 3 > 0), ("c", number % 3 > 1), ("a", False)):
            assert (bed.subject(port, f"{name}.example") == f"{name}.example") is served, (number, name)
    assert asking.communicate(timeout=120)[0].split() == 180 * ["200"]
    assert bed.workers() == before
    assert "(runtime)" in "".join(text for name, text in bed.site.last_words() if name.startswith("amphora"))


def test_of_several_certificates_for_a_name_the_first_is_shown_whatever_was_changed_last(bed: Bed) -> None:
    made = [tls_material.issue("same.example", BETWEEN) for _ in range(4)]
    second, third, fourth = (bed.bundle(one) for one in made[1:])
    names = {one.certificate.serial_number: number for number, one in enumerate(made, 1)}
    listener_id, port = bed.listener(made[0], sni_container_refs=[second])

    def shown() -> int:
        found = bed.run(
            "sh", "-c", f"openssl s_client -connect {bed.vip}:{port} -servername same.example </dev/null | openssl x509 -noout -serial"
        )
        return names[int(found.stdout.strip().removeprefix("serial="), 16)]

    assert shown() == 1
    bed.change(listener_id, default_tls_container_ref=third)
    assert shown() == 3
    bed.change(listener_id, default_tls_container_ref=bed.bundle(tls_material.issue("other.example", BETWEEN)))
    assert shown() == 2
    bed.change(listener_id, sni_container_refs=[fourth, second])
    assert shown() == 4
    bed.change(listener_id, sni_container_refs=[second, fourth])
    assert shown() == 2


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("changed", ["authority", "revocations"])
def test_clients_that_are_let_in_no_more_do_not_come_by_a_session_from_before(bed: Bed, version: str, changed: str) -> None:
    client = tls_material.issue("client.example", ROOT)
    pem = bed.file("later.pem", client.pem + client.key_pem())
    cas = [bed.store.store_secret(bed.project, "ca", one.pem) for one in (ROOT, FOREIGN)]
    crls = [bed.store.store_secret(bed.project, "crl", tls_material.revoke(ROOT, *revoked)) for revoked in ((), (client,))]
    fields = {"client_ca_tls_container_ref": cas[0]} | ({"client_crl_container_ref": crls[0]} if changed == "revocations" else {})
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), client_authentication="MANDATORY", **fields)
    path, fetch = str(bed.folder / f"let-in{version}"), "GET /x HTTP/1.0\r\n\r\n"
    command = ["openssl", "s_client", "-ign_eof", version, "-cert", pem, "-key", pem, "-connect", f"{bed.vip}:{port}"]
    assert "200 OK" in bed.run(*command, "-sess_out", path, input=fetch).stdout
    shown = bed.run(*command, "-sess_in", path, "-sess_out", path, input=fetch).stdout
    assert f"Reused, TLSv1.{version[-1]}" in shown
    assert "200 OK" in shown
    later = {"client_ca_tls_container_ref": cas[1]} if changed == "authority" else {"client_crl_container_ref": crls[1]}
    bed.change(listener_id, **later)
    assert "200 OK" not in bed.run(*command, input=fetch).stdout
    assert "200 OK" not in bed.run(*command, "-sess_in", path, input=fetch).stdout


@pytest.mark.parametrize("changed", ["authority", "revocations"])
def test_members_that_are_trusted_no_more_get_no_request_by_a_connection_from_before(bed: Bed, changed: str) -> None:
    cas = [bed.store.store_secret(bed.project, "ca", one.pem) for one in (ROOT, FOREIGN)]
    crls = [bed.store.store_secret(bed.project, "crl", tls_material.revoke(ROOT, *revoked)) for revoked in ((), (bed.member,))]
    fields = {"ca_tls_container_ref": cas[0]} | ({"crl_container_ref": crls[0]} if changed == "revocations" else {})
    pool_id = bed.pool(port=ECHO_TLS, **fields)
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=pool_id)
    assert bed.ask(port)[0] == 200
    later = {"ca_tls_container_ref": cas[1]} if changed == "authority" else {"crl_container_ref": crls[1]}
    bed.site.api.put(f"/pools/{pool_id}", {"pool": later})
    bed.site.api.wait_active(bed.id)
    assert bed.ask(port)[0] == 503


def test_members_are_shown_another_certificate_though_clients_and_connections_stay(bed: Bed) -> None:
    first, second = (bed.bundle(tls_material.issue(f"{name}.example", ROOT)) for name in ("first", "second"))
    pool_id = bed.pool(port=ECHO_STAYS, tls_container_ref=first)
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=pool_id)
    client = http.client.HTTPSConnection(bed.vip, port, timeout=20, context=ssl._create_unverified_context())

    def shown() -> str:
        if client.sock is None:
            system.inside_namespace(bed.site.machine.settings.namespace("client"), client.connect)
        client.request("GET", "/")
        return str(json.load(client.getresponse())["tls"]["client"]["commonName"])

    with contextlib.closing(client):
        assert [shown() for _ in range(3)] == 3 * ["first.example"]
        bed.site.api.put(f"/pools/{pool_id}", {"pool": {"tls_container_ref": second}})
        bed.site.api.wait_active(bed.id)
        shown()  # a request that may be under way: its answer ends the connection of before
        assert [shown() for _ in range(3)] == 3 * ["second.example"]


def test_members_are_spoken_to_by_tls_and_verified(bed: Bed) -> None:
    ours = tls_material.issue("balancer.example", ROOT)
    ca, foreign = (bed.store.store_secret(bed.project, "ca", one.pem) for one in (ROOT, FOREIGN))
    whole = {"ca_tls_container_ref": ca, "tls_container_ref": bed.bundle(ours), "alpn_protocols": ["http/1.1"]}
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=bed.pool(port=ECHO_CLIENTS, **whole))
    status, told, _ = bed.ask(port)
    assert (status, told["tls"]["version"], told["tls"]["alpn"]) == (200, "TLSv1.3", "http/1.1")
    assert told["tls"]["client"]["commonName"] == "balancer.example"
    for fields, wanted in (({"ca_tls_container_ref": foreign}, 503), ({}, 200), ({"tls_versions": ["TLSv1.2"]}, 200)):
        bed.change(listener_id, default_pool_id=bed.pool(port=ECHO_TLS, **fields))
        assert bed.ask(port)[0] == wanted, fields
    assert bed.ask(port)[1]["tls"]["version"] == "TLSv1.2"


def test_a_policy_leads_to_members_that_are_spoken_to_by_tls_and_verified(bed: Bed) -> None:
    """The listener's own pool speaks without TLS, and goes on with it for whoever meets no rule."""
    good, foreign = (bed.store.store_secret(bed.project, "ca", one.pem) for one in (ROOT, FOREIGN))
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN))
    policy = {"listener_id": listener_id, "action": "REDIRECT_TO_POOL"}
    rule = {"type": "HEADER", "key": "X-Way", "value": "tls", "compare_type": "EQUAL_TO"}
    policy["redirect_pool_id"] = bed.pool(port=ECHO_TLS, ca_tls_container_ref=good)
    made = bed.site.api.post("/l7policies", {"l7policy": policy})["l7policy"]
    bed.site.api.post(f"/l7policies/{made['id']}/rules", {"rule": rule})
    bed.site.api.wait_active(bed.id)
    status, told, _ = bed.ask(port, "-H", "X-Way: tls")
    assert (status, told["tls"]["version"]) == (200, "TLSv1.3")
    assert bed.ask(port)[1]["tls"] == {}
    bed.site.api.put(f"/l7policies/{made['id']}", {"l7policy": {"redirect_pool_id": bed.pool(port=ECHO_TLS, ca_tls_container_ref=foreign)}})
    bed.site.api.wait_active(bed.id)
    assert [bed.ask(port, "-H", "X-Way: tls")[0], bed.ask(port)[0]] == [503, 200]


def test_members_are_known_by_the_name_that_their_client_asked_for(bed: Bed) -> None:
    """A client that says none takes whoever has a certificate of the authority; one that has ended takes nobody."""
    ended = tls_material.issue("root.example", is_ca=True, key=ROOT.key, ends=-tls_material.DAY / 2)
    good, past = (bed.store.store_secret(bed.project, "ca", one.pem) for one in (ROOT, ended))
    web = tls_material.issue("web.example", BETWEEN)
    listener_id, port = bed.listener(web, default_pool_id=bed.pool(port=ECHO_TLS, ca_tls_container_ref=good))

    def by_name(name: str) -> str:
        where = ["--resolve", f"{name}:{port}:{bed.vip}", f"https://{name}:{port}/x"]
        return bed.run("curl", "-sko", "/dev/null", "-w", "%{http_code}", "--max-time", "20", *where).stdout

    assert [by_name("member.example"), by_name("other.example"), bed.ask(port)[0]] == ["200", "503", 200]
    assert by_name("member.example") == "200", "a connection of another client is no way around"
    assert by_name("other.example") == "503"
    bed.change(listener_id, default_pool_id=bed.pool(port=ECHO_TLS, ca_tls_container_ref=past))
    assert [by_name("member.example"), bed.ask(port)[0]] == ["503", 503]


def test_clients_can_not_say_themselves_what_is_known_of_their_certificates(bed: Bed) -> None:
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem)
    names = [*HEADERS, "X-Forwarded-Port", "X-Real-IP", "X-Client-IP", "X-Forwarded-IP"]
    fields = {"client_ca_tls_container_ref": ca, "insert_headers": dict.fromkeys(names, "true")}
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), client_authentication="OPTIONAL", **fields)
    lies = [word for name in names for word in ("--header", f"{name}: forged", "--header", f"{name.lower()}: forged, too")]
    for version in ("--http1.1", "--http2"):
        status, told, _ = bed.ask(port, version, *lies)
        assert status == 200
        assert "forged" not in str(told["head"])


def test_members_believe_nothing_else_than_the_headers_that_are_inserted(bed: Bed) -> None:
    """Applications of CGI's kind take an underscore for a hyphen, and proxies throw away what `Connection` names."""
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem)
    names = [*HEADERS, "X-Forwarded-For", "X-Forwarded-Port", "X-Real-IP", "X-Client-IP", "X-Forwarded-IP"]
    fields = {"client_ca_tls_container_ref": ca, "client_authentication": "OPTIONAL"}
    certificate = tls_material.issue("web.example", BETWEEN)
    _, port = bed.listener(certificate, insert_headers=dict.fromkeys(names, "true"), **fields)
    for name in names:
        places = [place for place, letter in enumerate(name) if letter == "-"]
        spelled = [name.replace("-", "_"), *(f"{name[:place]}_{name[place + 1 :]}" for place in places)]
        lies = [f"{one}: forged" for one in (*spelled, spelled[0].lower())] + [f"Connection: close, {one}" for one in (name, name.lower())]
        for lie in lies:
            assert bed.ask(port, "--http1.1", "--header", lie)[0] == 400, lie
        assert bed.ask(port, "--http2", "--header", lies[0])[0] == 400
    other = ["--header", "x_tenant: one", "--header", "X-Real-IPs_: two", "--header", "Connection: keep-alive, X-Tenant"]
    status, told, _ = bed.ask(port, "--http1.1", *other)
    assert status == 200
    assert {"x_tenant: one", "x-real-ips_: two"} <= {line.lower() for line in told["head"]}
    _, plain = bed.listener(certificate)
    assert bed.ask(plain, "--http1.1", "--header", "X_Forwarded_For: anybody", "--header", "Connection: X-Forwarded-For")[0] == 200


def test_nobody_comes_in_by_a_list_of_revocations_that_has_ended(bed: Bed) -> None:
    good = tls_material.issue("client.example", ROOT)
    file = bed.file("by-ended.pem", good.pem + good.key_pem())
    ca = bed.store.store_secret(bed.project, "ca", ROOT.pem)
    crls = [bed.store.store_secret(bed.project, "crl", tls_material.revoke(ROOT, ends=ends * tls_material.DAY)) for ends in (1, -0.5)]
    fields = {"client_ca_tls_container_ref": ca, "client_crl_container_ref": crls[0]}
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), client_authentication="OPTIONAL", **fields)
    assert [bed.ask(port, "--cert", file)[0], bed.ask(port)[0]] == [200, 200]
    bed.change(listener_id, client_crl_container_ref=crls[1])
    assert [bed.ask(port, "--cert", file)[0], bed.ask(port)[0]] == [0, 200]


def test_members_that_are_checked_are_spoken_to_by_tls(bed: Bed) -> None:
    pool_id = bed.pool(port=ECHO_TLS)
    monitor = {"pool_id": pool_id, "type": "HTTPS", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    bed.site.api.post("/healthmonitors", {"healthmonitor": monitor})
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=pool_id)
    assert bed.ask(port)[0] == 200
    before = bed.workers()
    bed.change(listener_id, timeout_member_data=7000)
    assert bed.workers() != before
    assert bed.ask(port)[1]["tls"]["version"] == "TLSv1.3"
    for tls_enabled, expected in ((False, 0), (True, 200)):  # a request without TLS means nothing to this member
        bed.site.api.put(f"/pools/{pool_id}", {"pool": {"tls_enabled": tls_enabled}})
        bed.site.api.wait_active(bed.id)
        assert (bed.ask(port)[0] == 200) == (expected == 200)


def test_members_are_told_of_tls_by_the_proxy_protocol(bed: Bed) -> None:
    pool_id = bed.pool(port=ECHO, protocol="PROXYV2", tls_enabled=False)
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), default_pool_id=pool_id)
    more, types = bytes.fromhex(bed.ask(port)[1]["before"])[16 + 12 :], {}  # behind two addresses and two ports of IPv4
    while more:  # type, length and value (section 2.2 of the PROXY protocol's description)
        length = int.from_bytes(more[1:3], "big")
        types[more[0]], more = more[3 : 3 + length], more[3 + length :]
    assert b"TLSv1." in types[0x20]  # PP2_TYPE_SSL


def test_a_hello_is_what_a_member_is_probed_by(bed: Bed) -> None:
    """The member that speaks TLS is ONLINE, the one that does not is in ERROR, though both accept connections."""
    pool_id = bed.pool(port=ECHO_TLS, protocol="HTTPS", tls_enabled=False)
    bed.site.api.post(f"/pools/{pool_id}/members", {"member": {"address": bed.site.web["web-1"], "protocol_port": ECHO}})
    monitor = {"pool_id": pool_id, "type": "TLS-HELLO", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    bed.site.api.post("/healthmonitors", {"healthmonitor": monitor})
    bed.serial += 1
    body = {"loadbalancer_id": bed.id, "protocol": "HTTPS", "protocol_port": bed.serial, "default_pool_id": pool_id}
    bed.site.api.post("/listeners", {"listener": body})
    bed.site.api.wait_active(bed.id)

    def statuses() -> dict[int, str]:
        return {one["protocol_port"]: one["operating_status"] for one in bed.site.api.get(f"/pools/{pool_id}/members")["members"]}

    eventually(lambda: statuses() == {ECHO_TLS: "ONLINE", ECHO: "ERROR"}, 60, lambda: str(statuses()))


def test_the_openstack_client_makes_one_of_what_was_uploaded(bed: Bed) -> None:
    issued = tls_material.issue("cli.example", BETWEEN)
    body = {"payload": (issued.pem + issued.key_pem() + issued.chain_pem).decode(), "project_id": bed.project}
    reference = bed.site.api.post("/secrets", {"secret": body})["secret"]["ref"]
    bed.serial += 1
    named = ["--protocol", "TERMINATED_HTTPS", "--protocol-port", str(bed.serial), "--default-tls-container-ref", reference]
    command = [str(pathlib.Path(sys.executable).with_name("openstack")), "loadbalancer", "listener", "create", *named]
    access = {**os.environ, "OS_AUTH_TYPE": "none", "OS_ENDPOINT": bed.site.machine.settings.api_url}
    command += ["--default-pool", bed.pool_id, bed.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=access, timeout=60)
    assert done.returncode == 0, done.stderr
    bed.site.api.wait_active(bed.id)
    assert bed.subject(bed.serial) == "cli.example"


@pytest.mark.slow
def test_two_hundred_names_are_served_and_one_more_comes_without_a_reload(bed: Bed) -> None:
    names = [f"n{number}.example" for number in range(200)]
    references = [bed.bundle(tls_material.issue(name, BETWEEN, names=[name])) for name in names]
    begun = time.monotonic()
    listener_id, port = bed.listener(tls_material.issue("web.example", BETWEEN), sni_container_refs=references)
    print(f"200 certificates: ACTIVE after {time.monotonic() - begun:.2f} s")
    for name in (names[0], names[99], names[199]):
        assert bed.subject(port, name) == name
    workers, more = bed.workers(), bed.bundle(tls_material.issue("more.example", BETWEEN))
    begun = time.monotonic()
    bed.change(listener_id, sni_container_refs=[*references[1:], more])
    print(f"one came, one went: ACTIVE after {time.monotonic() - begun:.2f} s")
    assert [bed.subject(port, name) for name in ("more.example", names[199], names[0])] == ["more.example", names[199], "web.example"]
    assert bed.workers() == workers


def test_an_operator_has_a_changed_secret_taken_up(bed: Bed) -> None:
    before, after = (tls_material.issue(f"{word}.example", BETWEEN) for word in ("before", "after"))
    reference, other = bed.bundle(before), bed.bundle(after)
    _, port = bed.listener(None, default_tls_container_ref=reference)
    assert bed.subject(port) == "before.example"
    kept = bed.store.get_bundle(bed.project, other)
    path = bed.store._path(bed.project, reference)
    assert path is not None
    record = {"project_id": bed.project, "reference": reference, "name": "t", "kind": "bundle"}
    content: dict[str, Any] = {"certificate": kept.certificate.decode(), "private_key": kept.private_key.decode()}
    content |= {"intermediates": [one.decode() for one in kept.intermediates]}
    path.write_bytes(bed.store._cipher.encrypt(json.dumps({**record, "content": content}).encode()))  # as one that is renewed in its place
    assert figlina.main(["secrets", "refresh", bed.id, "--config-file", str(bed.site.folder / "figlina.conf")]) == 0
    eventually(lambda: bed.subject(port) == "after.example", 60, "the old one is served")
    bed.site.api.wait_active(bed.id)


def test_the_end_of_certificates_is_a_metric(bed: Bed) -> None:
    days = [tls_material.issue(f"d{days}.example", BETWEEN, ends=datetime.timedelta(days=days)) for days in (20, 7)]
    listener, _ = bed.listener(days[0], sni_container_refs=[bed.bundle(days[1])])
    bed.serial += 1
    body = {"loadbalancer_id": bed.id, "protocol": "PROMETHEUS", "protocol_port": bed.serial}
    bed.site.api.post("/listeners", {"listener": body})
    bed.site.api.wait_active(bed.id)

    def told() -> float:
        said = bed.run("curl", "--silent", "--max-time", "20", f"http://{bed.vip}:{bed.serial}/metrics").stdout
        found = [line for line in said.splitlines() if line.startswith(f'figlina_listener_earliest_cert_expiry{{listener="{listener}"}}')]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    eventually(lambda: told() == days[1].certificate.not_valid_after_utc.timestamp(), 60, lambda: str(told()))
    bed.change(listener, sni_container_refs=[])
    eventually(lambda: told() == days[0].certificate.not_valid_after_utc.timestamp(), 60, lambda: str(told()))


def test_names_in_certificates_are_nothing_but_names(bed: Bed) -> None:
    """HAProxy reads them itself: whatever stands in them, no line of any file comes of it."""
    odd = tls_material.issue(
        "a b\nbind :1\r\n#'\"\\", BETWEEN, names=["*", "*.*.example", "a b.example", "--help", "x" * 200, "good.example"]
    )
    _, port = bed.listener(tls_material.issue("web.example", BETWEEN), sni_container_refs=[bed.bundle(odd)])
    assert bed.subject(port, "elsewhere.test") in ("web.example", bed.subject(port, "good.example"))
    assert bed.subject(port, "good.example") != "web.example"
    assert bed.ask(port)[0] == 200


@pytest.mark.slow
def test_failover_and_delete_need_no_secret_store_and_nothing_leaks(bed: Bed) -> None:
    issued = tls_material.issue("secret.example", BETWEEN, kind="RSA")
    reference = bed.bundle(issued)
    _, port = bed.listener(None, default_tls_container_ref=reference)
    for path in (bed.site.folder / "secrets").glob("*/*.secret"):  # the store has lost everything; the key is another matter
        path.rename(path.with_suffix(".away"))
    bed.site.api.put(f"/loadbalancers/{bed.id}/failover", {})
    time.sleep(1)
    bed.site.api.wait_active(bed.id, 120)
    eventually(lambda: bed.subject(port) == "secret.example", 60, "the replacement does not serve")
    key = "".join(issued.key_pem().decode().split("-----")[2].split())[40:100]
    leaks = [
        str(path)
        for path in bed.site.folder.rglob("*")
        if path.is_file() and "certificates" not in path.parts and key in "".join(path.read_text(errors="replace").split())
    ]
    assert leaks == []
    bed.site.api.delete(f"/loadbalancers/{bed.id}?cascade=true")
    bed.site.api.wait_gone(f"/loadbalancers/{bed.id}")
