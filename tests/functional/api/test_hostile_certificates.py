"""Names in certificates are whatever their issuers like: none becomes a line of a file, a log or an answer."""

from __future__ import annotations

import base64
import json
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from controller.db import tables
from controller.drivers.secrets import bundles
from controller.render import tls
from tests import tls_material
from tests.functional.api.conftest import PROJECT, Api
from tests.fuzz import hostile, rendered
from tests.unit.controller.render import tools

_HASH = re.compile(r"[0-9a-f]{64}")
_BLOCKS = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END [A-Z0-9 ]+-----\n)+")
_LONGEST = 64  # characters of a common name


def _possible(text: str) -> bool:
    try:
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        text.encode()
    except ValueError:
        return False
    return True


_MARK = "zq9x"
NAMES = [text for text in dict.fromkeys(text[: _LONGEST - len(_MARK)] + _MARK for text in hostile.STRINGS) if _possible(text)]
"""Each ends with what stands nowhere else."""
_HARMLESS = "harmless.example"


def _issued(text: str) -> tuple[tls_material.Issued, tls_material.Issued]:
    """A CA of that name, and a certificate of hers with it in the subject and, as far as it can be, in the alternative names."""
    authority = tls_material.issue(text, is_ca=True, organization=text)
    names = [text] if text.isascii() else []
    return authority, tls_material.issue(text, authority, names=names, organization=text)


def _pkcs12(issued: tls_material.Issued, text: str) -> str:
    """With it as the friendly names, too."""
    above = [pkcs12.PKCS12Certificate(one, text.encode()) for one in issued.above]
    own = text.encode()
    packed = pkcs12.serialize_key_and_certificates(own, issued.key, issued.certificate, above, serialization.NoEncryption())
    return base64.b64encode(packed).decode()


def _served(api: Api, text: str) -> tuple[Any, list[str]]:
    """What is to be served of a load balancer all of whose certificates have this name, and all that was answered."""
    authority, issued = _issued(text)
    said = []

    def store(kind: str, payload: str) -> str:
        said.append(api.ok("POST", "/secrets", {"secret": {"name": "x", "kind": kind, "payload": payload}}, 201))
        return str(said[-1]["secret"]["ref"])

    pem = (issued.pem + issued.chain_pem + issued.key_pem()).decode()
    packed, plain, ca = store("certificate", _pkcs12(issued, text)), store("certificate", pem), store("ca", authority.pem.decode())
    crl = store("crl", tls_material.revoke(authority, issued).decode())
    pool = {
        "name": "p",
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "tls_enabled": True,
        "tls_container_ref": plain,
        "ca_tls_container_ref": ca,
        "crl_container_ref": crl,
    }
    listener = {
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": packed,
        "sni_container_refs": [plain],
        "client_authentication": "OPTIONAL",
        "client_ca_tls_container_ref": ca,
        "client_crl_container_ref": crl,
        "default_pool": pool,
    }
    made = api.load_balancer(listeners=[listener])
    said += [made, *(api.ok("GET", f"{path}/{made[key][0]['id']}") for path, key in (("/listeners", "listeners"), ("/pools", "pools")))]
    with api.db.read() as tx:
        snapshot = tx.snapshots.get(made["id"])
    api.ok("DELETE", f"/loadbalancers/{made['id']}?cascade=true", status=204)
    api.settle()
    return snapshot, [json.dumps(one, ensure_ascii=False) for one in said]


def _shape(snapshot: Any) -> tuple[str, str]:
    """The texts, with all ids and hashes alike."""
    texts = rendered.checked(snapshot)
    ids = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
    assert texts.haproxy is not None
    first, second = (ids.sub("ID", _HASH.sub("HASH", text)) for text in (texts.haproxy, texts.keepalived))
    return re.sub(r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS", first), re.sub(r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS", second)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.lengthy
def test_no_name_is_seen_where_a_certificate_is_served(api: Api, logged: pytest.LogCaptureFixture) -> None:
    expected = _shape(_served(api, _HARMLESS)[0])
    for text in NAMES:
        snapshot, said = _served(api, text)
        assert _shape(snapshot) == expected, text
        assert [one for one in said if _MARK in one] == []
    assert len(NAMES) > 90
    assert [record.name for record in logged.records if _MARK in record.getMessage()] == []
    with api.db.read() as tx:
        for table in tables.metadata.sorted_tables:
            assert _MARK not in repr(tx.connection.execute(sa.select(table)).all()), table.name


@pytest.mark.parametrize("shape", ["pem", "pkcs12"])
def test_files_of_amphorae_have_blocks_of_pem_and_nothing_else(shape: str) -> None:
    for text in NAMES:
        authority, issued = _issued(text)
        bags = f"Bag Attributes\n    friendlyName: {text}\nsubject=CN = {text}\n".encode()
        whole = bags + issued.pem + bags + issued.chain_pem + bags + issued.key_pem()
        read = bundles.read(whole if shape == "pem" else base64.b64decode(_pkcs12(issued, text)))
        revoked = bags + tls_material.revoke(authority, issued)
        files = bundles.pem(read), bundles.authorities_pem(bags + authority.pem), bundles.revocations_pem(revoked)
        assert all(_BLOCKS.fullmatch(file) for file in files), text


def test_haproxy_takes_certificates_of_such_names(api: Api, tmp_path: pathlib.Path) -> None:
    for text in [*NAMES[::12], "x\n    bind *:1"]:
        snapshot, _ = _served(api, text)
        authority, issued = _issued(text)
        files = tls.files(snapshot, tools.known(snapshot))
        content = {
            "ca.pem": bundles.authorities_pem(authority.pem),
            "crl.pem": bundles.revocations_pem(tls_material.revoke(authority, issued)),
        }
        for name in files.names:
            (tmp_path / name).write_bytes(content.get(name.rpartition("-")[2], bundles.pem(issued.bundle)))
        for name, names in files.lists.items():
            (tmp_path / name).write_text("".join(f"{one}\n" for one in names))
        text_of_it = rendered.checked(snapshot).haproxy
        assert text_of_it is not None
        tools.ask_haproxy(text_of_it, tmp_path, rendered.PEER)


def test_a_list_of_an_unknown_issuer_is_named_in_one_line(api: Api, logged: pytest.LogCaptureFixture) -> None:
    known = tls_material.issue("known.example", is_ca=True)
    ca = api.secrets.store_secret(PROJECT, "authorities", known.pem)
    parent = api.load_balancer()["id"]
    pool = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": parent, "tls_enabled": True, "ca_tls_container_ref": ca}
    for text in NAMES:
        foreign = tls_material.issue(text, is_ca=True)
        lists = tls_material.revoke(known) + tls_material.revoke(foreign)
        crl = api.secrets.store_secret(PROJECT, "revocations", lists)
        said = api.refused(400, "POST", "/pools", {"pool": {**pool, "crl_container_ref": crl}})
        assert "is not signed by the CA" in said
        assert _MARK in said
        assert said.isprintable(), text
    lines = [record.getMessage() for record in logged.records if _MARK in record.getMessage()]
    assert [line for line in lines if not line.isprintable()] == []
