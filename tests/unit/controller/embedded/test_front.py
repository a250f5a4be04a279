"""Who may see and change what of the embedded network, asked without a request."""

from __future__ import annotations

import pytest

from controller import exceptions
from controller.embedded import front, lists, networking, scratch

MINE, THEIRS = "11111111111111111111111111111111", "22222222222222222222222222222222"


@pytest.fixture(scope="module")
def network() -> scratch.ScratchNetwork:
    return scratch.ScratchNetwork()


@pytest.fixture
def mine(network: scratch.ScratchNetwork) -> front.Front:
    return front.Front(network.inventory, MINE, is_admin=False)


@pytest.fixture
def theirs(network: scratch.ScratchNetwork) -> front.Front:
    return front.Front(network.inventory, THEIRS, is_admin=False)


@pytest.fixture
def admin(network: scratch.ScratchNetwork) -> front.Front:
    return front.Front(network.inventory, None, is_admin=True)


def test_a_tenant_sees_what_is_theirs_and_what_is_everybodys(mine: front.Front, theirs: front.Front, admin: front.Front) -> None:
    made = mine.create(networking.NETWORK, {"name": "mine"})
    subnet = mine.create(networking.SUBNET, {"network_id": made["id"], "cidr": "10.77.0.0/24"})
    for kind, object_id in ((networking.NETWORK, made["id"]), (networking.SUBNET, subnet["id"])):
        assert object_id in {one["id"] for one in mine.all(kind)}
        assert object_id in {one["id"] for one in admin.all(kind)}
        assert object_id not in {one["id"] for one in theirs.all(kind)}
        with pytest.raises(exceptions.NotFound) as refused:
            theirs.shown(kind, object_id)
        assert refused.value.kind == networking.NAMES[kind]
    assert {one["name"] for one in theirs.all(networking.NETWORK)} == {"private", "public"}
    assert {one["name"] for one in theirs.all(networking.SUBNET)} == {"private-subnet", "public-subnet"}


def test_what_is_everybodys_is_changed_by_administrators_alone(mine: front.Front, admin: front.Front) -> None:
    (public,) = [one["id"] for one in mine.all(networking.NETWORK) if one["name"] == "public"]
    for change in (
        lambda: mine.update(networking.NETWORK, public, {"name": "x"}),
        lambda: mine.delete(networking.NETWORK, public),
        lambda: mine.set_tags(networking.NETWORK, public, ["x"]),
        lambda: mine.create(networking.SUBNET, {"network_id": public, "cidr": "10.78.0.0/24"}),
    ):
        with pytest.raises(exceptions.Forbidden):
            change()
    assert admin.set_tags(networking.NETWORK, public, ["b", "a", "a"]) == ["a", "b"]
    assert mine.shown(networking.NETWORK, public)["tags"] == ["a", "b"]


def test_nobody_makes_something_for_another_project_but_an_administrator(mine: front.Front, admin: front.Front) -> None:
    with pytest.raises(exceptions.Forbidden):
        mine.create(networking.SECURITY_GROUP, {"name": "x", "project_id": THEIRS})
    assert admin.create(networking.SECURITY_GROUP, {"name": "x", "project_id": THEIRS})["project_id"] == THEIRS
    with pytest.raises(networking.NetworkInvalid, match="project_id"):
        admin.create(networking.SECURITY_GROUP, {"name": "x"})


def test_what_a_body_names_has_to_exist_for_the_caller(mine: front.Front, theirs: front.Front) -> None:
    group = theirs.create(networking.SECURITY_GROUP, {"name": "theirs"})["id"]
    (private,) = [one["id"] for one in mine.all(networking.NETWORK) if one["name"] == "private"]
    with pytest.raises(exceptions.NotFound):
        mine.create(networking.PORT, {"network_id": private, "security_groups": [group]})
    assert theirs.create(networking.PORT, {"network_id": private, "security_groups": [group]})["security_groups"] == [group]


def test_a_list_is_filtered_and_paged_by_its_query(mine: front.Front) -> None:
    documents = [{"id": str(number), "name": f"n{number % 2}", "tags": []} for number in range(5)]
    query = {"name": ["n0"], "limit": ["2"], "fields": ["id,name"]}
    found = lists.chosen("networks", documents, query, "http://here/networks")
    assert found["networks"] == [{"id": "0", "name": "n0"}, {"id": "2", "name": "n0"}]
    assert [link["rel"] for link in found["networks_links"]] == ["next"]
    rest = lists.chosen("networks", documents, query | {"marker": ["2"]}, "http://here/networks")
    assert [one["id"] for one in rest["networks"]] == ["4"]
