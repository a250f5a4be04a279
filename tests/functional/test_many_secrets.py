"""Two hundred certificates of a listener in Barbican: how often it is asked, side by side, and what is said if time is not enough."""

from __future__ import annotations

import collections
import dataclasses
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from controller import exceptions
from controller.changes import asking as changes
from controller.changes import listeners
from controller.drivers.secrets import barbican, interface, reading
from controller.model import tls
from controller.openstack import cloud as openstack
from controller.resources import listener as listener_fields
from tests import simulated, tls_material
from tests.contract import openstack_cloud
from tests.functional import flow_site
from tests.functional import test_tenant_certificates as life
from tests.functional.changes.conftest import Caller
from tests.simulated import identity

COUNT = 200
ROOT = tls_material.issue("root.example", is_ca=True)
BETWEEN = tls_material.issue("between.example", ROOT, is_ca=True)
WEB = tls_material.issue("web.example", BETWEEN)
PIECES = {"certificate": WEB.pem, "private_key": WEB.key_pem(), "intermediates": WEB.chain_pem}
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


class Kept:
    """A tenant's containers in a simulated Barbican, and our driver for it."""

    def __init__(self, services: simulated.SimulatedCloud) -> None:
        self.services = services
        clouds = [openstack.Cloud.from_conf(openstack_cloud.configuration(simulated.access(services, *who))) for who in ((), ("tenants",))]
        self.store, self.token = barbican.BarbicanSecrets(clouds[0]), str(clouds[1]._connection.auth_token)
        self._clouds = clouds

    def containers(self, count: int) -> list[str]:
        """References to so many with a chain; nobody but the tenant may read them."""
        return [self._put("containers", type="certificate", secret_refs=self._pieces()) for _ in range(count)]

    def _pieces(self) -> list[dict[str, str]]:
        return [{"name": name, "secret_ref": self._put("secrets", content)} for name, content in PIECES.items()]

    def _put(self, kind: str, content: bytes | None = None, **fields: Any) -> str:
        path, manager = f"{kind}/{uuid.uuid4()}", self.services.key_manager
        manager.things[path] = {**fields, "owner": identity.TENANT, "acl": {"project-access": True}, "consumers": []}
        if content is not None:
            manager.payloads[path] = content
        return f"{self.services.url}/key_manager/v1/{path}"

    def asked(self) -> Mapping[str, int]:
        """How often each kind of question was asked since this was asked last; Keystone's are one kind."""
        found, self.services.requests[:] = list(self.services.requests), []
        return collections.Counter(
            "Keystone" if "/identity/" in path else f"{method} {_IDS.sub('', path).partition('/key_manager')[2]}" for method, path in found
        )

    def close(self) -> None:
        for one in self._clouds:
            one.close()


@pytest.fixture
def kept() -> Iterator[Kept]:
    with simulated.running() as services:
        made = Kept(services)
        yield made
        made.close()


def _asking(site: flow_site.Site, kept: Kept) -> changes.Asking:
    site.services.made["secrets"] = kept.store
    asking = life._asking(site)
    return dataclasses.replace(asking, caller=Caller(token=kept.token))


@pytest.mark.lengthy
def test_two_hundred_certificates_are_asked_for_no_oftener_than_needed(site: flow_site.Site, kept: Kept) -> None:
    load_balancer_id, asking, references = site.built(), _asking(site, kept), kept.containers(COUNT + 1)
    kept.asked()
    fields = {"loadbalancer_id": load_balancer_id, "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    fields |= {"sni_container_refs": references[:COUNT]}
    made = listeners.create(asking, listener_fields.SCHEMA.created(fields, "test"))
    asked = kept.asked()
    assert {kind: count for kind, count in asked.items() if "containers" in kind or "secrets" in kind} == {
        "GET /v1/containers/": 2 * COUNT,  # the tenant's right, and whether we may
        "GET /v1/secrets//payload": 3 * COUNT,
        "GET /v1/containers//acl": COUNT,
        "PUT /v1/containers//acl": COUNT,
        "GET /v1/secrets//acl": 3 * COUNT,
        "PUT /v1/secrets//acl": 3 * COUNT,
    }
    assert sum(asked.values()) - 13 * COUNT <= 5  # who we are, and where Barbican is: once
    site.succeed(flow_site.an_update(load_balancer_id))
    assert kept.asked() == {"POST /v1/containers//consumers": COUNT}

    def change(**values: Any) -> Mapping[str, int]:
        listeners.update(asking, made.id, listener_fields.SCHEMA.updated(values, "test"))
        return kept.asked()

    assert change(timeout_client_data=5000) == {}
    assert change(sni_container_refs=references[1:COUNT], default_tls_container_ref=references[0]) == {}
    assert sum(change(sni_container_refs=references).values()) == 13
    assert change(sni_container_refs=references[1:]) == {}
    assert sum(change(default_tls_container_ref=references[0]).values()) == 8  # named again as it was
    site.succeed(flow_site.an_update(load_balancer_id))  # what was changed in its place is taken up, of all but the one that was just read
    asked = kept.asked()
    assert (asked["GET /v1/containers/"], asked["GET /v1/secrets//payload"]) == (COUNT, 3 * COUNT)


def test_who_was_let_in_before_is_not_let_in_again(kept: Kept) -> None:
    [reference] = kept.containers(1)
    kept.store.admit(reference, kept.token)
    kept.asked()
    shown = kept.store.admit(reference, kept.token)
    assert reading.read(shown, "p", tls.Need(reference, tls.Kind.BUNDLE)).certificates == (WEB.certificate,)
    assert kept.asked() == {"GET /v1/containers/": 2, "GET /v1/secrets//payload": 3, "GET /v1/secrets/": 3}


def test_what_only_we_may_read_is_not_read_for_whoever_names_it(kept: Kept) -> None:
    """The token's bearer shows it of each part, and what was shown to one is not shown to another."""
    [reference] = kept.containers(1)
    shown = kept.store.admit(reference, kept.token)
    with pytest.raises(exceptions.InvalidRequest, match="may not be read"):
        kept.store.admit(reference, "no-token")
    assert isinstance(shown.get_bundle("p", reference), interface.CertificateBundle)


def test_eight_are_asked_for_side_by_side_after_the_first() -> None:
    together, lock, at_once, most = threading.Barrier(reading.AT_ONCE), threading.Lock(), [0], [0]

    def ask(number: int) -> int:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        if number:
            together.wait(timeout=60)
        with lock:
            at_once[0] -= 1
        return -number

    count = 3 * reading.AT_ONCE + 1
    assert list(reading.each(range(count), ask).items()) == [(number, -number) for number in range(count)]
    assert most == [reading.AT_ONCE]


def test_a_store_that_is_away_is_asked_once_and_refusals_are_all_told() -> None:
    asked: list[int] = []

    def ask(number: int) -> int:
        asked.append(number)
        raise (exceptions.Transient("away") if number == 0 else exceptions.InvalidRequest(str(number)))

    assert {str(answer) for answer in reading.each(range(9), ask).values()} == {"away"}
    assert asked == [0]
    assert [str(answer) for answer in reading.each(range(1, 9), ask).values()] == [str(number) for number in range(1, 9)]
