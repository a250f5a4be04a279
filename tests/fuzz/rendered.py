"""What accepted objects become in HAProxy's configuration, compared with what harmless ones of the same shape would become."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, cast

from amphora_agent import datagram_rules
from amphora_agent.protocol import datagrams, rendered, rest
from controller import exceptions
from controller.model import load_balancer as model
from controller.model.status import Topology
from controller.render import datagrams as rendered_datagrams
from controller.render import haproxy, keepalived
from controller.render.settings import Settings
from tests import builders

PEER = builders.an_id("amphora")
"""The amphora for which all is rendered."""
_SETTINGS = Settings()
_STRUCTURE = re.compile(r"[^:,.]")


class Injected(AssertionError):
    """Something that a client sent does more in a configuration than to be a value in its place."""


@dataclasses.dataclass(frozen=True)
class Texts:
    """Of one amphora; no HAProxy's where it is not to run, and no services of UDP and SCTP where there are none."""

    haproxy: str | None
    keepalived: str
    services: tuple[datagrams.Service, ...]


def checked(snapshot: model.Snapshot) -> Texts:
    """The texts, in which every string of a client is one word, where one is expected; in keepalived's there is none.

    :raises Injected: it is not, or the renderer refuses what the API has accepted.
    """
    owner = snapshot.load_balancer
    both = [PEER, builders.an_id("the other half")]
    amphorae = [
        builders.an_amphora(id=key, role=role, load_balancer_id=owner.id) for key, role in zip(both, owner.topology.roles, strict=False)
    ]
    snapshot, amphora = dataclasses.replace(snapshot, amphorae=tuple(amphorae)), amphorae[0]
    try:
        text = haproxy.config(snapshot, amphora, _SETTINGS)
    except (exceptions.UnsafeValue, exceptions.NotSupported) as error:
        raise Injected(f"accepted by the API, refused by the renderer: {error}") from error
    if text != haproxy.config(_anonymous(snapshot), amphora, _SETTINGS):
        raise Injected("a name, a description or a tag stands in the configuration")
    plain = haproxy.config(_harmless(snapshot), amphora, _SETTINGS)
    if text is not None and plain is not None:
        _compare(text, plain)
    elif text is not plain:
        raise Injected("a string of a client decides whether there is a configuration at all")
    return Texts(text, _checked_keepalived(snapshot, both), _checked_datagrams(snapshot))


def _checked_datagrams(snapshot: model.Snapshot) -> tuple[datagrams.Service, ...]:
    """As the agent reads them, which looks at each string itself."""
    try:
        text = rendered_datagrams.config(snapshot)
    except (exceptions.UnsafeValue, exceptions.NotSupported) as error:
        raise Injected(f"accepted by the API, refused by the renderer: {error}") from error
    if text != rendered_datagrams.config(_anonymous(snapshot)):
        raise Injected("a name, a description or a tag stands in what the agent is told of datagrams")
    if text is None:
        return ()
    try:
        return datagrams.parse(text)
    except rest.Malformed as error:
        raise Injected(f"rendered, refused by the agent: {error}") from error


def rules(services: Sequence[datagrams.Service]) -> str:
    """The script for nft(8) that an agent makes of services, perhaps of several load balancers; all members that are switched on are up.

    :raises Injected: the agent fails, with these or with only one of them up.
    """
    leads = datagram_rules.Leads(services)
    lines = [f"add table {datagram_rules.TABLE}"]
    for one in services:
        enabled = frozenset(member.id for member in one.members if member.enabled)
        try:
            lines += [*datagram_rules.declaration(one), *datagram_rules.limit(one)]
            lines += datagram_rules.rules(one, datagram_rules.Standing(enabled), leads)
            for standing in _standings(one):
                datagram_rules.rules(one, standing, datagram_rules.Leads(services))
        except Exception as error:
            raise Injected(f"the agent fails: {error!r} with {one}") from error
    return "\n".join([*lines, *datagram_rules.base(services)]) + "\n"


def _standings(service: datagrams.Service) -> Iterator[datagram_rules.Standing]:
    """Nobody is up; each one alone; all that are lighter than the heaviest."""
    yield datagram_rules.Standing()
    yield from (datagram_rules.Standing(frozenset([one.id])) for one in service.members)
    most = max((one.weight for one in service.members), default=0)
    yield datagram_rules.Standing(frozenset(one.id for one in service.members if one.weight < most))


def _checked_keepalived(snapshot: model.Snapshot, both: Sequence[str]) -> str:
    """As if its topology was that of a pair, which few have."""
    roles = Topology.ACTIVE_STANDBY.roles
    pair = tuple(builders.an_amphora(id=key, role=role) for key, role in zip(both, roles, strict=True))
    network = ipaddress.ip_network(builders.VIP_SUBNET_CIDR)
    text, plain = (
        keepalived.config(dataclasses.replace(one, amphorae=pair), pair[0], [network], _SETTINGS) for one in (snapshot, _harmless(snapshot))
    )
    if text != plain:
        raise Injected("a string of a client stands in keepalived's configuration")
    return text


def _compare(text: str, plain: str) -> None:
    odd = re.search(r"[^\n\x20-\x7e\u00a0-\U0010ffff]|[\u2028\u2029]", text)
    if odd:
        raise Injected(f"{odd.group()!r} in {text[max(0, odd.start() - 80) : odd.start() + 80]!r}")
    lines, expected = text.split("\n"), plain.split("\n")
    if len(lines) != len(expected):
        raise Injected(f"{len(lines)} lines instead of {len(expected)}: {sorted(set(lines) - set(expected))[:5]}")
    for line, other in zip(lines, expected, strict=True):
        if line == other:
            continue
        words, others = (split(one.replace(f"${{{rendered.CERTIFICATES_VARIABLE}}}", "")) for one in (line, other))
        if len(words) != len(others) or words[:1] != others[:1]:
            raise Injected(f"{line!r} is {len(words)} words, and {other!r} is {len(others)}")
        for word, harmless in zip(words, others, strict=True):
            if word != harmless and "redirect" in words and re.search(r"%(?!%)", word.replace("%%", "")):
                raise Injected(f"{word!r} is read as a format in {line!r}")


def split(line: str) -> list[str]:
    """The words of a line, as HAProxy reads them: blanks part them unless quoted or escaped; an open quote is an error.

    :raises Injected: the line would be read in another way than it looks.
    """
    words: list[str] = []
    word, quote, inside, position = "", "", False, 0
    while position < len(line):
        character = line[position]
        position += 1
        if quote == "'":
            quote, word = ("", word) if character == "'" else (quote, word + character)
        elif character == "\\":
            word, inside, position = word + line[position : position + 1], True, position + 1
        elif quote == '"':
            if character == "$":
                raise Injected(f"an environment variable in {line!r}")
            quote, word = ("", word) if character == '"' else (quote, word + character)
        elif character in "'\"":
            quote, inside = character, True
        elif character == "#":
            raise Injected(f"a comment in {line!r}")
        elif character in " \t":
            words, word, inside = ([*words, word] if inside or word else words), "", False
        else:
            word, inside = word + character, True
    if quote:
        raise Injected(f"an open quote in {line!r}")
    return [*words, word] if inside or word else words


_COLLECTIONS = ("listeners", "pools", "members", "health_monitors", "l7policies", "l7rules")


def _anonymous(snapshot: model.Snapshot) -> model.Snapshot:
    """The same without what is for people only."""
    below: dict[str, Any] = {name: tuple(map(_nameless, getattr(snapshot, name))) for name in _COLLECTIONS}
    return dataclasses.replace(snapshot, load_balancer=_nameless(snapshot.load_balancer), **below)


_T = TypeVar("_T")


def _harmless(snapshot: model.Snapshot) -> model.Snapshot:
    """The same shape, with nothing in its strings."""
    return dataclasses.replace(
        anonymous := _anonymous(snapshot),
        load_balancer=_load_balancer(anonymous.load_balancer),
        listeners=tuple(_tls(_listener(item)) for item in snapshot.listeners),
        pools=tuple(_pool(item) for item in snapshot.pools),
        health_monitors=tuple(_monitor(item) for item in snapshot.health_monitors),
        l7policies=tuple(_policy(item) for item in snapshot.l7policies),
        l7rules=tuple(_rule(item) for item in snapshot.l7rules),
    )


def _nameless(item: _T) -> _T:
    without: dict[str, Any] = {name: "" for name in ("name", "description") if hasattr(item, name)}
    changed: _T = dataclasses.replace(cast(Any, item), **without, tags=())
    return changed


def _load_balancer(balancer: model.LoadBalancer) -> model.LoadBalancer:
    if (log := balancer.access_log) is None:
        return balancer
    reference, host = log.ca_tls_container_ref and "local:x", log.host_name and "x.example"
    return dataclasses.replace(balancer, access_log=dataclasses.replace(log, ca_tls_container_ref=reference, host_name=host))


def _pool(pool: model.Pool) -> model.Pool:
    persistence = pool.session_persistence
    if persistence is not None and persistence.cookie_name is not None:
        persistence = dataclasses.replace(persistence, cookie_name="x")
    changed: model.Pool = dataclasses.replace(_tls(_nameless(pool)), session_persistence=persistence)
    return changed


def _tls(item: Any) -> Any:
    """With other references of the same number, and ciphers that are as many of each kind."""
    names = (
        "default_tls_container_ref",
        "client_ca_tls_container_ref",
        "client_crl_container_ref",
        "tls_container_ref",
        "ca_tls_container_ref",
    )
    changes: dict[str, Any] = {name: "local:x" for name in (*names, "crl_container_ref") if getattr(item, name, None)}
    if found := [one for one in getattr(item, "sni_container_refs", ()) if one != item.default_tls_container_ref]:
        changes["sni_container_refs"] = tuple(f"local:{number}" for number in range(len(set(found))))
    if item.tls_ciphers:
        changes["tls_ciphers"] = ":".join(one and ("TLS_X" if one.startswith("TLS_") else "X") for one in item.tls_ciphers.split(":"))
    return dataclasses.replace(item, **changes)


def _monitor(monitor: model.HealthMonitor) -> model.HealthMonitor:
    path, host = monitor.url_path and "/x", monitor.domain_name and "x.example"
    service = monitor.grpc_service and "x"
    return dataclasses.replace(_nameless(monitor), url_path=path, domain_name=host, grpc_service=service)


def _policy(policy: model.L7Policy) -> model.L7Policy:
    url, prefix = policy.redirect_url and "http://x.example", policy.redirect_prefix and "http://x.example"
    return dataclasses.replace(_nameless(policy), redirect_url=url, redirect_prefix=prefix, fixed_response=_page(policy.fixed_response))


def _listener(listener: model.Listener) -> model.Listener:
    return dataclasses.replace(_nameless(listener), error_page=_page(listener.error_page))


def _page(page: Any) -> Any:
    return page and dataclasses.replace(page, content_type="text/x", body=page.body and "x")


def _rule(rule: model.L7Rule) -> model.L7Rule:
    value = "0" if rule.type == "SSL_VERIFY_RESULT" else _STRUCTURE.sub("x", rule.value)
    return dataclasses.replace(_nameless(rule), value=value, key=rule.key and "x")
