"""Every policy rule with its default: what operators read in `etc/policy.yaml.sample`, and override in their policy file."""

from __future__ import annotations

from collections.abc import Iterable

from oslo_policy import policy

PREFIX = "os_load-balancer_api:"
SCOPES = ["project", "system"]
"""A domain's token is good for nothing here: who administers a domain does not administer the cloud."""

_SINCE = "0.1.0"
_REASON = (
    "Keystone's own roles reader, member and admin take the place of the roles that only load balancers knew. Both work until "
    "[oslo_policy] enforce_new_defaults is set."
)

READ = "rule:load-balancer:read"
READ_GLOBAL = "rule:load-balancer:read-global"
WRITE = "rule:load-balancer:write"
READ_QUOTA = "rule:load-balancer:read-quota"
READ_QUOTA_GLOBAL = "rule:load-balancer:read-quota-global"
WRITE_QUOTA = "rule:load-balancer:write-quota"
ADMIN = "rule:load-balancer:admin"


def _base(name: str, check: str, description: str, old: str | None = None) -> policy.RuleDefault:
    deprecated = policy.DeprecatedRule(name, old, deprecated_reason=_REASON, deprecated_since=_SINCE) if old else None
    return policy.RuleDefault(name, check, description, deprecated_rule=deprecated, scope_types=list(SCOPES))


_BASE = [
    _base("load-balancer:owner", "project_id:%(project_id)s", "The object is the caller's project's."),
    _base("project-reader", "role:reader and rule:load-balancer:owner", "Reads in the object's project."),
    _base("project-member", "role:member and rule:load-balancer:owner", "Reads and writes in the object's project."),
    _base("context_is_admin", "role:admin", "Makes a caller an administrator (`is_admin`).", "role:admin or role:load-balancer_admin"),
    _base("service", "role:service", "Another service of the cloud."),
    _base(
        "load-balancer:observer_and_owner",
        "rule:project-reader",
        "Reads load balancers of the project.",
        "role:load-balancer_observer and rule:load-balancer:owner",
    ),
    _base("load-balancer:global_observer", "role:admin", "Reads load balancers of every project.", "role:load-balancer_global_observer"),
    _base(
        "load-balancer:member_and_owner",
        "rule:project-member",
        "Reads and writes load balancers of the project.",
        "role:load-balancer_member and rule:load-balancer:owner",
    ),
    _base("load-balancer:quota-admin", "role:admin", "Reads and writes quotas of every project.", "role:load-balancer_quota_admin"),
    _base(
        "load-balancer:admin",
        "is_admin:True or role:admin",
        "May do everything.",
        "is_admin:True or role:admin or role:load-balancer_admin",
    ),
    _base(
        "load-balancer:read",
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or rule:load-balancer:member_and_owner"
        " or rule:load-balancer:admin",
        "May read.",
    ),
    _base("load-balancer:read-global", "rule:load-balancer:global_observer or rule:load-balancer:admin", "May read in every project."),
    _base("load-balancer:write", "rule:load-balancer:member_and_owner or rule:load-balancer:admin", "May write."),
    _base(
        "load-balancer:read-quota",
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or rule:load-balancer:member_and_owner"
        " or rule:load-balancer:quota-admin or rule:load-balancer:admin",
        "May read quotas.",
    ),
    _base(
        "load-balancer:read-quota-global",
        "rule:load-balancer:global_observer or rule:load-balancer:quota-admin or rule:load-balancer:admin",
        "May read the quotas of every project.",
    ),
    _base("load-balancer:write-quota", "rule:load-balancer:quota-admin or rule:load-balancer:admin", "May change quotas."),
]

_LBAAS = "/v2/lbaas"


def _rule(name: str, check: str, description: str, *operations: str) -> policy.DocumentedRuleDefault:
    """A rule of the API; each operation is `METHOD PATH`."""
    pairs = [operation.split(" ") for operation in operations]
    return policy.DocumentedRuleDefault(
        PREFIX + name, check, description, [{"method": method, "path": path} for method, path in pairs], scope_types=list(SCOPES)
    )


def _five(
    resource: str, words: str, path: str, variable: str, read: str, write: str, read_one: str | None = None
) -> Iterable[policy.DocumentedRuleDefault]:
    """Those which (nearly) every resource has."""
    one = f"{path}/{{{variable}}}"
    yield _rule(f"{resource}:get_all", read, f"List {words}s.", f"GET {path}")
    yield _rule(f"{resource}:post", write, f"Create a {words}.", f"POST {path}")
    yield _rule(f"{resource}:get_one", read_one or read, f"Show a {words}.", f"GET {one}")
    yield _rule(f"{resource}:put", write, f"Change a {words}.", f"PUT {one}")
    yield _rule(f"{resource}:delete", write, f"Delete a {words}.", f"DELETE {one}")


def _global(resource: str, words: str, path: str) -> policy.DocumentedRuleDefault:
    return _rule(f"{resource}:get_all-global", READ_GLOBAL, f"List the {words}s of every project.", f"GET {path}")


def _load_balancers() -> Iterable[policy.DocumentedRuleDefault]:
    path = f"{_LBAAS}/loadbalancers"
    one = f"{path}/{{load_balancer_id}}"
    yield from _five("loadbalancer", "load balancer", path, "load_balancer_id", READ, WRITE)
    yield _global("loadbalancer", "load balancer", path)
    yield _rule("loadbalancer:post:vip_sg_ids", WRITE, "Create a load balancer with security groups of one's own.", f"POST {path}")
    yield _rule("loadbalancer:put:vip_sg_ids", WRITE, "Change the security groups of a load balancer's VIP.", f"PUT {one}")
    yield _rule("loadbalancer:get_stats", READ, "Show the statistics of a load balancer.", f"GET {one}/stats")
    yield _rule("loadbalancer:get_status", READ, "Show the status tree of a load balancer.", f"GET {one}/status", f"GET {one}/statuses")
    yield _rule("loadbalancer:get_events", READ, "Show what happened to a load balancer.", f"GET {one}/events")
    yield _rule("loadbalancer:put_failover", ADMIN, "Replace the amphorae of a load balancer.", f"PUT {one}/failover")


def _children() -> Iterable[policy.DocumentedRuleDefault]:
    for resource, words, collection, variable in (
        ("listener", "listener", "listeners", "listener_id"),
        ("pool", "pool", "pools", "pool_id"),
        ("healthmonitor", "health monitor", "healthmonitors", "monitor_id"),
        ("l7policy", "L7 policy", "l7policies", "l7policy_id"),
    ):
        path = f"{_LBAAS}/{collection}"
        yield from _five(resource, words, path, variable, READ, WRITE)
        yield _global(resource, words, path)
    yield _rule("listener:get_stats", READ, "Show the statistics of a listener.", f"GET {_LBAAS}/listeners/{{listener_id}}/stats")
    yield _rule("pool:get_stats", READ, "Show the statistics of a pool.", f"GET {_LBAAS}/pools/{{pool_id}}/stats")
    members = f"{_LBAAS}/pools/{{pool_id}}/members"
    yield _rule("member:get_all", f"{READ} or rule:service", "List the members of a pool.", f"GET {members}")
    yield _rule("member:post", WRITE, "Create a member, alone or in a batch.", f"POST {members}", f"PUT {members}")
    yield _rule("member:get_one", READ, "Show a member.", f"GET {members}/{{member_id}}")
    yield _rule("member:get_stats", READ, "Show the statistics of a member.", f"GET {members}/{{member_id}}/stats")
    yield _rule("member:put", WRITE, "Change a member, alone or in a batch.", f"PUT {members}/{{member_id}}", f"PUT {members}")
    yield _rule("member:delete", WRITE, "Delete a member, alone or by a batch.", f"DELETE {members}/{{member_id}}", f"PUT {members}")
    yield from _five("l7rule", "L7 rule", f"{_LBAAS}/l7policies/{{l7policy_id}}/rules", "l7rule_id", READ, WRITE)


def _secrets() -> Iterable[policy.DocumentedRuleDefault]:
    path = f"{_LBAAS}/secrets"
    yield _rule("secret:post", WRITE, "Store a certificate in the `local` secret store.", f"POST {path}")
    yield _rule("secret:delete", WRITE, "Delete a certificate of the `local` secret store.", f"DELETE {path}/{{reference}}")


def _quotas() -> Iterable[policy.DocumentedRuleDefault]:
    path = f"{_LBAAS}/quotas"
    one = f"{path}/{{project_id}}"
    yield _rule("quota:get_all", READ_QUOTA, "List the project's quotas.", f"GET {path}")
    yield _rule("quota:get_all-global", READ_QUOTA_GLOBAL, "List the quotas of every project.", f"GET {path}")
    yield _rule("quota:get_one", READ_QUOTA, "Show a project's quotas.", f"GET {one}")
    yield _rule("quota:put", WRITE_QUOTA, "Change a project's quotas.", f"PUT {one}")
    yield _rule("quota:delete", WRITE_QUOTA, "Put a project's quotas back to the defaults.", f"DELETE {one}")
    yield _rule("quota:get_defaults", READ_QUOTA, "Show the default quotas.", f"GET {path}/defaults", f"GET {one}/default")


def _operators() -> Iterable[policy.DocumentedRuleDefault]:
    providers = f"{_LBAAS}/providers"
    yield _rule("provider:get_all", READ, "List the providers.", f"GET {providers}")
    for resource, words, collection in (
        ("provider-flavor", "flavor profile", "flavor_capabilities"),
        ("provider-availability-zone", "availability zone profile", "availability_zone_capabilities"),
    ):
        yield _rule(
            f"{resource}:get_all", ADMIN, f"List what a {words} can ask of a provider.", f"GET {providers}/{{provider}}/{collection}"
        )
    for resource, words, collection, variable, read in (
        ("flavor", "flavor", "flavors", "flavor_id", READ),
        ("flavor-profile", "flavor profile", "flavorprofiles", "flavor_profile_id", ADMIN),
        ("availability-zone", "availability zone", "availabilityzones", "availability_zone_name", READ),
        ("availability-zone-profile", "availability zone profile", "availabilityzoneprofiles", "availability_zone_profile_id", ADMIN),
    ):
        yield from _five(resource, words, f"{_LBAAS}/{collection}", variable, read, ADMIN)
    amphorae = "/v2/octavia/amphorae"
    one = f"{amphorae}/{{amphora_id}}"
    yield _rule("amphora:get_all", ADMIN, "List amphorae.", f"GET {amphorae}")
    yield _rule("amphora:get_one", ADMIN, "Show an amphora.", f"GET {one}")
    yield _rule("amphora:delete", ADMIN, "Delete a broken amphora.", f"DELETE {one}")
    yield _rule("amphora:put_config", ADMIN, "Give an amphora's agent its configuration anew.", f"PUT {one}/config")
    yield _rule("amphora:put_failover", ADMIN, "Replace an amphora.", f"PUT {one}/failover")
    yield _rule("amphora:get_stats", ADMIN, "Show the statistics of an amphora.", f"GET {one}/stats")


def list_rules() -> list[policy.RuleDefault]:
    """All of them, base rules first; entry point of oslo.policy's tools."""
    return [*_BASE, *_load_balancers(), *_children(), *_secrets(), *_quotas(), *_operators()]
