"""Certificates that are given to the `local` store through the API: written, named by listeners, never read."""

from __future__ import annotations

import base64
import pathlib
import threading
import time
from typing import Any

import pytest

from controller import deadlines
from controller.cmd import figlina
from controller.drivers.secrets import barbican, bundles, local
from tests import tls_material
from tests.functional.api.conftest import PROJECT, Api

ROOT = tls_material.issue("root.example", is_ca=True)
WEB = tls_material.issue("web.example", ROOT)


def _store(api: Api, payload: bytes, **fields: Any) -> str:
    text = payload.decode() if payload.startswith(b"-----") else base64.b64encode(payload).decode()
    return str(api.ok("POST", "/secrets", {"secret": {"payload": text, **fields}}, 201)["secret"]["ref"])


def test_what_was_given_is_named_by_listeners_and_pools(api: Api) -> None:
    references = [_store(api, WEB.pem + WEB.key_pem(b"x"), passphrase="x", name="web"), _store(api, WEB.pkcs12(), kind="certificate")]
    ca, crl = _store(api, ROOT.pem, kind="ca"), _store(api, tls_material.revoke(ROOT), kind="crl")
    fields = {"default_tls_container_ref": references[0], "sni_container_refs": references[1:], "client_crl_container_ref": crl}
    body = {"loadbalancer_id": api.load_balancer()["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    made = api.ok("POST", "/listeners", {"listener": {**body, **fields, "client_ca_tls_container_ref": ca}}, 201)["listener"]
    assert made["default_tls_container_ref"] == references[0]
    assert bundles.pem(api.secrets.get_bundle(PROJECT, references[0])) == bundles.pem(api.secrets.get_bundle(PROJECT, references[1]))
    gone = _store(api, WEB.pkcs12())
    for reference in (references[1], gone, gone):
        api.ok("DELETE", f"/secrets/{reference}", status=204)
    api.settle()
    api.ok("PUT", f"/listeners/{made['id']}", {"listener": {"sni_container_refs": references}})  # of what it names there are copies
    api.settle()
    said = api.refused(400, "PUT", f"/listeners/{made['id']}", {"listener": {"sni_container_refs": [*references, gone]}})
    assert said == f"Could not retrieve certificate: ['{gone}']"


def test_lists_of_revocations_of_several_cas_are_kept_and_each_is_of_a_ca_that_is_named(api: Api) -> None:
    between, foreign = tls_material.issue("between.example", ROOT, is_ca=True), tls_material.issue("foreign.example", is_ca=True)
    lists = [tls_material.revoke(ROOT), tls_material.revoke(between, WEB)]
    cas, crls = _store(api, ROOT.pem + between.pem, kind="ca"), _store(api, b"".join(lists), kind="crl")
    assert api.secrets.get_secret(PROJECT, crls) == b"".join(lists)
    mixed = _store(api, lists[0] + tls_material.revoke(foreign), kind="crl")
    load_balancer_id, web = api.load_balancer()["id"], _store(api, WEB.pem + WEB.key_pem())
    listener = {"loadbalancer_id": load_balancer_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_tls_container_ref": web}
    pool = {"loadbalancer_id": load_balancer_id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True}
    for path, word, body, prefix in (("/listeners", "listener", listener, "client_"), ("/pools", "pool", pool, "")):
        body = {**body, f"{prefix}ca_tls_container_ref": cas}
        said = api.refused(400, "POST", path, {word: {**body, f"{prefix}crl_container_ref": mixed}})
        told = f"{prefix}crl_container_ref is not signed by the CA of {prefix}ca_tls_container_ref: the list of CN=foreign.example."
        assert told in said
        api.ok("POST", path, {word: {**body, f"{prefix}crl_container_ref": crls}}, 201)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "payload. Mandatory field missing"),
        ({"payload": 5}, "payload. Value should be a string"),
        ({"payload": ["-----BEGIN PRIVATE KEY-----"]}, "payload. Value should be a string"),
        ({"payload": ""}, "payload. Mandatory field missing"),
        ({"payload": "x", "passphrase": [WEB.key_pem().decode()]}, "passphrase. Value should be a string"),
        ({"payload": "x", "name": WEB.key_pem().decode()}, "name. Value should"),
        ({"payload": "x", "project_id": WEB.key_pem().decode()}, "project_id. Value should"),
        ({"payload": "x", "kind": WEB.key_pem().decode()}, "kind. Value should be one of: certificate, ca, crl"),
        (WEB.key_pem().decode(), "secret. Value should be a JSON object"),
        ({"payload": "x", "kind": "key"}, "kind. Value should be one of: certificate, ca, crl"),
        ({"payload": "x", "colour": "red"}, "argument secret_: it takes kind, name, passphrase, payload, project_id alone"),
        ({"payload": "x", WEB.key_pem().decode(): "x"}, "argument secret_: it takes kind, name, passphrase, payload, project_id alone"),
        ({"payload": WEB.key_pem().decode()}, "The certificate can't be read"),
        ({"payload": WEB.pem.decode()}, "there is no block PRIVATE KEY"),
        ({"payload": WEB.pem.decode(), "kind": "crl"}, "The revocation list can't be read"),
    ],
)
def test_what_can_not_be_is_refused_and_not_repeated(api: Api, fields: Any, words: str) -> None:
    said = api.refused(400, "POST", "/secrets", {"secret": fields})
    assert words in said
    assert WEB.key_pem().decode().splitlines()[1] not in said


def test_a_key_in_the_place_of_the_whole_body_is_not_repeated_either(api: Api) -> None:
    said = api.refused(400, "POST", "/secrets", WEB.key_pem().decode())
    assert said == "Invalid input for field/attribute secret_. Value should be a JSON object"
    said = api.refused(400, "POST", "/secrets", {WEB.key_pem().decode(): {"payload": "x"}})
    assert said == "Unknown attribute for argument secret_: it takes secret alone"


def test_nobody_fills_the_disk_with_secrets(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setitem(api.services.made, "secrets", local.LocalSecrets(tmp_path / "few", create=True, most=2))
    first, _ = _store(api, ROOT.pem, kind="ca"), _store(api, ROOT.pem, kind="ca")
    refused = api.refused(403, "POST", "/secrets", {"secret": {"payload": ROOT.pem.decode(), "kind": "ca"}})
    assert refused == "Quota has been met for resources: Secret"
    api.ok("DELETE", f"/secrets/{first}", status=204)
    _store(api, ROOT.pem, kind="ca")


def test_a_store_with_a_way_of_its_own_takes_nothing_here(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(api.secrets), "takes_uploads", barbican.BarbicanSecrets.takes_uploads)
    assert "store the secret there" in api.refused(501, "POST", "/secrets", {"secret": {"payload": "x"}})
    assert "delete the secret there" in api.refused(501, "DELETE", "/secrets/x")


def test_the_operators_command_stores_and_deletes(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "figlina.conf").write_text(f"[certificates]\nstorage_path = {tmp_path}/secrets\ncreate = true\n")
    config = ["--config-file", str(tmp_path / "figlina.conf"), "--project", PROJECT]
    (tmp_path / "web.pem").write_bytes(WEB.pem)
    (tmp_path / "web.key").write_bytes(WEB.key_pem(b"secret"))
    (tmp_path / "word").write_bytes(b"secret\n")
    files = [str(tmp_path / "web.pem"), str(tmp_path / "web.key")]
    assert figlina.main(["secrets", "store", *files, *config]) == 1
    assert "the passphrase stored beside it" in capsys.readouterr().err
    assert figlina.main(["secrets", "store", *files, *config, "--passphrase-file", str(tmp_path / "word")]) == 0
    reference = capsys.readouterr().out.strip()
    store = local.LocalSecrets(tmp_path / "secrets")
    assert bundles.pem(store.get_bundle(PROJECT, reference)) == bundles.pem(bundles.read(WEB.pem + WEB.key_pem()))
    assert figlina.main(["secrets", "delete", reference, *config]) == 0
    assert not list((tmp_path / "secrets").glob("*/*.secret"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(WEB.pem, "certificate"), (WEB.key_pem(), "certificate"), (WEB.pem, "crl"), (b"nothing", "ca"), (b"", "certificate")],
)
def test_the_operators_command_refuses_what_the_api_refuses(
    api: Api, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], content: bytes, kind: str
) -> None:
    """In the same words; so it does with a store that takes nothing of us, and for what can be no project."""
    (tmp_path / "figlina.conf").write_text(f"[certificates]\nstorage_path = {tmp_path}/secrets\ncreate = true\n")
    (tmp_path / "given").write_bytes(content)
    store = ["secrets", "store", str(tmp_path / "given"), "--kind", kind, "--config-file", str(tmp_path / "figlina.conf"), "--project"]
    assert figlina.main([*store, PROJECT]) == 1
    said = capsys.readouterr().err.strip().removeprefix("figlina: ")
    if content:
        assert api.refused(400, "POST", "/secrets", {"secret": {"payload": content.decode(), "kind": kind}}) == said
    assert figlina.main([*store, "p" * 37]) == 1
    assert "project_id. Value should be the id of a project" in capsys.readouterr().err


@pytest.mark.lengthy
def test_a_request_whose_time_is_not_enough_is_told_of_the_secret_store(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    references = [api.secrets.store_bundle(PROJECT, "web", WEB.bundle) for _ in range(3)]
    body = {"loadbalancer_id": api.load_balancer()["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    read, go_on = api.secrets.get_bundle, threading.Event()

    def slow(project_id: str, reference: str) -> Any:
        if reference == references[2]:
            go_on.wait(60)
        return read(project_id, reference)

    monkeypatch.setattr(api.secrets, "get_bundle", slow)
    try:
        with deadlines.until(time.monotonic() + 5):
            said = api.refused(503, "POST", "/listeners", {"listener": {**body, "sni_container_refs": references}})
    finally:
        go_on.set()
    assert said.startswith(
        "The secret store took too long: it gave 2 of 3 secrets in the time that a request has; nothing was changed. Name fewer"
    )
    api.settle()
    api.ok("POST", "/listeners", {"listener": {**body, "sni_container_refs": references}}, 201)
