"""L7 policies as HAProxy takes them: an ACL for each rule, and a directive for each policy that can match.

Documented for users is this order: rejects, redirects to URLs, redirects to pools, each by position. HAProxy would look at every
`http-request` before any `use_backend` anyway, so the text says it, too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from amphora_agent.protocol import rendered
from controller import exceptions
from controller.model import load_balancer as model
from controller.model.status import ProvisioningStatus
from controller.render import safe
from controller.resources.l7policy import DEFAULT_HTTP_CODE

_COLONS_OF_SYNTAX = re.compile(r"\(\?:|\[:\^?\w+:\]").sub
"""What of a regular expression has a colon and means none: a group without a number, and a class of characters (pcre2pattern(3))."""
_ESCAPED = re.compile(r'\\(["\\])').sub
_ORDER = {"REJECT": 0, "REDIRECT_TO_URL": 1, "REDIRECT_PREFIX": 1, "FIXED_RESPONSE": 1, "REDIRECT_TO_POOL": 2}
_MATCHES = {"CONTAINS": "sub", "ENDS_WITH": "end", "EQUAL_TO": "str", "REGEX": "reg", "STARTS_WITH": "beg"}
_NUMBERS = {"SSL_CONN_HAS_CERT": "ssl_c_used", "SSL_VERIFY_RESULT": "ssl_c_verify"}
_VARIABLE = rendered.SPLIT_VARIABLE
_CHANCE = f"var({_VARIABLE})"
"""A number that is drawn for each request."""
_CLIENT = "src,ipmask(32,64),xxh32"
"""One that is the same for all requests of a client, on both halves of a pair: whoever has one address of IPv6 has a /64 (RFC 6177)."""
_UNIT = 256
"""No server has a weight above it, so a share is that of a server and so many times that of another one."""
_HTTP_CODES = ("301", "302", "303", "307", "308")


@dataclasses.dataclass(frozen=True, slots=True)
class Policies:
    """What the policies of one listener add to its frontend, and the pools that it needs backends for."""

    acls: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    redirects: tuple[tuple[model.Pool, str], ...] = ()  # pool, condition
    weighed: tuple[tuple[str, list[str]], ...] = ()  # backend, its servers: they serve nobody, but have weights

    @property
    def pools(self) -> tuple[model.Pool, ...]:
        """Each pool once, in the order in which they are tried."""
        return tuple({pool.id: pool for pool, _ in self.redirects}.values())


def policies(below: Iterable[model.L7Policy], rules: Mapping[str, Sequence[model.L7Rule]], pools: Mapping[str, model.Pool]) -> Policies:
    """Of the policies of one listener, their rules by policy, and all pools by id; what is off, or has no rule, is left out.

    :raises UnsafeValue: a string can't be written into a configuration.
    :raises NotSupported: an action, a type of rules or a comparison is not known here.
    """
    acls: list[str] = []
    requests: list[str] = []
    redirects: list[tuple[model.Pool, str]] = []
    split: list[model.L7Policy] = []
    weighed: list[tuple[str, list[str]]] = []
    for policy in sorted(filter(serves, below), key=lambda item: (_class(item), item.position, item.id)):
        matching = sorted(filter(serves, rules.get(policy.id, ())), key=lambda item: item.id)
        shares = _shares(policy, pools) if policy.action == "REDIRECT_TO_POOL" else []
        if not matching or (policy.action == "REDIRECT_TO_POOL" and not shares):
            continue
        condition = " ".join(f"{'!' if rule.invert else ''}{safe.object_id('rule id', rule.id)}" for rule in matching)
        acls.extend(acl for rule in matching for acl in _acls(rule))
        if len(shares) > 1:
            weighed.append(_weighed(policy, shares))
            requests.extend(_sums(len(weighed), policy, shares, condition))
            redirects.extend(_chosen(len(weighed), policy, shares, condition))
            split.append(policy)
        elif shares:
            redirects.append((shares[0][0], condition))
        else:
            requests.append(f"{_request(policy)} if {condition}")
    if any(policy.split is not None and policy.split.by == "REQUEST" for policy in split):
        requests.append(f"http-request set-var({_VARIABLE}) rand")
    return Policies(tuple(acls), tuple(requests), tuple(redirects), tuple(weighed))


def _shares(policy: model.L7Policy, pools: Mapping[str, model.Pool]) -> list[tuple[model.Pool, int]]:
    """The pools of a policy that serve, with their weights; none if none of them is to get anything."""
    split = policy.split or model.Split(by="REQUEST", pools=(model.Share(pool_id=policy.redirect_pool_id or "", weight=1),))
    named = [(pools.get(share.pool_id), int(share.weight)) for share in split.pools]
    serving = [(pool, weight) for pool, weight in named if pool is not None and serves(pool)]
    return serving if any(weight for _, weight in serving) else []


def _weighed(policy: model.L7Policy, shares: Sequence[tuple[model.Pool, int]]) -> tuple[str, list[str]]:
    """Weights as those of servers: HAProxy takes others at run time, and conditions can ask for them."""
    servers = []
    for pool, weight in shares:
        name = safe.object_id("pool id", pool.id)
        servers += [f"{name} 127.0.0.1:1 weight {weight % _UNIT}", f"{name}-{_UNIT} 127.0.0.1:1 weight {weight // _UNIT}"]
    return _weights_of(policy), servers


def _weights_of(policy: model.L7Policy) -> str:
    return f"{rendered.SPLIT_BACKEND}{safe.object_id('L7 policy id', policy.id)}"


def _sums(number: int, policy: model.L7Policy, shares: Sequence[tuple[model.Pool, int]], condition: str) -> Iterator[str]:
    """For each pool of the split of this number, what it and those before it get.

    They are reckoned for requests that the policy is about only: HAProxy looks for a variable among all that are set, so with hundreds of
    splits each request would cost milliseconds.
    """
    matches, weights = f"{_VARIABLE}_{number}", _weights_of(policy)
    yield f"http-request set-var({matches}) bool(true) if {condition}"
    only = f" if {{ var({matches}) -m bool }}"
    for place, (pool, _) in enumerate(shares, 1):
        server = f"{weights}/{safe.object_id('pool id', pool.id)}"
        before = f",add({_VARIABLE}_{number}_{place - 1})" if place > 1 else ""
        yield f"http-request set-var({_VARIABLE}_0) srv_uweight({server}-{_UNIT}),mul({_UNIT}){before}{only}"
        yield f"http-request set-var({_VARIABLE}_{number}_{place}) srv_uweight({server}),add({_VARIABLE}_0){only}"


def _chosen(
    number: int, policy: model.L7Policy, shares: Sequence[tuple[model.Pool, int]], condition: str
) -> Iterator[tuple[model.Pool, str]]:
    """Each pool with the condition under which it gets a request that those before it did not get."""
    by = "REQUEST" if policy.split is None else safe.one_of(f"by of L7 policy {policy.id!r}", policy.split.by, ("REQUEST", "SOURCE_IP"))
    drawn = f"{_CHANCE if by == 'REQUEST' else _CLIENT},mod({_VARIABLE}_{number}_{len(shares)})"
    for place, (pool, _) in enumerate(shares, 1):
        yield pool, condition if place == len(shares) else f"{condition} {{ {drawn},sub({_VARIABLE}_{number}_{place}) lt 0 }}"


def serves(resource: model.Resource) -> bool:
    """Whether an object takes part. One in ERROR does: what it was refused for may have been mended since."""
    return resource.admin_state_up and resource.provisioning_status is not ProvisioningStatus.PENDING_DELETE


def _class(policy: model.L7Policy) -> int:
    if policy.action not in _ORDER:
        raise exceptions.NotSupported(f"An amphora does not know the action {policy.action!r} of L7 policy {policy.id!r}.")
    return _ORDER[policy.action]


def _request(policy: model.L7Policy) -> str:
    if policy.action == "REJECT":
        return "http-request deny"
    named = f"of L7 policy {policy.id!r}"
    if policy.fixed_response is not None:
        return f"http-request return status {int(policy.fixed_response.status)}{page(f'fixed_response {named}', policy.fixed_response)}"
    code = safe.one_of(f"redirect_http_code {named}", str(policy.redirect_http_code or DEFAULT_HTTP_CODE), _HTTP_CODES)
    if policy.action == "REDIRECT_TO_URL":
        return f"http-request redirect location {safe.url_format(f'redirect_url {named}', policy.redirect_url)} code {code}"
    return f"http-request redirect prefix {safe.url_format(f'redirect_prefix {named}', policy.redirect_prefix)} code {code}"


def page(field: str, shown: model.Page) -> str:
    """The words of an answer's content, if it has any.

    :raises UnsafeValue: it can't be written into a configuration.
    """
    if not shown.body:
        return ""
    content_type, body = safe.content(f"content_type of {field}", shown.content_type), safe.content(f"body of {field}", shown.body)
    return f" content-type {content_type} string {body}"


def _acls(rule: model.L7Rule) -> list[str]:
    """One line, or two of the same name, of which HAProxy asks whether one matches."""
    match = _MATCHES.get(rule.compare_type)
    if match is None:
        raise exceptions.NotSupported(f"An amphora does not know the comparison {rule.compare_type!r} of L7 rule {rule.id!r}.")
    name = safe.object_id("rule id", rule.id)
    if rule.type in _NUMBERS:
        number = safe.number(f"value of L7 rule {name}", "1" if rule.type == "SSL_CONN_HAS_CERT" else rule.value)
        return [f"acl {name} {_NUMBERS[rule.type]} -m int -- {number}"]
    value = rule.value
    if rule.type == "FILE_TYPE" and rule.compare_type == "EQUAL_TO":
        match, value = "end", f".{value.removeprefix('.')}"
    if rule.type == "HEADER" and rule.compare_type != "REGEX":
        value = _unquoted(value)
    written = safe.quoted(f"value of L7 rule {name}", value)
    return [f"acl {name} {sample} -m {match} -- {written}" for sample in _samples(rule, value)]


def _samples(rule: model.L7Rule, value: str) -> list[str]:
    """What of a request is compared."""
    match rule.type:
        case "HOST_NAME":  # clients name the port where it is not the usual one; a rule means it only if it has one
            said = _COLONS_OF_SYNTAX("", value) if rule.compare_type == "REGEX" else value
            return ["req.hdr(host) -i" if ":" in said else "req.hdr(host),host_only -i"]
        case "PATH" | "FILE_TYPE":
            return ["path"]
        case "SSL_DN_FIELD":
            return [f"ssl_c_s_dn({safe.dn_field(f'key of L7 rule {rule.id!r}', rule.key)})"]
        case "COOKIE":
            return [f"req.cook({_key(rule)})"]
        case "HEADER":
            # `req.hdr` gives the values between commas one by one, so none of them holds a comma; `req.fhdr` gives them as they came.
            lists, whole = f"req.hdr({_key(rule)})", f"req.fhdr({_key(rule)})"
            if "," not in value:
                return [lists]
            return [lists, whole] if rule.compare_type == "REGEX" else [whole]
    raise exceptions.NotSupported(f"An amphora does not know the type {rule.type!r} of L7 rule {rule.id!r}.")


def _key(rule: model.L7Rule) -> str:
    return safe.cookie_name(f"key of L7 rule {rule.id!r}", rule.key)


def _unquoted(value: str) -> str:
    """Quotes around a header's value let it hold blanks; inside, a backslash stands before a quote and a backslash."""
    if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
        return value
    return _ESCAPED(r"\1", value[1:-1])
