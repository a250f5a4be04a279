"""Flavors, availability zones and their profiles: what they may say, when they may change, and what they do for a load balancer."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
from typing import Any
from urllib import parse as urls

import pytest

from controller.drivers.network import fake as fake_network
from tests.functional.api.conftest import Api

UNKNOWN = "11111111-1111-4111-8111-111111111111"  # the same in each worker of pytest-xdist


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """One of the two pairs of an offering and its profile."""

    name: str
    path: str
    title: str
    key: str
    chosen: str  # by this field of a load balancer
    profile: str
    profile_path: str
    profile_links: str
    data: str
    good: dict[str, Any]

    def a_profile(self, api: Api, **data: Any) -> Any:
        text = json.dumps(data or self.good)
        return api.create(self.profile, self.profile_path, **{"name": "p", "provider_name": "amphora", self.data: text})

    def of(self, api: Api, profile: Any, name: str = "gold", **fields: Any) -> Any:
        return api.create(self.name, self.path, **{"name": name, _profile_id(self): profile["id"], **fields})

    def where(self, made: Any) -> str:
        return f"{self.path}/{made[self.key]}"

    def where_profile(self, made: Any) -> str:
        return f"{self.profile_path}/{made['id']}"


FLAVOR = Kind(
    name="flavor",
    path="/flavors",
    title="Flavor",
    key="id",
    chosen="flavor_id",
    profile="flavorprofile",
    profile_path="/flavorprofiles",
    profile_links="flavorprofile_links",
    data="flavor_data",
    good={"loadbalancer_topology": "ACTIVE_STANDBY"},
)
ZONE = Kind(
    name="availability_zone",
    path="/availabilityzones",
    title="Availability Zone",
    key="name",
    chosen="availability_zone",
    profile="availability_zone_profile",
    profile_path="/availabilityzoneprofiles",
    profile_links="availability_zone_profile_links",
    data="availability_zone_data",
    good={"compute_zone": "west"},
)
KINDS = pytest.mark.parametrize("kind", [FLAVOR, ZONE], ids=lambda kind: kind.name)


def put(api: Api, key: str, path: str, status: int = 200, **values: Any) -> Any:
    if status == 200:
        return api.ok("PUT", path, {key: values})[key]
    return api.refused(status, "PUT", path, {key: values})


@KINDS
def test_both_live_from_post_to_delete(api: Api, kind: Kind) -> None:
    profile = kind.a_profile(api)
    assert profile == {"id": profile["id"], "name": "p", "provider_name": "amphora", kind.data: json.dumps(kind.good)}
    made = kind.of(api, profile)
    assert made == {kind.key: made[kind.key], "name": "gold", "description": "", "enabled": True, _profile_id(kind): profile["id"]}
    where = kind.where(made)
    assert put(api, kind.name, where, description="shiny", enabled=False) == api.get(kind.name, where)
    assert (api.get(kind.name, where)["description"], api.get(kind.name, where)["enabled"]) == ("shiny", False)
    assert put(api, kind.name, where, description=None, enabled=None)["enabled"] is True
    assert put(api, kind.profile, kind.where_profile(profile), name="q")["name"] == "q"
    for path in (where, kind.where_profile(profile)):
        assert api.ok("DELETE", path, status=204) is None
        assert api.refused(404, "GET", path).endswith(" not found.")
        assert api.refused(404, "DELETE", path) == api.refused(404, "GET", path)


@KINDS
def test_lists_have_their_keys_pages_filters_and_order(api: Api, kind: Kind) -> None:
    assert api.ok("GET", kind.path) == {f"{kind.name}s": [], f"{kind.name}s_links": []}
    assert api.ok("GET", kind.profile_path) == {f"{kind.profile}s": [], kind.profile_links: []}
    profile = kind.a_profile(api)
    for name in ("c", "a", "b"):
        kind.of(api, profile, name, enabled=name != "b")

    def names(query: str) -> list[str]:
        return [one["name"] for one in api.ok("GET", f"{kind.path}?{query}")[f"{kind.name}s"]]

    in_order = sorted(api.ok("GET", kind.path)[f"{kind.name}s"], key=lambda one: str(one[kind.key]))
    assert names("") == [one["name"] for one in in_order]
    assert names("sort=name") == names("sort_key=name") == ["a", "b", "c"]
    assert names("enabled=false") == ["b"]
    assert names("name=a&fields=name") == ["a"]
    first = api.ok("GET", f"{kind.path}?limit=2&sort=name:desc")
    (link,) = first[f"{kind.name}s_links"]
    assert link["rel"] == "next"
    assert f"marker={first[f'{kind.name}s'][-1][kind.key]}" in link["href"]
    assert names(link["href"].partition("?")[2]) == ["a"]
    assert list(api.ok("GET", f"{kind.path}?fields=name")[f"{kind.name}s"][0]) == ["name"]
    listed = api.ok("GET", f"{kind.profile_path}?provider_name=amphora&limit=1")
    assert (listed[f"{kind.profile}s"], len(listed[kind.profile_links])) == ([profile], 1)
    for path in (kind.path, kind.profile_path):
        assert api.send("GET", f"{path}?marker={UNKNOWN}").status_code == 400
        assert "invalid" in api.refused(400, "GET", f"{path}?colour=red")
        assert "invalid" in api.refused(400, "GET", f"{path}?tags=red")


def test_a_zone_is_found_by_whatever_name_it_may_have(api: Api) -> None:
    profile = ZONE.a_profile(api)
    body = {"availability_zone": {"name": "", "availability_zone_profile_id": profile["id"]}}
    assert "minimum character requirement of 1" in api.refused(400, "POST", "/availabilityzones", body)
    for name in ("rack 7/b", "x" * 255, "Köln", "50%"):
        ZONE.of(api, profile, name)
        path = f"/availabilityzones/{urls.quote(name, safe='')}"
        assert api.get("availability_zone", path)["name"] == name
        api.ok("DELETE", path, status=204)


@KINDS
def test_names_are_taken_once(api: Api, kind: Kind) -> None:
    profile = kind.a_profile(api)
    kind.of(api, profile)
    body = {kind.name: {"name": "gold", _profile_id(kind): profile["id"]}}
    assert api.refused(409, "POST", kind.path, body) == f"{'A' if kind is FLAVOR else 'An'} {kind.title.lower()} of gold already exists."
    if kind is FLAVOR:
        other = kind.of(api, profile, "silver")
        assert put(api, "flavor", kind.where(other), 409, name="gold") == "A flavor of gold already exists."
        assert put(api, "flavor", kind.where(other), name="silver")["name"] == "silver"


def _profile_id(kind: Kind) -> str:
    return "flavor_profile_id" if kind is FLAVOR else "availability_zone_profile_id"


@KINDS
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "x"}, "Mandatory field missing."),
        ({"name": None, "PROFILE": UNKNOWN}, "Mandatory field missing."),
        ({"name": "x", "PROFILE": UNKNOWN}, f"Profile {UNKNOWN} not found."),
        ({"name": "x", "PROFILE": "x"}, "Value should be UUID format"),
        ({"name": "x" * 256, "PROFILE": UNKNOWN}, "maximum character requirement of 255"),
        ({"name": "x", "PROFILE": UNKNOWN, "enabled": "maybe"}, "Value should be boolean"),
        ({"name": "x", "PROFILE": UNKNOWN, "id": UNKNOWN}, "Unknown attribute for argument "),
    ],
    ids=str,
)
def test_a_choice_that_makes_no_sense_is_refused(api: Api, kind: Kind, body: dict[str, Any], said: str) -> None:
    sent = {name.replace("PROFILE", _profile_id(kind)): value for name, value in body.items()}
    assert said in api.refused(400, "POST", kind.path, {kind.name: sent})


@pytest.mark.parametrize("path", ["/flavors", "/flavorprofiles", "/availabilityzones", "/availabilityzoneprofiles"])
def test_nothing_bears_the_nil_uuid_or_no_id(api: Api, path: str) -> None:
    nil = "00000000-0000-0000-0000-000000000000"
    for method in ("GET", "DELETE"):
        assert api.refused(404, method, f"{path}/{nil}").endswith(f"{nil} not found.")
        assert api.refused(404, method, f"{path}/no%20such%09thing").endswith(" not found.")
    for method in ("PUT", "DELETE"):
        assert api.refused(400, method, path, {}) == 'Missing argument: "id"'


BAD_DATA: list[tuple[Kind, str, int, str]] = [
    *(
        (kind, text, 400, f"{text} is not a valid option for {kind.data}")
        for kind in (FLAVOR, ZONE)
        for text in ("{", "", "[]", '"x"', "1", "null")
    ),
    (FLAVOR, '{"colour": "red"}', 501, "Provider 'amphora' does not support a requested option: flavor_data key colour"),
    (ZONE, '{"compute_flavor": "small"}', 501, "does not support a requested option: availability_zone_data key compute_flavor"),
    (FLAVOR, '{"loadbalancer_topology": "TRIPLE"}', 400, "Value should be one of: SINGLE, ACTIVE_STANDBY"),
    (FLAVOR, '{"compute_flavor": 1}', 400, "Value should be string"),
    (FLAVOR, '{"compute_flavor": null}', 400, "Value should be string"),
    (FLAVOR, '{"compute_flavor": "huge"}', 400, "Compute flavor huge not found."),
    (FLAVOR, '{"amp_image_tag": "no-such"}', 400, "Image with the tag no-such not found."),
    (FLAVOR, '{"sriov_vip": "true"}', 400, "Value should be boolean"),
    (FLAVOR, '{"allow_member_sriov": 1}', 400, "Value should be boolean"),
    (ZONE, '{"compute_zone": "moon"}', 400, "Compute zone moon not found."),
    (ZONE, '{"volume_zone": []}', 400, "Value should be string"),
    (ZONE, f'{{"management_network": "{UNKNOWN}"}}', 400, f"Network {UNKNOWN} not found."),
    (ZONE, '{"management_network": "TENANTS"}', 501, "so no amphora can be reached by"),
    (ZONE, '{"valid_vip_networks": "TENANTS"}', 400, "Value should be a list"),
    (ZONE, f'{{"valid_vip_networks": ["TENANTS", "{UNKNOWN}"]}}', 400, f"Network {UNKNOWN} not found."),
]


def test_a_profile_says_only_what_the_provider_can_do_and_what_exists(api: Api) -> None:
    stored = {kind: kind.a_profile(api) for kind in (FLAVOR, ZONE)}
    for kind, text, status, said in BAD_DATA:
        data = text.replace("TENANTS", api.network.network_id)
        body = {kind.profile: {"name": "p", "provider_name": "amphora", kind.data: data}}
        assert said in api.refused(status, "POST", kind.profile_path, body), text
        assert said in put(api, kind.profile, kind.where_profile(stored[kind]), status, **{kind.data: data}), text
        assert api.get(kind.profile, kind.where_profile(stored[kind])) == stored[kind]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (FLAVOR, "{}"),
        (FLAVOR, '{\n\t"compute_flavor": "large",\r\n "amp_image_tag": "amphora-next", "sriov_vip": false, "allow_member_sriov": true\n}'),
        (FLAVOR, '{"loadbalancer_topology": "SINGLE"}'),
        (
            ZONE,
            '{"compute_zone": "nova", "volume_zone": "anywhere", "management_network": "MANAGEMENT", "valid_vip_networks": ["TENANTS"]}',
        ),
        (ZONE, '{"valid_vip_networks": []}'),
    ],
)
def test_what_a_profile_says_is_kept_as_it_was_written(api: Api, kind: Kind, text: str) -> None:
    data = text.replace("TENANTS", api.network.network_id).replace("MANAGEMENT", fake_network.network_id(fake_network.MANAGEMENT_NETWORK))
    made = api.create(kind.profile, kind.profile_path, **{"name": "p", "provider_name": "octavia", kind.data: data})
    assert made[kind.data] == data == api.get(kind.profile, kind.where_profile(made))[kind.data]


def test_a_profile_is_for_an_enabled_provider_and_of_bounded_size(api: Api) -> None:
    body = {"flavorprofile": {"name": "p", "provider_name": "f5", "flavor_data": "{}"}}
    assert api.refused(400, "POST", "/flavorprofiles", body) == "Provider 'f5' is not enabled."
    body = {"flavorprofile": {"name": "p", "provider_name": "amphora", "flavor_data": " " * 4097}}
    assert "maximum character requirement of 4096" in api.refused(400, "POST", "/flavorprofiles", body)
    nested: dict[str, Any] = {"flavorprofile": {"name": "p", "provider_name": "amphora", "flavor_data": {}}}
    assert "Value should be string" in api.refused(400, "POST", "/flavorprofiles", nested)


@KINDS
def test_a_profile_in_use_keeps_its_meaning_and_its_place(api: Api, kind: Kind) -> None:
    profile = kind.a_profile(api)
    made = kind.of(api, profile)
    where = kind.where_profile(profile)
    used = f"{kind.title} Profile {profile['id']} is in use and cannot be modified."
    assert put(api, kind.profile, where, 409, **{kind.data: "{}"}) == used
    assert put(api, kind.profile, where, 409, provider_name="octavia") == used
    assert api.refused(409, "DELETE", where) == used
    assert put(api, kind.profile, where, name="other", provider_name="amphora")["name"] == "other"
    api.ok("DELETE", kind.where(made), status=204)
    assert put(api, kind.profile, where, 200, **{kind.data: "{}"})[kind.data] == "{}"
    api.ok("DELETE", where, status=204)


@KINDS
def test_a_choice_of_a_living_load_balancer_stays(api: Api, kind: Kind) -> None:
    made = kind.of(api, kind.a_profile(api))
    balancer = api.load_balancer(**{kind.chosen: made[kind.key]})
    assert balancer[kind.chosen] == made[kind.key]
    assert api.refused(409, "DELETE", kind.where(made)) == f"{kind.title} {made[kind.key]} is in use and cannot be modified."
    api.ok("DELETE", f"/loadbalancers/{balancer['id']}", status=204)
    assert "in use" in api.refused(409, "DELETE", kind.where(made))
    api.settle()
    api.ok("DELETE", kind.where(made), status=204)


@KINDS
def test_a_load_balancer_chooses_what_exists_is_enabled_and_fits_its_provider(api: Api, kind: Kind) -> None:
    made = kind.of(api, kind.a_profile(api))

    def refused(**fields: Any) -> str:
        return api.refused(400, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, **fields}})

    assert refused(**{kind.chosen: UNKNOWN}) == f"{kind.title} {UNKNOWN} not found."
    assert "is not compatible with provider 'octavia'" in refused(**{kind.chosen: made[kind.key], "provider": "octavia"})
    assert refused(provider="f5") == "Provider 'f5' is not enabled."
    put(api, kind.name, kind.where(made), enabled=False)
    assert refused(**{kind.chosen: made[kind.key]}) == (
        f"The selected {kind.title.lower()} is not allowed in this deployment: {made[kind.key]}"
    )
    assert api.jobs() == []


def test_a_flavor_decides_provider_and_topology(api: Api) -> None:
    profile = api.create(
        "flavorprofile", "/flavorprofiles", name="p", provider_name="octavia", flavor_data='{"loadbalancer_topology": "ACTIVE_STANDBY"}'
    )
    flavor = FLAVOR.of(api, profile)
    assert api.load_balancer(flavor_id=flavor["id"])["provider"] == "octavia"
    (job,) = api.jobs()
    assert (job["details"]["topology"], len(job["details"]["amphora_ids"])) == ("ACTIVE_STANDBY", 2)
    assert [one["flavor_id"] for one in api.ok("GET", f"/loadbalancers?flavor_id={flavor['id']}")["loadbalancers"]] == [flavor["id"]]


def test_a_flavor_makes_a_virtual_function_of_the_vip(api: Api) -> None:
    flavor = FLAVOR.of(api, FLAVOR.a_profile(api, sriov_vip=True))
    assert api.load_balancer(flavor_id=flavor["id"])["vip_vnic_type"] == "direct"
    assert api.load_balancer()["vip_vnic_type"] == "normal"


def test_a_zones_networks_replace_those_of_the_deployment_but_not_the_denied_ones(api_with: Any) -> None:
    other = fake_network.network_id("other")
    api = api_with(("networking", "valid_vip_networks"), [other])
    api.network.create_network("other")
    subnet_id = api.network.create_subnet("other", "other-subnet", "10.77.0.0/24")
    body = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id}}
    assert "not allowed in this deployment" in api.refused(400, "POST", "/loadbalancers", body)
    zone = ZONE.of(api, ZONE.a_profile(api, valid_vip_networks=[api.network.network_id]))
    api.load_balancer(availability_zone=zone["name"])
    body = {"loadbalancer": {"vip_subnet_id": subnet_id, "availability_zone": zone["name"]}}
    assert "not allowed in this deployment" in api.refused(400, "POST", "/loadbalancers", body)
    denying = api_with(("networking", "denylist_vip_networks"), [api.network.network_id])
    zone = ZONE.of(denying, ZONE.a_profile(denying, valid_vip_networks=[denying.network.network_id]))
    body = {"loadbalancer": {"vip_subnet_id": denying.network.subnet_id, "availability_zone": zone["name"]}}
    assert "not allowed in this deployment" in denying.refused(400, "POST", "/loadbalancers", body)


def test_of_twenty_that_want_a_name_one_gets_it_and_nothing_in_use_is_deleted(api: Api) -> None:
    profile = FLAVOR.a_profile(api)
    body = {"flavor": {"name": "gold", "flavor_profile_id": profile["id"]}}

    def send(method: str, path: str, sent: Any = None) -> int:
        answer: Any = api.app.test_client().open(f"/v2{path}", method=method, json=sent)
        return int(answer.status_code)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: send("POST", "/flavors", body), range(20)))
    assert sorted(codes) == [201] + [409] * 19
    (flavor,) = api.ok("GET", "/flavors")["flavors"]
    wanted = {"loadbalancer": {"vip_subnet_id": api.network.subnet_id, "flavor_id": flavor["id"], "project_id": "p"}}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = pool.submit(send, "POST", "/loadbalancers", wanted)
        deleted = pool.submit(send, "DELETE", f"/flavors/{flavor['id']}")
    assert (made.result(), deleted.result()) in ((201, 409), (400, 204))


def test_capabilities_are_listed_filtered_and_cut(api: Api) -> None:
    listed = api.ok("GET", "/providers/amphora/flavor_capabilities")["flavor_capabilities"]
    assert [one["name"] for one in listed] == [
        "loadbalancer_topology",
        "compute_flavor",
        "amp_image_tag",
        "sriov_vip",
        "allow_member_sriov",
    ]
    assert all(set(one) == {"name", "description"} and one["description"] for one in listed)
    zones = api.ok("GET", "/providers/octavia/availability_zone_capabilities?fields=name")["availability_zone_capabilities"]
    assert zones == [{"name": name} for name in ("compute_zone", "volume_zone", "management_network", "valid_vip_networks")]
    one = api.ok("GET", "/providers/amphora/flavor_capabilities?name=sriov_vip")["flavor_capabilities"]
    assert [capability["name"] for capability in one] == ["sriov_vip"]
    assert api.ok("GET", f"/providers/amphora/flavor_capabilities?description={one[0]['description']}") == {"flavor_capabilities": one}
    assert "invalid" in api.refused(400, "GET", "/providers/amphora/flavor_capabilities?colour=red")
    for what in ("flavor_capabilities", "availability_zone_capabilities"):
        assert api.refused(400, "GET", f"/providers/f5/{what}") == "Provider 'f5' is not enabled."


def test_providers_are_listed_by_name(api: Api) -> None:
    assert [one["name"] for one in api.ok("GET", "/providers")["providers"]] == ["amphora", "octavia"]
    assert api.ok("GET", "/providers?name=octavia&fields=name") == {"providers": [{"name": "octavia"}]}


def test_reading_any_of_them_is_one_statement(api: Api) -> None:
    for kind in (FLAVOR, ZONE):
        profile = kind.a_profile(api)
        paths = [kind.where(kind.of(api, profile, name)) for name in ("a", "b", "c")]
        for path in (paths[0], kind.path, kind.where_profile(profile), kind.profile_path):
            with api.counted() as seen:
                api.ok("GET", path)
            assert len([one for one in seen if not one.startswith("BEGIN")]) == 1, seen


def test_rows_of_the_past_can_be_read_by_who_builds(api: Api) -> None:
    flavor = FLAVOR.of(api, FLAVOR.a_profile(api, compute_flavor="large", amp_image_tag="amphora-next"))
    zone = ZONE.of(api, ZONE.a_profile(api))
    balancer = api.load_balancer(flavor_id=flavor["id"], availability_zone=zone["name"])
    plain = api.load_balancer()
    with api.db.read() as tx:
        chosen, none = tx.placements.get(balancer["id"]), tx.placements.get(plain["id"])
    assert (chosen.compute_flavor, chosen.image_tag, chosen.compute_zone, chosen.topology) == ("large", "amphora-next", "west", None)
    assert (none.compute_flavor, none.image_tag, none.compute_zone, none.management_network_id) == (None, None, None, None)
