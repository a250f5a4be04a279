"""L7 policies and their rules: shapes, positions, what an action needs, what a rule may say, who stamps whom."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from controller.db import tables
from tests.functional.api.conftest import Api

UNKNOWN = "11111111-1111-4111-8111-111111111111"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?")


class Site:
    """A load balancer with an HTTP listener on port 80, and a pool that nobody uses yet; all of it ACTIVE."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.load_balancer = api.load_balancer()["id"]
        self.listener = api.listener(self.load_balancer)["id"]
        self.pool = api.pool(loadbalancer_id=self.load_balancer)["id"]
        api.settle()

    def policy(self, **fields: Any) -> Any:
        """A new policy."""
        return self.api.create("l7policy", "/l7policies", **({"listener_id": self.listener, "action": "REJECT"} | fields))

    def rule(self, policy_id: str, **fields: Any) -> Any:
        """A new rule."""
        wanted = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"} | fields
        return self.api.ok("POST", f"/l7policies/{policy_id}/rules", {"rule": wanted}, 201)["rule"]

    def refused_policy(self, status: int, **fields: Any) -> str:
        """Why a policy is not made."""
        return self.api.refused(status, "POST", "/l7policies", {"l7policy": {"listener_id": self.listener, "action": "REJECT"} | fields})

    def refused_rule(self, status: int, policy_id: str, **fields: Any) -> str:
        """Why a rule is not made."""
        wanted = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"} | fields
        return self.api.refused(status, "POST", f"/l7policies/{policy_id}/rules", {"rule": wanted})

    def change(self, policy_id: str, **fields: Any) -> Any:
        """The policy with its new values."""
        return self.api.ok("PUT", f"/l7policies/{policy_id}", {"l7policy": fields})["l7policy"]

    def order(self) -> list[str]:
        """The names of the listener's policies by position, which must be dense; and as the listener shows them."""
        found = [item for item in self.api.ok("GET", "/l7policies?sort=position")["l7policies"] if item["listener_id"] == self.listener]
        living = [item for item in found if item["provisioning_status"] != "PENDING_DELETE"]
        assert [item["position"] for item in living] == list(range(1, len(living) + 1))
        shown = [item["id"] for item in self.api.get("listener", f"/listeners/{self.listener}")["l7policies"]]
        assert [key for key in shown if key in {item["id"] for item in living}] == [item["id"] for item in living]
        return [item["name"] for item in living]

    def statuses(self) -> dict[str, str]:
        """Provisioning statuses of load balancer, listener and pool."""
        paths = {"loadbalancer": f"/loadbalancers/{self.load_balancer}", "listener": f"/listeners/{self.listener}"}
        return {key: self.api.get(key, path)["provisioning_status"] for key, path in (paths | {"pool": f"/pools/{self.pool}"}).items()}


@pytest.fixture
def site(api: Api) -> Site:
    """A listener without policies."""
    return Site(api)


def test_a_minimal_policy_and_rule_show_exactly_these_keys(site: Site) -> None:
    policy = site.policy()
    project = policy["project_id"]
    assert TIME.fullmatch(policy.pop("created_at"))
    assert policy == {
        "action": "REJECT",
        "admin_state_up": True,
        "description": "",
        "id": policy["id"],
        "listener_id": site.listener,
        "name": "",
        "operating_status": "OFFLINE",
        "position": 1,
        "project_id": project,
        "provisioning_status": "PENDING_CREATE",
        "redirect_http_code": None,
        "redirect_pool_id": None,
        "redirect_prefix": None,
        "redirect_url": None,
        "rules": [],
        "tags": [],
        "tenant_id": project,
        "updated_at": None,
    }
    rule = site.rule(policy["id"])
    assert TIME.fullmatch(rule.pop("created_at"))
    assert rule == {
        "admin_state_up": True,
        "compare_type": "STARTS_WITH",
        "id": rule["id"],
        "invert": False,
        "key": None,
        "operating_status": "OFFLINE",
        "project_id": project,
        "provisioning_status": "PENDING_CREATE",
        "tags": [],
        "tenant_id": project,
        "type": "PATH",
        "updated_at": None,
        "value": "/api",
    }
    path = f"/l7policies/{policy['id']}/rules"
    assert site.api.get("l7policy", f"/l7policies/{policy['id']}")["rules"] == [{"id": rule["id"]}]
    found = site.api.ok("GET", path)
    assert ([item["id"] for item in found["rules"]], found["rules_links"]) == ([rule["id"]], [])
    assert site.api.ok("GET", f"{path}?value=/nothing")["rules"] == []
    assert site.api.ok("GET", f"/l7policies?listener_id={site.listener}&action=REJECT&position=1")["l7policies"][0]["id"] == policy["id"]
    assert site.api.get("rule", f"{path}/{rule['id']}")["value"] == "/api"


def test_a_change_stamps_what_it_is_below(site: Site) -> None:
    below = {"loadbalancer": "PENDING_UPDATE", "listener": "PENDING_UPDATE", "pool": "ACTIVE"}
    policy = site.policy(action="REDIRECT_TO_POOL", redirect_pool_id=site.pool)["id"]
    assert site.statuses() == below
    assert [job["kind"] for job in site.api.jobs()] == ["update-load-balancer"]
    site.api.settle()
    rule = f"/l7policies/{policy}/rules/{site.rule(policy)['id']}"
    for method, body, status in (("GET", None, 200), ("PUT", {"rule": {"invert": True}}, 200), ("DELETE", None, 204)):
        site.api.ok(method, rule, body, status)
        assert site.statuses() == below
        assert site.api.get("l7policy", f"/l7policies/{policy}")["provisioning_status"] == "PENDING_UPDATE"
        site.api.settle()
    generation = site.api.row(tables.load_balancers, site.load_balancer)["generation"]
    site.change(policy, name="x")
    for table, key in ((tables.listeners, site.listener), (tables.l7policies, policy)):
        assert site.api.row(table, key)["generation"] == generation + 1
    site.api.settle()
    site.api.member(site.pool)  # the listener only redirects to the pool, and yet is changed with it
    assert site.statuses() == dict.fromkeys(("loadbalancer", "listener", "pool"), "PENDING_UPDATE")


def test_positions_stay_dense_whatever_moves(site: Site) -> None:
    ids = {name: site.policy(name=name)["id"] for name in "abc"}
    ids["d"] = site.policy(name="d", position=1)["id"]
    ids["e"] = site.policy(name="e", position=3)["id"]
    assert site.policy(name="f", position=99)["position"] == 6
    assert site.order() == ["d", "a", "e", "b", "c", "f"]
    site.api.settle()
    before = site.api.row(tables.l7policies, ids["d"])
    for name, position, expected in (
        ("c", 1, "cdaebf"),
        ("c", 3, "dacebf"),
        ("d", 2147483647, "acebfd"),
        ("e", None, "acbfde"),
        ("b", 3, "acbfde"),
    ):
        site.change(ids[name], position=position)
        assert "".join(site.order()) == expected
    moved = site.api.row(tables.l7policies, ids["a"])
    assert (moved["provisioning_status"], moved["generation"] > before["generation"]) == ("ACTIVE", True)  # told to amphorae, and at rest
    site.api.ok("DELETE", f"/l7policies/{ids['c']}", status=204)
    site.api.ok("DELETE", f"/l7policies/{ids['e']}", status=204)
    assert site.order() == ["a", "b", "f", "d"]
    assert site.policy(name="g", position=2)["position"] == 2
    site.api.settle()
    assert site.order() == ["a", "g", "b", "f", "d"]


def test_positions_stay_dense_when_many_write_at_once(site: Site) -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            made = site.policy(name=str(number), position=1 + number % 3)
            site.change(made["id"], position=number)
            if number % 4 == 0:
                site.api.ok("DELETE", f"/l7policies/{made['id']}", status=204)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(site.order()) == 9


def test_an_action_needs_its_target_and_drops_the_others(site: Site) -> None:
    for action, target in (
        ("REDIRECT_TO_POOL", "redirect_pool_id"),
        ("REDIRECT_TO_URL", "redirect_url"),
        ("REDIRECT_PREFIX", "redirect_prefix"),
    ):
        assert site.refused_policy(400, action=action) == f"Invalid L7 Policy arguments: {target} must not be None"
    everything = {"redirect_pool_id": site.pool, "redirect_url": "https://a.example/", "redirect_prefix": "http://b.example"}

    def shown(policy: Any) -> list[Any]:
        return [policy[name] for name in ("redirect_pool_id", "redirect_url", "redirect_prefix", "redirect_http_code")]

    assert shown(site.policy(**everything)) == [None, None, None, None]
    assert shown(site.policy(redirect_http_code=301)) == [None, None, None, 301]
    assert shown(site.policy(action="REDIRECT_TO_POOL", redirect_http_code=301, **everything)) == [site.pool, None, None, None]
    assert shown(site.policy(action="REDIRECT_PREFIX", redirect_http_code="307", **everything)) == [None, None, "http://b.example", 307]
    made = site.policy(action="REDIRECT_TO_URL", **everything)
    assert shown(made) == [None, "https://a.example/", None, 302]
    policy = made["id"]
    path = f"/l7policies/{policy}"
    assert site.api.refused(400, "PUT", path, {"l7policy": {"action": "REDIRECT_PREFIX"}}).endswith("redirect_prefix must not be None")
    assert site.api.refused(400, "PUT", path, {"l7policy": {"redirect_url": None}}).endswith("redirect_url must not be None")
    assert shown(site.change(policy, redirect_http_code=None)) == [None, "https://a.example/", None, None]
    assert shown(site.change(policy, action="REDIRECT_PREFIX", redirect_prefix="https://c.example")) == [
        None,
        None,
        "https://c.example",
        302,
    ]
    assert shown(site.change(policy, redirect_http_code=308)) == [None, None, "https://c.example", 308]
    assert shown(site.change(policy, action="REDIRECT_TO_URL", redirect_url="https://d.example")) == [None, "https://d.example", None, 308]
    assert shown(site.change(policy, action="REDIRECT_TO_POOL", redirect_pool_id=site.pool)) == [site.pool, None, None, None]
    assert shown(site.change(policy, action="REDIRECT_TO_POOL")) == [site.pool, None, None, None]
    assert shown(site.change(policy, action="REJECT")) == [None, None, None, None]
    assert site.change(policy)["provisioning_status"] == "PENDING_CREATE"
    assert site.api.refused(400, "PUT", path, {"l7policy": {"listener_id": site.listener}}).startswith(
        "Unknown attribute for argument l7policy"
    )


BAD_URLS = [
    *("ftp://a.example", "//a.example", "/path", "a.example", "https://", "https:///x", "javascript:alert(1)", "https://a.example/ b"),
    *('https://a.example/"', "https://a.example/%zz", "https://a.example/\\", "https://é.example", "https://a.example/\n", 5, ""),
    "http://a.example/{x}",
]
BAD_POLICIES: list[tuple[dict[str, Any], int, str]] = [
    ({"action": "ALLOW"}, 400, "Value should be one of: REJECT, "),
    ({"action": None}, 400, "Mandatory field missing."),
    ({"position": 0}, 400, "Value should be greater or equal to 1"),
    ({"position": 2147483648}, 400, "Value should be lower or equal to 2147483647"),
    ({"redirect_http_code": 304}, 400, "Value should be one of: 301, 302, 303, 307, 308"),
    ({"redirect_http_code": True}, 400, "Value should be integer"),
    ({"listener_id": UNKNOWN}, 404, f"Listener {UNKNOWN} not found."),
    ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": UNKNOWN}, 404, f"Pool {UNKNOWN} not found."),
    ({"rules": []}, 400, "Unknown attribute for argument l7policy.l7policy: rules"),
    *(({"action": "REDIRECT_TO_URL", "redirect_url": url}, 400, "Value must be a valid URL string") for url in BAD_URLS),
    ({"action": "REDIRECT_PREFIX", "redirect_prefix": "https://a.example/" + "a" * 2048}, 400, "maximum character requirement of 2048"),
]


def test_what_a_policy_must_not_say(site: Site) -> None:
    for fields, status, sentence in BAD_POLICIES:
        assert sentence in site.refused_policy(status, **fields), fields
    assert site.order() == []


def test_a_policy_fits_its_listener_and_its_pool(site: Site) -> None:
    api = site.api
    other = api.load_balancer(name="other")["id"]
    foreign = api.pool(loadbalancer_id=other)["id"]
    plain = api.pool(loadbalancer_id=site.load_balancer, protocol="TCP")["id"]
    leaving = api.pool(loadbalancer_id=site.load_balancer)["id"]
    api.ok("DELETE", f"/pools/{leaving}", status=204)
    redirect = {"action": "REDIRECT_TO_POOL"}
    assert site.refused_policy(404, **redirect, redirect_pool_id=foreign) == f"Pool {foreign} not found."
    assert "pool protocol 'TCP' is invalid while the listener protocol is 'HTTP'" in site.refused_policy(
        400, **redirect, redirect_pool_id=plain
    )
    assert site.refused_policy(409, **redirect, redirect_pool_id=leaving) == f"Pool {leaving} is immutable and cannot be updated."
    tcp = api.listener(site.load_balancer, protocol="TCP", protocol_port=81)["id"]
    sentence = "Provider 'amphora' does not support a requested option: l7policies of a listener of protocol TCP"
    assert site.refused_policy(501, listener_id=tcp) == sentence
    metrics = api.listener(site.load_balancer, protocol_port=82)["id"]
    api.write(tables.listeners.update().where(tables.listeners.c.id == metrics).values(protocol="PROMETHEUS"))
    assert site.refused_policy(400, listener_id=metrics) == "Validation failure: A listener of protocol PROMETHEUS can't have L7 policies."
    api.ok("DELETE", f"/listeners/{tcp}", status=204)


def test_a_pool_knows_who_redirects_to_it_and_stays_while_someone_does(site: Site) -> None:
    api, path = site.api, f"/pools/{site.pool}"
    policy = site.policy(action="REDIRECT_TO_POOL", redirect_pool_id=site.pool)["id"]
    assert api.get("pool", path)["listeners"] == []  # it can't match anything yet
    rule = site.rule(policy)["id"]
    assert api.get("pool", path)["listeners"] == [{"id": site.listener}]
    second = api.listener(site.load_balancer, protocol_port=81, default_pool_id=site.pool)["id"]
    third = site.policy(listener_id=second, action="REDIRECT_TO_POOL", redirect_pool_id=site.pool)["id"]
    site.rule(third)
    assert api.get("pool", path)["listeners"] == [{"id": second}, {"id": site.listener}]
    assert api.ok("GET", "/pools")["pools"][0]["listeners"] == [{"id": second}, {"id": site.listener}]
    assert api.refused(409, "DELETE", path) == f"Pool {site.pool} is in use by L7 policy {policy}"
    site.change(policy, admin_state_up=False)
    assert api.get("pool", path)["listeners"] == [{"id": second}]
    assert api.refused(409, "DELETE", path) == f"Pool {site.pool} is in use by L7 policy {policy}"
    site.change(policy, admin_state_up=True)
    api.ok("DELETE", f"/l7policies/{policy}/rules/{rule}", status=204)
    assert api.get("pool", path)["listeners"] == [{"id": second}]
    api.ok("DELETE", f"/l7policies/{policy}", status=204)
    api.ok("DELETE", f"/listeners/{second}", status=204)
    api.ok("DELETE", path, status=204)
    api.settle()
    for gone in (path, f"/l7policies/{third}", f"/l7policies/{policy}"):
        api.refused(404, "GET", gone)


def test_listeners_and_load_balancers_take_their_policies_along(site: Site) -> None:
    policy = site.policy()["id"]
    rule = site.rule(policy)["id"]
    site.api.settle()
    site.api.ok("DELETE", f"/listeners/{site.listener}", status=204)
    for table, key in ((tables.l7policies, policy), (tables.l7rules, rule)):
        assert site.api.row(table, key)["provisioning_status"] == "PENDING_DELETE"
    sentence = f"L7 Policy {policy} is immutable and cannot be updated."
    assert site.api.refused(409, "PUT", f"/l7policies/{policy}", {"l7policy": {"name": "x"}}) == sentence
    assert site.refused_rule(409, policy) == sentence
    assert site.api.refused(409, "DELETE", f"/l7policies/{policy}") == sentence
    assert "Listener" in site.refused_policy(409)
    site.listener = site.api.listener(site.load_balancer, protocol_port=81)["id"]
    rule = site.rule(site.policy()["id"])["id"]
    site.api.ok("DELETE", f"/loadbalancers/{site.load_balancer}?cascade=true", status=204)
    assert site.api.row(tables.l7rules, rule)["provisioning_status"] == "PENDING_DELETE"


GOOD_RULES: list[dict[str, Any]] = [
    *({"type": "PATH", "compare_type": how, "value": "/a'b#%20?"} for how in ("CONTAINS", "ENDS_WITH", "EQUAL_TO", "STARTS_WITH")),
    {"type": "PATH", "compare_type": "REGEX", "value": r"^/(a|b)[[:alpha:]]{2,5} \d+\.(?!php)"},
    {"type": "PATH", "key": "kept without effect"},
    {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "[2001:db8::1]:8080"},
    {"type": "FILE_TYPE", "compare_type": "EQUAL_TO", "value": "jpg"},
    {"type": "FILE_TYPE", "compare_type": "REGEX", "value": "jpg|png"},
    {"type": "COOKIE", "compare_type": "CONTAINS", "key": "a'b", "value": "x=y"},
    {"type": "HEADER", "compare_type": "EQUAL_TO", "key": "X-A#b", "value": '"a \\"quoted\\" \\\\ one, with # and \'"'},
    {"type": "HEADER", "compare_type": "CONTAINS", "key": "User-Agent", "value": "KHTML,"},
]
_CHARACTERS = "Error parsing L7Rule: Invalid characters in comparison value"
_INVALID = "Error parsing L7Rule: Invalid L7 Rule: "
BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({"type": "BODY"}, "Value should be one of: COOKIE, "),
    ({"compare_type": "LIKE"}, "Value should be one of: CONTAINS, "),
    ({"value": None}, "Mandatory field missing."),
    ({"value": ""}, _INVALID + "L7 rule type requires a value"),
    ({"value": "a" * 256}, "maximum character requirement of 255"),
    ({"value": "/a\nuser root"}, "Value should not contain control characters"),
    ({"key": "a\r\nb"}, "Value should not contain control characters"),
    ({"type": "HEADER"}, _INVALID + "L7 rule type requires a key"),
    ({"type": "COOKIE", "key": ""}, _INVALID + "L7 rule type requires a key"),
    ({"type": "COOKIE", "key": "a b"}, _INVALID + "Invalid characters in key"),
    ({"type": "HEADER", "key": "X-A)"}, _INVALID + "Invalid characters in key"),
    ({"type": "SSL_DN_FIELD", "key": "C,N"}, _INVALID + "Invalid characters in key"),
    ({"type": "FILE_TYPE"}, _INVALID + "STARTS_WITH is an invalid comparison type for rule type FILE_TYPE"),
    ({"type": "SSL_CONN_HAS_CERT"}, _INVALID + "STARTS_WITH is an invalid comparison type"),
    ({"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "no"}, _INVALID + "rule value must be True"),
    ({"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "True", "key": "x"}, _INVALID + "L7 rule type does not use a key"),
    ({"type": "SSL_VERIFY_RESULT", "compare_type": "EQUAL_TO", "value": "-1"}, _CHARACTERS),
    *(({"value": value}, _CHARACTERS) for value in ("/a b", '/a"', "/a\\", "/é", '"/a b"')),
    ({"type": "HOST_NAME", "value": "a/b"}, _CHARACTERS),
    ({"type": "COOKIE", "key": "a", "value": "a;b"}, _CHARACTERS),
    *(({"type": "HEADER", "key": "A", "value": value}, _CHARACTERS) for value in ("a b", '"a', '"a"b"', '"a\\"', '""', '"a\\x"')),
    ({"compare_type": "REGEX", "value": "("}, _INVALID + "the regular expression can't be compiled"),
    ({"compare_type": "REGEX", "value": "a)"}, _INVALID + "the regular expression can't be compiled"),
    ({"compare_type": "REGEX", "value": "é"}, _CHARACTERS),
    ({"compare_type": "REGEX", "value": r"\u0041"}, _INVALID + r"HAProxy does not know \u"),
]


def test_rules_that_are_taken_as_they_are(site: Site) -> None:
    policy = site.policy()["id"]
    for fields in GOOD_RULES:
        made = site.rule(policy, **fields)
        assert {name: made[name] for name in fields} == fields


def test_rules_look_at_certificates_of_clients(site: Site) -> None:
    policy = site.policy()["id"]
    for kind, value in (("SSL_CONN_HAS_CERT", "true"), ("SSL_VERIFY_RESULT", "0")):
        assert site.rule(policy, type=kind, compare_type="EQUAL_TO", value=value)["type"] == kind


def test_what_a_rule_must_not_say(site: Site) -> None:
    policy = site.policy()["id"]
    for fields, sentence in BAD_RULES:
        assert sentence in site.refused_rule(400, policy, **fields), fields
    assert site.api.ok("GET", f"/l7policies/{policy}/rules")["rules"] == []


def test_a_changed_rule_is_judged_as_a_whole(site: Site) -> None:
    policy = site.policy()["id"]
    rule = site.rule(policy, type="HEADER", key="X-A", value='"a b"')["id"]
    path = f"/l7policies/{policy}/rules/{rule}"

    def refused(**fields: Any) -> str:
        return site.api.refused(400, "PUT", path, {"rule": fields})

    assert refused(key=None).endswith("requires a key")
    assert refused(type="PATH") == _CHARACTERS
    assert refused(type="FILE_TYPE", value="jpg").endswith("invalid comparison type for rule type FILE_TYPE")
    assert refused(value=None).endswith("Mandatory field missing.")
    changed = site.api.ok("PUT", path, {"rule": {"type": "PATH", "value": "/x", "invert": True, "tags": ["t"]}})["rule"]
    assert [changed[name] for name in ("type", "key", "value", "invert", "tags", "provisioning_status")] == [
        "PATH", "X-A", "/x", True, ["t"], "PENDING_CREATE",
    ]  # fmt: skip
    assert site.api.ok("PUT", path, {"rule": {"invert": None, "key": None}})["rule"]["invert"] is False


def test_rules_are_found_below_their_policy_only_and_are_at_most_fifty(site: Site) -> None:
    policy, other = site.policy()["id"], site.policy()["id"]
    rules = [site.rule(policy)["id"] for _ in range(50)]
    assert site.refused_rule(409, policy) == f"L7 Policy {policy} can't have more than 50 rules"
    for method, body in (("GET", None), ("PUT", {"rule": {"invert": True}}), ("DELETE", None)):
        assert site.api.refused(404, method, f"/l7policies/{other}/rules/{rules[0]}", body) == f"L7 Rule {rules[0]} not found."
        site.api.refused(404, method, f"/l7policies/{rules[0]}/rules/{rules[0]}", body)
    assert site.api.refused(404, "GET", f"/l7policies/{rules[0]}/rules") == f"L7 Policy {rules[0]} not found."
    site.api.ok("DELETE", f"/l7policies/{policy}/rules/{rules[0]}", status=204)
    site.rule(policy)
    for method, path in (("PUT", "/l7policies"), ("DELETE", "/l7policies"), ("PUT", f"/l7policies/{policy}/rules")):
        assert site.api.refused(400, method, path) == 'Missing argument: "id"'
