"""`certificate_expires_at`: when the first certificate that a listener or a pool shows runs out, known without asking the secret store."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests import tls_material
from tests.functional.api.conftest import PROJECT, Api
from tests.functional.api.lbaasv2.conftest import Old

FIELD = "certificate_expires_at"
DAYS = {"soon": 3, "later": 30, "last": 90}
_CERTIFICATES = {word: tls_material.issue(f"{word}.example", ends=datetime.timedelta(days=days)) for word, days in DAYS.items()}


def _shown(word: str) -> str:
    return f"{_CERTIFICATES[word].certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%S}"


class Site:
    """A load balancer with a listener that ends TLS with `later`, one that does not, and a pool."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.refs = {word: api.secrets.store_bundle(PROJECT, word, one.bundle) for word, one in _CERTIFICATES.items()}
        self.load_balancer = api.load_balancer()["id"]
        self.listener = self.secure(443)
        self.plain = api.listener(self.load_balancer)
        self.pool = api.pool(loadbalancer_id=self.load_balancer)

    def secure(self, port: int) -> Any:
        named = {"protocol": "TERMINATED_HTTPS", "protocol_port": port, "default_tls_container_ref": self.refs["later"]}
        return self.api.create("listener", "/listeners", loadbalancer_id=self.load_balancer, **named)

    def change(self, kind: str, **values: Any) -> Any:
        return self.api.ok("PUT", f"/{kind}s/{getattr(self, kind)['id']}", {kind: values})[kind]

    def listed(self, collection: str) -> dict[str, str]:
        return {one["id"]: one[FIELD] for one in self.api.ok("GET", f"/{collection}")[collection] if FIELD in one}


@pytest.fixture
def site(api: Api) -> Site:
    return Site(api)


def test_it_is_that_of_the_first_certificate_which_ends(site: Site) -> None:
    assert site.listener[FIELD] == _shown("later")
    assert site.change("listener", sni_container_refs=[site.refs["last"], site.refs["soon"]])[FIELD] == _shown("soon")
    assert site.change("listener", default_tls_container_ref=site.refs["last"])[FIELD] == _shown("soon")
    assert site.change("listener", sni_container_refs=None)[FIELD] == _shown("last")
    assert site.change("listener", name="shop")[FIELD] == _shown("last")
    assert site.api.get("listener", f"/listeners/{site.listener['id']}")[FIELD] == _shown("last")
    assert site.listed("listeners") == {site.listener["id"]: _shown("last")}
    assert FIELD not in site.plain


def test_a_pool_has_it_while_it_shows_a_certificate(site: Site) -> None:
    assert FIELD not in site.pool
    assert site.change("pool", tls_enabled=True, tls_container_ref=site.refs["soon"])[FIELD] == _shown("soon")
    assert site.listed("pools") == {site.pool["id"]: _shown("soon")}
    assert FIELD not in site.change("pool", tls_enabled=False), "it shows what it names to nobody"
    assert FIELD not in site.change("pool", tls_container_ref=site.refs["last"])
    assert site.change("pool", tls_enabled=True)[FIELD] == _shown("last")
    named = {"tls_enabled": False, "tls_container_ref": site.refs["last"]}
    assert FIELD not in site.api.pool(loadbalancer_id=site.load_balancer, **named)
    assert site.listed("pools") == {site.pool["id"]: _shown("last")}
    assert FIELD not in site.change("pool", tls_container_ref=None)
    assert site.listed("pools") == {}


def test_authorities_and_revocations_are_none_of_them(site: Site) -> None:
    ca = tls_material.issue("ca.example", is_ca=True, ends=datetime.timedelta(days=1))
    refs = {
        "ca": site.api.secrets.store_secret(PROJECT, "ca", ca.pem),
        "crl": site.api.secrets.store_secret(PROJECT, "crl", tls_material.revoke(ca)),
    }
    verified = {"client_authentication": "OPTIONAL", "client_ca_tls_container_ref": refs["ca"], "client_crl_container_ref": refs["crl"]}
    assert site.change("listener", **verified)[FIELD] == _shown("later")
    assert FIELD not in site.change("pool", tls_enabled=True, ca_tls_container_ref=refs["ca"], crl_container_ref=refs["crl"])


def test_a_secret_that_is_read_anew_tells_it_of_all_that_name_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same reference has another certificate by then, and one of two listeners is updated."""
    other = site.secure(8443)
    monkeypatch.setattr(site.api.secrets, "get_bundle", lambda _project_id, _reference: _CERTIFICATES["soon"].bundle)
    before = site.api.get("listener", f"/listeners/{other['id']}")
    assert site.change("listener", default_tls_container_ref=site.refs["later"])[FIELD] == _shown("soon")
    assert site.api.get("listener", f"/listeners/{other['id']}") == before | {FIELD: _shown("soon")}, "and nothing else of it is changed"


def test_no_secret_store_is_asked_by_who_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(site.api.services.made, "secrets", None)
    assert site.listed("listeners") == {site.listener["id"]: _shown("later")}


def test_lists_are_filtered_and_sorted_by_it(site: Site) -> None:
    last = site.secure(8443)["id"]
    site.api.ok("PUT", f"/listeners/{last}", {"listener": {"default_tls_container_ref": site.refs["last"]}})
    found = site.api.ok("GET", f"/listeners?{FIELD}={_shown('last')}")["listeners"]
    assert [one["id"] for one in found] == [last]
    sorted_by_it = site.api.ok("GET", f"/listeners?sort={FIELD}:desc")["listeners"]
    assert [one["id"] for one in sorted_by_it] == [last, site.listener["id"], site.plain["id"]]


def test_nobody_writes_it(site: Site) -> None:
    for kind in ("listener", "pool"):
        said = site.api.refused(400, "PUT", f"/{kind}s/{getattr(site, kind)['id']}", {kind: {FIELD: _shown("last")}})
        assert f"Unknown attribute for argument {kind}_.{kind}: {FIELD}" in said


def test_it_comes_with_a_whole_load_balancer(site: Site) -> None:
    pool = {"name": "kilns", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True, "tls_container_ref": site.refs["last"]}
    listener = {"protocol": "TERMINATED_HTTPS", "protocol_port": 443, "default_tls_container_ref": site.refs["soon"], "default_pool": pool}
    made = site.api.load_balancer(listeners=[listener])
    assert [one[FIELD] for one in (*made["listeners"], *made["pools"])] == [_shown("soon"), _shown("last")]


def test_lbaas_v2_does_not_show_it(site: Site) -> None:
    old = Old(site.api)
    assert FIELD not in old.send("GET", f"/listeners/{site.listener['id']}").get_json()["listener"]
