"""Another provider is one module and an entry point: here is one, and the API gives it what is its."""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller import conf as configuration
from controller import exceptions, providers
from controller.db import tables
from controller.jobs import owed
from tests.functional.api.conftest import Api

_DATAGRAMS = {"protocol": "UDP", "lb_algorithm": "ROUND_ROBIN"}
_ENABLED = ("api_settings", "enabled_provider_drivers"), {"amphora": "Machines.", "kiln": "For tests."}

MODULE = '''
"""A provider that takes everything but SCTP, and writes down what it was asked."""

from controller import exceptions, jobs
from controller.providers import interface
from controller.resources import kinds

ACCEPTED = []

class Kiln(interface.Provider):
    flavor_capabilities = (interface.Capability(name="heat", about="Degrees.", kind=kinds.integer(0, 1300)),)

    def supports(self, resource, values):
        if values.get("protocol") == "SCTP":
            raise exceptions.NotSupported(f"Provider 'kiln' does not support a requested option: {resource} protocol SCTP")

    def accept(self, tx, change):
        ACCEPTED.append((type(change).__name__, change.load_balancer_id))
        if isinstance(change, interface.Create):
            return 1
        take = tx.load_balancers.delete if isinstance(change, interface.Delete) else tx.load_balancers.advance
        return take(change.load_balancer_id, change.allowed)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An installed distribution with one module and one entry point; gives the module, which is the one that every API here loads."""
    folder: pathlib.Path = tmp_path_factory.mktemp("kiln")
    (folder / "figlina_kiln.py").write_text(MODULE)
    info = folder / "figlina_kiln-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: figlina-kiln\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{providers.GROUP}]\nkiln = figlina_kiln:Kiln\nlost = figlina_kiln:Lost\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        yield importlib.import_module("figlina_kiln")
        sys.modules.pop("figlina_kiln", None)


@pytest.fixture
def kiln(installed: Any) -> Any:
    """The module, which was asked nothing yet."""
    installed.ACCEPTED.clear()
    return installed


@pytest.fixture
def site(kiln: Any, api_with: Any) -> Api:
    """An API that knows both."""
    made: Api = api_with(*_ENABLED)
    return made


def _flavor(api: Api, provider: str, data: str) -> str:
    profile = api.create("flavorprofile", "/flavorprofiles", name=provider, provider_name=provider, flavor_data=data)
    return str(api.create("flavor", "/flavors", name=provider, flavor_profile_id=profile["id"])["id"])


def test_a_load_balancer_goes_to_the_provider_that_it_names_and_all_its_changes_with_it(kiln: Any, site: Api) -> None:
    ours = site.load_balancer(name="ours")["id"]
    theirs = site.load_balancer(name="theirs", provider="kiln")
    assert theirs["provider"] == "kiln"
    for parent in (ours, theirs["id"]):
        listener = site.listener(parent)["id"]
        pool = site.pool(listener_id=listener)["id"]
        member = site.member(pool)["id"]
        site.monitor(pool)
        site.ok("PUT", f"/pools/{pool}/members", {"members": [{"address": "10.0.0.1", "protocol_port": 80, "weight": 2}]}, 202)
        site.ok("PUT", f"/pools/{pool}/members/{member}", {"member": {"weight": 7}})
        policy = site.create("l7policy", "/l7policies", listener_id=listener, action="REJECT")["id"]
        site.create("rule", f"/l7policies/{policy}/rules", type="PATH", compare_type="EQUAL_TO", value="/")
        site.ok("PUT", f"/loadbalancers/{parent}", {"loadbalancer": {"name": "renamed"}})
    assert [kind for kind, _ in kiln.ACCEPTED] == ["Create", *["Update"] * 9]
    assert {of for _, of in kiln.ACCEPTED} == {theirs["id"]}
    assert {job["load_balancer_id"] for job in site.jobs()} == {ours}, "the provider amphora owes nothing for what is not its"
    rows = [site.row(tables.load_balancers, one) for one in (ours, theirs["id"])]
    assert [row["generation"] for row in rows] == [10, 10]
    site.settle()
    site.ok("PUT", f"/loadbalancers/{theirs['id']}/failover", status=202)
    site.ok("DELETE", f"/loadbalancers/{theirs['id']}?cascade=true", status=204)
    assert [kind for kind, _ in kiln.ACCEPTED[-2:]] == ["Failover", "Delete"]
    assert site.jobs() == []


def test_what_another_provider_owes_is_its_own_matter(site: Api) -> None:
    """Neither the sweeper nor a worker that looks at the rows makes amphorae for it."""
    ours, theirs = site.load_balancer()["id"], site.load_balancer(provider="kiln")["id"]
    site.write(sa.delete(tables.jobs))
    with site.db.read() as tx:
        assert tx.housekeeping.owing(site.db.now(), 10) == [ours]
        assert [bool(owed.outstanding(tx.snapshots.get(one))) for one in (ours, theirs)] == [True, False]
    site.settle()  # no amphora serves either of them
    with site.db.read() as tx:
        assert tx.housekeeping.drifted(site.db.now(), "", 10)[0] == [ours]
        assert tx.housekeeping.settled("", 10)[0] == [ours]


def test_each_provider_says_itself_what_it_can_t_do(site: Api) -> None:
    ours, theirs = site.load_balancer()["id"], site.load_balancer(provider="kiln")["id"]
    by_port = {"protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT"}
    sctp = {"protocol": "SCTP", "protocol_port": 54}
    assert "'amphora'" in site.refused(501, "POST", "/pools", {"pool": {"loadbalancer_id": ours, **by_port}})
    site.create("pool", "/pools", loadbalancer_id=theirs, **by_port)
    assert "'kiln'" in site.refused(501, "POST", "/listeners", {"listener": {"loadbalancer_id": theirs, **sctp}})
    whole = {"vip_subnet_id": site.network.subnet_id, "listeners": [sctp]}
    assert "'kiln'" in site.refused(501, "POST", "/loadbalancers", {"loadbalancer": {**whole, "provider": "kiln"}})
    assert "'amphora'" in site.refused(
        501, "POST", "/loadbalancers", {"loadbalancer": {**whole, "listeners": [], "pools": [{"name": "p", **by_port}]}}
    )


def test_each_provider_says_itself_which_members_datagrams_reach(site: Api) -> None:
    ours, theirs = site.load_balancer()["id"], site.load_balancer(provider="kiln")["id"]
    six: dict[str, Any] = {"address": "2001:db8:1::1", "protocol_port": 53}
    whole = {"vip_subnet_id": site.network.subnet_id, "pools": [{"name": "p", **_DATAGRAMS, "members": [six]}]}
    by_parent = {one: site.pool(loadbalancer_id=one, **_DATAGRAMS)["id"] for one in (ours, theirs)}
    assert "'amphora'" in site.refused(501, "POST", f"/pools/{by_parent[ours]}/members", {"member": six})
    assert "'amphora'" in site.refused(501, "POST", "/loadbalancers", {"loadbalancer": whole})
    site.member(by_parent[theirs], **six)
    site.ok("POST", "/loadbalancers", {"loadbalancer": {**whole, "provider": "kiln"}}, 201)


def test_ports_by_sriov_need_a_flavor_only_where_the_providers_flavors_have_them(site: Api) -> None:
    fast = {"address": "10.0.0.1", "protocol_port": 80, "request_sriov": True}
    whole = {"vip_subnet_id": site.network.subnet_id, "pools": [{"name": "p", **_DATAGRAMS, "members": [fast]}]}
    for provider, status in (("amphora", 400), ("kiln", 201)):
        pool = site.pool(loadbalancer_id=site.load_balancer(provider=provider)["id"])["id"]
        assert site.send("POST", f"/pools/{pool}/members", {"member": fast}).status_code == status
        assert site.send("POST", "/loadbalancers", {"loadbalancer": {**whole, "provider": provider}}).status_code == status


def test_profiles_say_to_each_provider_what_it_understands(site: Api) -> None:
    heat = _flavor(site, "kiln", '{"heat": 900}')
    assert site.load_balancer(flavor_id=heat)["provider"] == "kiln", "the flavor chooses the provider"
    body = {"name": "n", "provider_name": "amphora", "flavor_data": '{"heat": 900}'}
    assert "heat" in site.refused(501, "POST", "/flavorprofiles", {"flavorprofile": body})
    told = site.ok("GET", "/providers/kiln/flavor_capabilities")["flavor_capabilities"]
    assert told == [{"name": "heat", "description": "Degrees."}]
    assert site.ok("GET", "/providers/kiln/availability_zone_capabilities") == {"availability_zone_capabilities": []}
    assert [one["name"] for one in site.ok("GET", "/providers")["providers"]] == ["amphora", "kiln"]


def test_a_provider_that_is_not_installed_or_broken_keeps_the_api_from_starting(kiln: Any) -> None:
    conf = configuration.load([], [])
    with pytest.raises(exceptions.Misconfigured, match=r"names the provider 'nobody', which is not installed; these are: amphora, .*kiln"):
        providers.load(["amphora", "nobody"], conf)
    with pytest.raises(exceptions.Misconfigured, match=r"the provider 'lost' \(figlina_kiln:Lost\) can't be loaded"):
        providers.load(["lost"], conf)


def test_two_names_of_one_provider_are_one_provider() -> None:
    found = providers.load(["amphora", "octavia"], configuration.load([], []))
    assert found["amphora"] is found["octavia"]
