"""The rules of each noun, called directly: what is refused, with which code, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from controller import exceptions
from controller.changes import health_monitors, l7policies, l7rules, listeners, load_balancers, member_batch, members, pools, visibility
from controller.changes.asking import Asking
from controller.model import protocols
from controller.refusals import Refusal
from controller.resources import health_monitor, l7policy, l7rule, listener, member, pool
from tests import tls_material
from tests.functional.changes.conftest import PROJECT, Caller, Site, Tree, wanted

SOMEBODY = Caller(project_id="somebody-else")
PAIRS = list(itertools.product(protocols.OF_LISTENERS, protocols.OF_POOLS))


@pytest.mark.parametrize(("above", "below"), PAIRS)
def test_a_pool_hangs_below_a_listener_whose_protocol_it_can_serve(above: str, below: str) -> None:
    if protocols.fits(below, above):
        pools.check_protocol(below, above)
        return
    with pytest.raises(exceptions.RuleBroken) as refused:
        pools.check_protocol(below, above)
    assert refused.value.code == Refusal.PROTOCOL_MISMATCH


def _pool(tree: Tree, **fields: Any) -> Any:
    return wanted(pool.SCHEMA, **({"loadbalancer_id": tree.load_balancer.id, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | fields))


def _listener(tree: Tree, **fields: Any) -> Any:
    return wanted(listener.SCHEMA, **({"loadbalancer_id": tree.load_balancer.id, "protocol": "HTTP", "protocol_port": 81} | fields))


def _member(**fields: Any) -> Any:
    return wanted(member.SCHEMA, **({"address": "10.0.0.2", "protocol_port": 80} | fields))


def _rule(**fields: Any) -> Any:
    return wanted(l7rule.SCHEMA, **({"type": "PATH", "compare_type": "STARTS_WITH", "value": "/"} | fields))


def _monitor(tree: Tree, **fields: Any) -> Any:
    return wanted(health_monitor.SCHEMA, **({"pool_id": tree.pool.id, "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2} | fields))


def _delete_member_of_another_pool(ask: Asking, tree: Tree) -> None:
    with ask.together() as block:
        members.delete(block, pools.create(block, _pool(tree)).id, tree.member.id)


Broken = tuple[str, Callable[[Asking, Site, Tree], Any]]
BROKEN: dict[str, Broken] = {
    "a load balancer without a place for its VIP": (
        Refusal.RULE_BROKEN,
        lambda ask, site, tree: load_balancers.create(ask, site.load_balancer(vip_subnet_id=None)),
    ),
    "a load balancer on a subnet that is not there": (
        Refusal.UNKNOWN_SUBNET,
        lambda ask, site, tree: load_balancers.create(ask, site.load_balancer(vip_subnet_id=tree.pool.id)),
    ),
    "a provider that is not enabled": (
        Refusal.PROVIDER_NOT_ENABLED,
        lambda ask, site, tree: load_balancers.create(ask, site.load_balancer(provider="kiln")),
    ),
    "a load balancer with children, alone": (
        Refusal.HAS_CHILDREN,
        lambda ask, site, tree: load_balancers.delete(ask, tree.load_balancer.id),
    ),
    "a port that is taken": (
        Refusal.PORT_IN_USE,
        lambda ask, site, tree: listeners.create(ask, _listener(tree, protocol_port=tree.listener.protocol_port)),
    ),
    "a terminated listener without a certificate": (
        Refusal.TLS_CONTAINER_MISSING,
        lambda ask, site, tree: listeners.create(ask, _listener(tree, protocol="TERMINATED_HTTPS")),
    ),
    "ranges of the other IP version": (
        Refusal.RULE_BROKEN,
        lambda ask, site, tree: listeners.update(ask, tree.listener.id, {"allowed_cidrs": ["::/0"]}),
    ),
    "a pool below a listener that has one": (
        Refusal.DEFAULT_POOL_EXISTS,
        lambda ask, site, tree: pools.create(ask, _pool(tree, listener_id=tree.listener.id)),
    ),
    "a TCP pool below an HTTP listener": (
        Refusal.PROTOCOL_MISMATCH,
        lambda ask, site, tree: pools.create(ask, _pool(tree, listener_id=tree.listener.id, protocol="TCP")),
    ),
    "a cookie without a name": (
        Refusal.SESSION_PERSISTENCE,
        lambda ask, site, tree: pools.update(ask, tree.pool.id, {"session_persistence": {"type": "APP_COOKIE"}}),
    ),
    "a member twice": (
        Refusal.MEMBER_EXISTS,
        lambda ask, site, tree: members.create(ask, tree.pool.id, _member(address=tree.member.address)),
    ),
    "a member on the VIP": (
        Refusal.NOT_A_SERVER,
        lambda ask, site, tree: members.create(ask, tree.pool.id, _member(address=tree.load_balancer.vip.address)),
    ),
    "a member of another pool": (
        Refusal.NOT_FOUND,
        lambda ask, site, tree: _delete_member_of_another_pool(ask, tree),
    ),
    "a server twice in a batch": (
        Refusal.MEMBER_EXISTS,
        lambda ask, site, tree: member_batch.replace(ask, tree.pool.id, [member_batch.Wanted(_member(), frozenset())] * 2, additive=False),
    ),
    "a second monitor": (Refusal.MONITOR_EXISTS, lambda ask, site, tree: health_monitors.create(ask, _monitor(tree))),
    "a monitor of datagrams on a pool of streams": (
        Refusal.RULE_BROKEN,
        lambda ask, site, tree: health_monitors.create(ask, _monitor(tree, type="UDP-CONNECT")),
    ),
    "a redirect without a target": (
        Refusal.L7POLICY_TARGET_MISSING,
        lambda ask, site, tree: l7policies.update(ask, tree.l7policy.id, {"action": "REDIRECT_TO_URL"}),
    ),
    "a rule that compares as its type can't": (
        Refusal.L7RULE_COMPARE_TYPE,
        lambda ask, site, tree: l7rules.create(ask, tree.l7policy.id, _rule(type="FILE_TYPE")),
    ),
    "an expression that nobody can compile": (
        Refusal.L7RULE_REGEX,
        lambda ask, site, tree: l7rules.update(ask, tree.l7policy.id, tree.l7rule.id, {"compare_type": "REGEX", "value": "("}),
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_has_its_code_and_leaves_nothing(site: Site, tree: Tree, what: str) -> None:
    code, change = BROKEN[what]
    before, ports, rings = site.rows(), site.ports(), site.rings
    with pytest.raises(exceptions.ControllerError) as refused:
        change(site.asking(), site, tree)
    assert refused.value.code == code
    assert (site.rows(), site.ports(), site.rings) == (before, ports, rings)


def test_a_redirect_takes_a_pool_that_its_listener_can_have(site: Site, tree: Tree) -> None:
    other = pools.create(site.asking(), _pool(tree, protocol="TCP"))
    values = {"action": "REDIRECT_TO_POOL", "redirect_pool_id": other.id}
    with pytest.raises(exceptions.RuleBroken):
        l7policies.update(site.asking(), tree.l7policy.id, dict(values))
    changed = l7policies.update(site.asking(), tree.l7policy.id, values | {"redirect_pool_id": tree.pool.id})
    assert changed.redirect_pool_id == tree.pool.id


def test_what_belongs_to_others_does_not_exist_for_a_caller(site: Site) -> None:
    hidden = site.security_group()
    with pytest.raises(exceptions.NotFound) as refused:
        visibility.security_group(site.asking(caller=SOMEBODY), hidden)
    with pytest.raises(exceptions.NotFound) as unknown:
        visibility.security_group(site.asking(caller=SOMEBODY), PROJECT)
    assert str(refused.value).replace(hidden, PROJECT) == str(unknown.value)
    assert visibility.security_group(site.asking(), hidden).id == hidden
    assert visibility.security_group(site.asking(caller=Caller(is_admin=True, project_id=None)), hidden).id == hidden
    assert visibility.security_group(site.asking(caller=SOMEBODY, settings={"allow_invisible": True}), hidden).id == hidden


def test_a_caller_sees_what_is_shared_with_their_project_alone(site: Site) -> None:
    network, project_id = site.network, str(SOMEBODY.project_id)
    network_id = network.create_network("hidden")
    subnet_id = network.create_subnet("hidden", "hidden-subnet", "10.9.0.0/24")
    network.give(network_id, PROJECT)
    group = site.security_group()
    somebody = site.asking(caller=SOMEBODY)
    asks: dict[str, Callable[[], object]] = {
        "network": lambda: visibility.network(somebody, network_id),
        "subnet": lambda: visibility.subnet(somebody, subnet_id),
        "group": lambda: visibility.security_group(somebody, group),
    }

    def seen() -> set[str]:
        found = set()
        for what, ask in asks.items():
            with contextlib.suppress(exceptions.NotFound):
                ask()
                found.add(what)
        return found

    assert seen() == set()
    network.share("external_network", network_id, project_id)
    assert seen() == {"network"}
    network.share("network", network_id, project_id)
    network.share("security_group", group, project_id)
    assert seen() == {"network", "subnet", "group"}


def test_a_quota_holds_for_everybody_who_changes(site: Site, tree: Tree) -> None:
    limited = site.asking(settings={"quotas": {**site.settings.quotas, "member": 2}})
    members.create(limited, tree.pool.id, _member())
    with pytest.raises(exceptions.QuotaExceeded):
        members.create(limited, tree.pool.id, _member(address="10.0.0.3"))


def test_l7policies_move_up_when_one_before_them_goes(site: Site, tree: Tree) -> None:
    ask = site.asking()
    second = l7policies.create(ask, wanted(l7policy.SCHEMA, listener_id=tree.listener.id, action="REJECT"))
    first = l7policies.create(ask, wanted(l7policy.SCHEMA, listener_id=tree.listener.id, action="REJECT", position=1))
    l7policies.delete(ask, first.id)
    with ask.read() as tx:
        positions = {one.id: one.position for one in tx.l7policies.of_load_balancer(tree.load_balancer.id)}
    assert (positions[tree.l7policy.id], positions[second.id]) == (1, 2)


def test_whoever_names_a_secret_of_the_cloud_shows_that_they_may_read_it(site: Site, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def admit(reference: str, token: str) -> None:
        asked.append((reference, token))
        raise exceptions.InvalidRequest("it may not be read")

    monkeypatch.setattr(site.secrets, "admit", admit)
    ca = site.secrets.store_secret(PROJECT, "ca", tls_material.issue("ca.example", is_ca=True).pem)
    values = _pool(tree, tls_enabled=True, ca_tls_container_ref=ca)
    with pytest.raises(exceptions.InvalidRequest, match=f"{ca}: it may not be read") as refused:
        pools.create(site.asking(caller=Caller(token="theirs"), settings={"refuse_unsupported": False}), dict(values))
    assert refused.value.code == Refusal.UNREADABLE_CERTIFICATE
    assert asked == [(ca, "theirs")]
    pools.create(site.asking(caller=Caller(token="theirs", is_admin=True), settings={"refuse_unsupported": False}), dict(values))
    assert len(asked) == 1
