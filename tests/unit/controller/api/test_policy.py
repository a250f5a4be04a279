"""Who may do what: the defaults, the older roles, the files of an operator."""

from __future__ import annotations

import itertools
import pathlib
import time
from typing import Any

import pytest

from controller import conf as configuration
from controller import exceptions
from controller.api import policies, policy
from controller.api.policy import Context

SAMPLES = pathlib.Path(__file__).parents[4] / "etc" / "policy"
_IDS = itertools.count()


def a_policy(**options: Any) -> policy.Policy:
    """The rules under these options of [oslo_policy]."""
    conf = configuration.load([], [])
    policy.register_options(conf)
    for name, value in options.items():
        conf.set_override(name, value, group="oslo_policy")
    return policy.Policy(conf)


def a_caller(*roles: str, project: str | None = "mine", **more: Any) -> Context:
    """Somebody with these roles."""
    return Context(request_id=f"req-{next(_IDS)}", project_id=project, is_admin=False, roles=frozenset(roles), **more)


def may(rules: policy.Policy, caller: Context) -> set[str]:
    """What a caller may do, of one action for each class of rules."""
    asked = {
        "read": ("listener:get_one", "mine"),
        "write": ("listener:put", "mine"),
        "read theirs": ("listener:get_one", "theirs"),
        "write theirs": ("listener:put", "theirs"),
        "list all": ("listener:get_all-global", "mine"),
        "read quota": ("quota:get_one", "mine"),
        "list quotas": ("quota:get_all-global", "mine"),
        "write quota": ("quota:put", "mine"),
        "list members": ("member:get_all", "theirs"),
        "admin": ("amphora:get_all", None),
    }
    caller = rules.known(caller)
    return {word for word, (action, project) in asked.items() if rules.allows(action, project, caller)}


OWN_READ = {"read", "read quota"}
OWN = OWN_READ | {"write"}
OBSERVER = {"read", "read theirs", "list all", "read quota", "list quotas", "list members"}
EVERYTHING = OBSERVER | {"write", "write theirs", "write quota", "admin"}
QUOTA = {"read quota", "list quotas", "write quota"}


@pytest.mark.parametrize(
    ("roles", "expected", "with_new_defaults"),
    [
        (("reader",), OWN_READ, OWN_READ),
        (("member",), OWN, OWN),
        (("admin",), EVERYTHING, EVERYTHING),
        (("service",), {"list members"}, {"list members"}),
        (("load-balancer_observer",), OWN_READ, set()),
        (("load-balancer_global_observer",), OBSERVER, set()),
        (("load-balancer_member",), OWN, set()),
        (("load-balancer_quota_admin",), QUOTA, set()),
        (("load-balancer_admin",), EVERYTHING, set()),
        (("stranger",), set(), set()),
        ((), set(), set()),
    ],
)
def test_a_role_may_do_what_its_rules_say(roles: tuple[str, ...], expected: set[str], with_new_defaults: set[str]) -> None:
    assert may(a_policy(), a_caller(*roles)) == expected
    assert may(a_policy(enforce_new_defaults=True), a_caller(*roles)) == with_new_defaults


def test_whoever_has_no_project_owns_nothing() -> None:
    rules = a_policy()
    assert may(rules, a_caller("member", "reader", project=None)) == set()
    assert not rules.allows("flavor:get_all", None, a_caller("member", project=None))


def test_the_system_is_the_cloud_and_a_domain_is_not() -> None:
    assert may(a_policy(), a_caller("admin", project=None, system_scope="all")) == EVERYTHING
    assert may(a_policy(), a_caller("admin", project=None, domain_id="a-domain")) == set()


def test_a_rule_that_nobody_declared_is_our_fault() -> None:
    with pytest.raises(Exception, match="nonsense:get_all"):
        a_policy().allows("nonsense:get_all", "mine", a_caller("admin"))


@pytest.mark.parametrize(
    ("file", "roles", "more", "expected"),
    [
        ("admin-or-owner.yaml", ("anything",), {}, OWN),
        ("admin-or-owner.yaml", ("admin",), {}, EVERYTHING),
        ("keystone-default-roles.yaml", ("reader",), {}, OWN_READ),
        ("keystone-default-roles.yaml", ("member",), {}, OWN),
        ("keystone-default-roles.yaml", ("admin",), {}, EVERYTHING),
        ("keystone-default-roles.yaml", ("load-balancer_admin",), {}, set()),
        ("keystone-default-roles-scoped.yaml", ("reader",), {}, OWN_READ),
        ("keystone-default-roles-scoped.yaml", ("member",), {}, OWN),
        ("keystone-default-roles-scoped.yaml", ("reader",), {"project": None, "system_scope": "all"}, OBSERVER),
        ("keystone-default-roles-scoped.yaml", ("admin",), {"project": None, "system_scope": "all"}, EVERYTHING),
        ("keystone-default-roles-scoped.yaml", ("load-balancer_admin",), {}, set()),
        ("load-balancer-roles.yaml", ("load-balancer_observer",), {}, OWN_READ),
        ("load-balancer-roles.yaml", ("load-balancer_global_observer",), {}, OBSERVER),
        ("load-balancer-roles.yaml", ("load-balancer_member",), {}, OWN),
        ("load-balancer-roles.yaml", ("load-balancer_quota_admin",), {}, QUOTA),
        ("load-balancer-roles.yaml", ("load-balancer_admin",), {}, EVERYTHING),
        ("load-balancer-roles.yaml", ("member", "reader"), {}, set()),
    ],
)
def test_the_ready_made_files_do_what_their_names_promise(
    file: str, roles: tuple[str, ...], more: dict[str, Any], expected: set[str]
) -> None:
    assert may(a_policy(policy_file=str(SAMPLES / file)), a_caller(*roles, **more)) == expected


def test_every_ready_made_file_names_rules_that_exist() -> None:
    known = {rule.name for rule in policies.list_rules()}
    for path in SAMPLES.glob("*.yaml"):
        conf = configuration.load([], [])
        policy.register_options(conf)
        conf.set_override("policy_file", str(path), group="oslo_policy")
        named = set(policy.load(conf).file_rules)
        assert named
        assert {name for name in named if name.startswith(("load-balancer:", policies.PREFIX))} <= known


def test_a_changed_file_counts_at_once_and_a_broken_one_does_not(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_LOOK_AGAIN", 0.0)
    path = tmp_path / "mine.yaml"
    rule = f'"{policies.PREFIX}listener:get_one"'
    path.write_text(f'{rule}: "!"\n')
    rules, caller = a_policy(policy_file=str(path)), a_caller("reader")
    assert not rules.allows("listener:get_one", "mine", caller)
    path.write_text(f'{rule}: "role:reader and rule:load-balancer:owner"\n')
    assert rules.allows("listener:get_one", "mine", caller)
    for broken in ("- a list", "a: [", f"{rule}: rule:there-is-none"):
        path.write_text(broken)
        assert rules.allows("listener:get_one", "mine", caller)
    path.unlink()
    assert rules.allows("listener:get_one", "mine", caller)


def test_unusable_files_keep_the_api_from_starting(tmp_path: pathlib.Path) -> None:
    with pytest.raises(exceptions.Misconfigured, match="can't be found"):
        a_policy(policy_file=str(tmp_path / "none.yaml"))
    path = tmp_path / "broken.yaml"
    for text in ("- a list", "a: [", '"load-balancer:read": "rule:load-balancer:read"', '"load-balancer:read": "rule:there-is-none"'):
        path.write_text(text)
        with pytest.raises(exceptions.Misconfigured, match=r"broken\.yaml"):
            a_policy(policy_file=str(path))


def test_a_decision_is_cheap() -> None:
    rules, caller = a_policy(), a_caller("load-balancer_member")
    rules.allows("listener:put", "mine", caller)
    before = time.process_time()
    for _ in range(1000):
        rules.allows("listener:put", "mine", caller)
    assert time.process_time() - before < 1.0  # a tenth of this is usual
