"""The text of L7 policies: its order, what is left out, what HAProxy takes at most, and what a change of a member touches."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from amphora_agent import haproxy_config
from controller import exceptions
from controller.model import load_balancer as model
from tests import builders
from tests.unit.controller.render import tools


def _snapshot(*policies: dict[str, Any], rules: int = 1, **of_rules: Any) -> model.Snapshot:
    """A listener with a default pool, another pool, and policies that redirect there unless they say otherwise."""
    default, other, listener = (builders.an_id(f"l7-{word}") for word in ("default", "other", "listener"))
    made = [
        builders.an_l7policy(
            **({"id": builders.an_id(f"l7-policy-{i}"), "listener_id": listener, "position": i, "redirect_pool_id": other} | fields)
        )
        for i, fields in enumerate(policies, start=1)
    ]
    return builders.a_snapshot(
        listeners=[builders.a_listener(id=listener, default_pool_id=default)],
        pools=[builders.a_pool(id=default), builders.a_pool(id=other)],
        members=[builders.a_member(id=builders.an_id(f"l7-{pool}-web"), pool_id=pool) for pool in (default, other)],
        l7policies=made,
        l7rules=[builders.an_l7rule(l7policy_id=policy.id, **of_rules) for policy in made for _ in range(rules)],
    )


def test_rejects_come_first_then_redirects_then_pools_each_by_position() -> None:
    text = tools.haproxy_config(
        _snapshot(
            {"action": "REDIRECT_TO_POOL"},
            {"action": "REDIRECT_PREFIX", "redirect_prefix": "https://second.example"},
            {"action": "REJECT"},
            {"action": "REDIRECT_TO_URL", "redirect_url": "https://first.example", "position": 1},
            {"action": "REDIRECT_TO_POOL", "redirect_pool_id": builders.an_id("l7-default"), "position": 0},
        )
    )
    lines = [line for line in tools.section(text, "frontend ") if line.startswith(("http-request", "use_backend", "default_backend"))]
    assert [line.split(" if ")[0].split("'")[-2 if "'" in line else 0] for line in lines[:3]] == [
        "http-request deny", "https://first.example", "https://second.example",
    ]  # fmt: skip
    assert [line.split()[:2] for line in lines[3:]] == [
        [word, f"{builders.an_id(f'l7-{pool}')}:{builders.an_id('l7-listener')}"]
        for word, pool in (("use_backend", "default"), ("use_backend", "other"), ("default_backend", "default"))
    ]
    assert text.count("\nbackend ") == 2  # one for a pool, however many policies lead there


@pytest.mark.parametrize(
    ("compare_type", "value", "with_port"),
    [
        *(("EQUAL_TO", value, ":" in value) for value in ("www.example", "www.example:8080", "[2001:db8::1]")),
        *(("REGEX", value, False) for value in (r"^(?:www|web)\.example$", r"^[[:alpha:]]+\.example$", r"^[[:^digit:]_]+$")),
        *(("REGEX", value, True) for value in (r"^(?:www|web)\.example:8080$", r"^[[:alpha:]]+:[0-9]+$", r"^[^:]+$")),
    ],
)
def test_a_host_is_compared_with_its_port_if_the_rule_has_one(compare_type: str, value: str, with_port: bool) -> None:
    text = tools.haproxy_config(_snapshot({}, type="HOST_NAME", compare_type=compare_type, value=value))
    (line,) = (line for line in tools.section(text, "frontend ") if line.startswith("acl "))
    assert (" req.hdr(host) -i " in line, " req.hdr(host),host_only -i " in line) == (with_port, not with_port)


def _shares(by: str, *weights: tuple[str, int]) -> model.Split:
    return model.Split(by=by, pools=tuple(model.Share(pool_id=builders.an_id(f"l7-{pool}"), weight=weight) for pool, weight in weights))


@pytest.mark.parametrize(("by", "chosen"), [("REQUEST", "var(txn.split)"), ("SOURCE_IP", "src,ipmask(32,64),xxh32")])
def test_requests_are_split_between_the_pools_that_serve(by: str, chosen: str) -> None:
    policy = {"action": "REDIRECT_TO_POOL", "split": _shares(by, ("other", 90), ("gone", 5), ("default", 10))}
    lines = tools.section(tools.haproxy_config(_snapshot(policy)), "frontend ")
    first, second = (line.partition(" if ") for line in lines if line.startswith("use_backend"))
    assert (first[0].split()[1], second[0].split()[1]) == tuple(
        f"{builders.an_id(f'l7-{pool}')}:{builders.an_id('l7-listener')}" for pool in ("other", "default")
    )
    assert first[2] == f"{second[2]} {{ {chosen},mod(txn.split_1_2),sub(txn.split_1_1) lt 0 }}", "the last one gets what is left"
    assert ("http-request set-var(txn.split) rand" in lines) is (by == "REQUEST")


def test_a_split_is_reckoned_only_for_requests_that_it_is_about() -> None:
    """HAProxy looks for a variable among all that are set: those of hundreds of splits would cost each request milliseconds."""
    policy = {"action": "REDIRECT_TO_POOL", "split": _shares("REQUEST", ("other", 90), ("default", 10))}
    lines = tools.section(tools.haproxy_config(_snapshot(policy)), "frontend ")
    noted, *reckoned = [line.partition(" if ") for line in lines if line.startswith("http-request set-var(txn.split_")]
    last = next(line for line in reversed(lines) if line.startswith("use_backend"))
    assert noted == ("http-request set-var(txn.split_1) bool(true)", " if ", last.partition(" if ")[2])
    assert [condition for _, _, condition in reckoned] == ["{ var(txn.split_1) -m bool }"] * 4


@pytest.mark.parametrize("shares", [[("other", 1), ("gone", 7)], [("other", 999), ("gone", 0)]])
def test_who_is_left_alone_gets_everything(shares: list[tuple[str, int]]) -> None:
    split = _snapshot({"action": "REDIRECT_TO_POOL", "split": _shares("REQUEST", *shares)})
    plain = dataclasses.replace(split, l7policies=tuple(dataclasses.replace(one, split=None) for one in split.l7policies))
    assert tools.haproxy_config(split) == tools.haproxy_config(plain)


def test_a_change_of_weights_is_no_reload_but_who_takes_part_is() -> None:
    snapshot = _snapshot({"action": "REDIRECT_TO_POOL"})

    def config(*shares: tuple[str, int]) -> str:
        split = [dataclasses.replace(one, split=_shares("REQUEST", *shares)) for one in snapshot.l7policies]
        return tools.haproxy_config(dataclasses.replace(snapshot, l7policies=tuple(split)))

    first = config(("other", 1000), ("default", 0))
    assert not haproxy_config.differ_plainly(first, config(("other", 3)))
    assert haproxy_config.differ_plainly(first, config(("other", 0), ("default", 300)))
    plan = haproxy_config.plan(first, config(("other", 1000), ("default", 300)))
    assert plan is not None
    other, default = (builders.an_id(f"l7-{pool}") for pool in ("other", "default"))
    assert {server.name: server.weight for _, server in plan.weighed} == {default: 44, f"{default}-256": 1}
    servers = haproxy_config.servers_of(first)[plan.touched[0]]
    assert {name: server.weight for name, server in servers.items()} == {other: 232, f"{other}-256": 3, default: 0, f"{default}-256": 0}


@pytest.mark.parametrize("fields", [{"admin_state_up": False}, {"redirect_pool_id": None}, {"redirect_pool_id": builders.an_id("gone")}])
def test_a_policy_that_can_not_act_leaves_no_trace(fields: dict[str, Any]) -> None:
    without = tools.haproxy_config(_snapshot())
    acting = {"action": "REDIRECT_TO_POOL"}
    assert tools.haproxy_config(_snapshot(acting)) != without
    assert tools.haproxy_config(_snapshot(acting | fields)) == without
    assert tools.haproxy_config(_snapshot(acting, rules=0)) == without  # a policy without rules never matches


def test_the_largest_policies_are_accepted(tmp_path: pathlib.Path) -> None:
    url = "https://a.example/" + "%20" * 676
    policies: list[dict[str, Any]] = [
        {"action": "REJECT"},
        {"action": "REDIRECT_TO_URL", "redirect_url": url, "redirect_http_code": 308},
        {"action": "REDIRECT_PREFIX", "redirect_prefix": url},
        {"action": "REDIRECT_TO_POOL"},
    ]
    snapshot = _snapshot(*policies, rules=50, type="HEADER", key="k" * 255, value="'" * 255, invert=True)
    tools.ask_haproxy(tools.haproxy_config(snapshot), tmp_path, snapshot.amphorae[0].id)


def test_a_member_of_a_redirect_pool_comes_without_a_reload() -> None:
    snapshot = _snapshot({"action": "REDIRECT_TO_POOL"})
    more = dataclasses.replace(
        snapshot, members=(*snapshot.members, builders.a_member(pool_id=builders.an_id("l7-other"), address="198.19.10.102"))
    )
    plan = haproxy_config.plan(tools.haproxy_config(snapshot), tools.haproxy_config(more))
    assert plan is not None
    assert [section.backend for section, _ in plan.added] == [f"{builders.an_id('l7-other')}:{builders.an_id('l7-listener')}"]


@pytest.mark.parametrize(
    ("policy", "rule"), [({"action": "ALLOW"}, {}), ({}, {"type": "BODY"}), ({}, {"compare_type": "LIKE"}), ({}, {"type": "SSL_DN"})]
)
def test_what_is_not_known_here_is_refused_by_name(policy: dict[str, Any], rule: dict[str, Any]) -> None:
    with pytest.raises(exceptions.NotSupported, match=next(iter((policy | rule).values()))):
        tools.haproxy_config(_snapshot(policy, **rule))
