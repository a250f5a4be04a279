"""The secret store Barbican, a simulated one and, with `-m cloud`, a real one: what tenants keep there, and what they let us do with it."""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from controller import exceptions
from controller.drivers.secrets import barbican, bundles
from controller.openstack import cloud as openstack
from tests import simulated, tls_material
from tests.contract import openstack_cloud

ROOT = tls_material.issue("root.example", is_ca=True)
BETWEEN = tls_material.issue("between.example", ROOT, is_ca=True)
WEB = tls_material.issue("web.example", BETWEEN, kind="RSA")


class Barbican:
    """A Barbican, our driver for it, and a tenant who keeps things there and takes them away in the end."""

    def __init__(self, ours: openstack.Cloud, tenants: openstack.Cloud) -> None:
        self.store = barbican.BarbicanSecrets(ours)
        self.key_manager = tenants.service("key_manager")
        self.token = str(tenants._connection.auth_token)
        self.services: simulated.SimulatedCloud | None = None
        self._made: list[str] = []

    def keep(self, name: str, payload: bytes) -> str:
        body = {"name": f"t-{name}", "payload": base64.b64encode(payload).decode(), "payload_content_encoding": "base64"}
        made = self.key_manager.post("/secrets", body | {"payload_content_type": "application/octet-stream"})
        return self._note(made["secret_ref"])

    def container(self, **pieces: bytes) -> str:
        return self.container_of(**{name: self.keep(name, content) for name, content in pieces.items()})

    def container_of(self, kind: str = "certificate", **references: str) -> str:
        parts = [{"name": name, "secret_ref": reference} for name, reference in references.items()]
        made = self.key_manager.post("/containers", {"type": kind, "name": "t-web", "secret_refs": parts})
        return self._note(made["container_ref"])

    def consumers(self, reference: str) -> list[Any]:
        path = "/" + reference.rpartition("/v1/")[2]
        headers = {"OpenStack-API-Version": "key-manager 1.1"} if "/secrets/" in reference else {}
        return list(self.key_manager.call("GET", path, headers=headers).get("consumers") or ())

    def close(self) -> None:
        for reference in reversed(self._made):
            self.key_manager.delete("/" + reference.rpartition("/v1/")[2])

    def _note(self, reference: str) -> str:
        self._made.append(reference)
        return reference


@pytest.fixture(params=["simulated", pytest.param("openstack", marks=pytest.mark.cloud)], scope="module")
def kept(request: pytest.FixtureRequest) -> Iterator[Barbican]:
    with contextlib.ExitStack() as ends:
        if request.param == "openstack":
            if (reason := openstack_cloud.why_not()) is not None:
                pytest.skip(reason)
            texts = [f"[service_auth]\ncloud = testcloud-{who}\n" for who in ("lb", "demo")]
        else:
            services = ends.enter_context(simulated.running())
            texts = [simulated.access(services), simulated.access(services, "tenants")]
        confs = [openstack_cloud.configuration(text) for text in texts]
        clouds = [openstack.Cloud.from_conf(conf) for conf in confs]
        for one in clouds:
            ends.callback(one.close)
        made = Barbican(*clouds)
        ends.callback(made.close)
        yield made


def test_a_container_is_read_once_its_owner_has_let_us(kept: Barbican) -> None:
    passphrase = b"of the tenant"
    reference = kept.container(
        certificate=WEB.pem, private_key=WEB.key_pem(passphrase), intermediates=BETWEEN.pem, private_key_passphrase=passphrase
    )
    with pytest.raises(exceptions.InvalidRequest, match="may not be read"):
        kept.store.get_bundle("p", reference)
    kept.store.admit(reference, kept.token)
    kept.store.admit(reference, kept.token)
    assert bundles.pem(kept.store.get_bundle("p", reference)) == bundles.pem(WEB.bundle)


@pytest.mark.parametrize("payload", [WEB.pkcs12(), base64.b64encode(WEB.pkcs12()), WEB.pem + WEB.key_pem() + WEB.chain_pem])
def test_a_secret_in_one_piece_is_read(kept: Barbican, payload: bytes) -> None:
    reference = kept.keep("bundle", payload)
    kept.store.admit(reference, kept.token)
    assert bundles.pem(kept.store.get_bundle("p", reference)) == bundles.pem(WEB.bundle)


def test_a_ca_is_read_from_a_secret_or_from_a_container(kept: Barbican) -> None:
    for reference in (kept.keep("ca", ROOT.pem), kept.container(certificate=ROOT.pem)):
        kept.store.admit(reference, kept.token)
        assert kept.store.get_secret("p", reference) == ROOT.pem


def test_only_who_may_read_a_secret_may_have_us_read_it(kept: Barbican) -> None:
    ours = kept.store.store_secret("p", "t-of-somebody-else", b"x")
    try:
        with pytest.raises(exceptions.InvalidRequest, match="may not be read"):
            kept.store.admit(ours, kept.token)
        with pytest.raises(exceptions.InvalidRequest, match="may not be read"):
            kept.store.admit(ours, "no-token")
    finally:
        kept.store.delete("p", ours)


def test_a_container_of_ones_own_gives_no_right_to_what_it_names_of_somebody_else(kept: Barbican) -> None:
    """Our user reads what any tenant has let it read."""
    theirs = kept.store.store_secret("p", "t-key-of-somebody-else", WEB.key_pem())
    try:
        try:
            reference = kept.container_of(certificate=kept.keep("certificate", WEB.pem), private_key=theirs)
        except exceptions.ControllerError:
            return  # this Barbican looks at it itself
        with pytest.raises(exceptions.InvalidRequest, match="may not be read"):
            kept.store.admit(reference, kept.token)
    finally:
        kept.store.delete("p", theirs)


def test_a_container_whose_parts_can_be_exchanged_is_no_certificate(kept: Barbican) -> None:
    parts = {"certificate": kept.keep("certificate", WEB.pem), "private_key": kept.keep("key", WEB.key_pem())}
    reference = kept.container_of("generic", **parts)
    kept.store.admit(reference, kept.token)
    with pytest.raises(exceptions.InvalidRequest, match="of type certificate"):
        kept.store.get_bundle("p", reference)


def test_consumers_come_and_go(kept: Barbican) -> None:
    load_balancer_id = str(uuid.uuid4())
    for reference in (kept.keep("ca", ROOT.pem), kept.container(certificate=WEB.pem, private_key=WEB.key_pem())):
        kept.store.admit(reference, kept.token)
        kept.store.register(reference, load_balancer_id)
        kept.store.register(reference, load_balancer_id)
        assert len([one for one in kept.consumers(reference) if load_balancer_id in str(one)]) == 1
        kept.store.unregister(reference, load_balancer_id)
        kept.store.unregister(reference, load_balancer_id)
        assert not [one for one in kept.consumers(reference) if load_balancer_id in str(one)]


def test_a_container_without_a_key_is_refused_with_what_to_do(kept: Barbican) -> None:
    reference = kept.container(certificate=WEB.pem)
    kept.store.admit(reference, kept.token)
    with pytest.raises(exceptions.InvalidRequest, match="no secret as its private_key"):
        kept.store.get_bundle("p", reference)


def test_what_we_store_ourselves_comes_back_and_goes(kept: Barbican) -> None:
    reference = kept.store.store_bundle("p", "t-own", WEB.bundle)
    assert bundles.pem(kept.store.get_bundle("p", reference)) == bundles.pem(WEB.bundle)
    kept.store.delete("p", reference)
    kept.store.delete("p", reference)
    with pytest.raises(exceptions.NotFound):
        kept.store.get_bundle("p", reference)


@pytest.mark.parametrize(
    "reference",
    ["", "nonsense", "http://elsewhere.example/v1/secrets/../../v3/users", "secrets/00000000-0000-4000-8000-000000000000"]
    + [f"http://elsewhere.example/v1/{kind}/00000000-0000-4000-8000-000000000000" for kind in ("secrets", "containers")],
)
def test_a_reference_of_nothing_is_not_found_and_leads_to_no_other_host(kept: Barbican, reference: str) -> None:
    for ask in (kept.store.get_secret, kept.store.get_bundle):
        with pytest.raises(exceptions.NotFound):
            ask("p", reference)
    kept.store.delete("p", reference)
    kept.store.unregister(reference, "lb")


@pytest.mark.lengthy
def test_a_service_that_is_away_is_no_refusal() -> None:
    with simulated.running() as services:
        store = barbican.BarbicanSecrets(openstack.Cloud.from_conf(conf := openstack_cloud.configuration(simulated.access(services))))
        reference = store.store_secret("p", "ca", ROOT.pem)
        services.fail("GET", "/secrets/", simulated.refusal(503, "away"), times=9)
        with pytest.raises(exceptions.Transient):
            store.get_secret("p", reference)
        assert conf is not None
