"""What the kernel's packet filter has lost of what it was told.

The kernel lists rules in words of its own. So what it should say is not spelled here: a network namespace that nobody else sees, and that
is gone a moment later, is told the same script, and the two lists are compared.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from controller.embedded import filter_parts, linux, packet_filter
from controller.embedded.contents import Contents

_LIST = "nft --json --stateless list ruleset bridge"
_LEADS_TO = re.compile(r'"target": "(\w+)"')
_OF_EVERYBODY = frozenset(re.findall(r"^ +(?:chain|set|map) (\w+)", packet_filter.RULES, re.MULTILINE))
_LEARNED = frozenset(re.findall(r"^ +set (\w+) \{.*flags dynamic", packet_filter.RULES, re.MULTILINE))
"""Sets to which the kernel adds by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """The filter as the kernel lists it: the rules of each chain in their order, and the elements of each set or map."""

    chains: Mapping[str, list[str]]
    sets: Mapping[str, Mapping[str, str]]
    """By the name of a set: each element, and the interface that it speaks of."""
    reached: frozenset[str]
    """The chains with a hook, and those that a rule or a verdict map leads to."""

    @classmethod
    def parse(cls, text: str) -> Listing:
        """From `nft --json` (libnftables-json(5)); tables of others are passed over.

        :raises ValueError: it is not such a list.
        """
        chains: dict[str, list[str]] = {}
        sets: dict[str, dict[str, str]] = {}
        hooked: list[str] = []
        for entry in json.loads(text)["nftables"]:
            ((kind, found),) = entry.items()
            if found.get("table") != packet_filter.TABLE:
                continue
            if kind == "chain":
                hook = [f"{key} {found[key]}" for key in ("hook", "prio", "policy") if key in found]
                chains.setdefault(found["name"], hook)
                hooked += [found["name"]] if hook else []
            elif kind == "rule":
                chains.setdefault(found["chain"], []).append(_canonical(found["expr"]))
            elif kind in ("set", "map"):
                sets[found["name"]] = {_canonical(element): _interface(element) for element in found.get("elem", ())}
        return cls(chains, sets, frozenset(hooked).union(_LEADS_TO.findall(text)))


def wanted(host: linux.Host, contents: Contents) -> Listing:
    """What the kernel lists once it was told what the inventory says.

    :raises CommandFailed: with the words of nft.
    """
    script = packet_filter.whole_script(contents)
    return Listing.parse(host.run(["unshare", "--net", "--", "sh", "-c", f"nft -f - && {_LIST}"], script))


def present(host: linux.Host, namespace: str) -> Listing:
    """What the kernel lists.

    :raises CommandFailed: with the words of nft.
    """
    return Listing.parse(host.inside(namespace, _LIST.split()))


def lost(whole: Listing, there: Listing) -> set[str]:
    """The chains and sets that are missing, chains with other rules, and interfaces of which an element is missing, or one too many: that
    lets somebody in, or lets somebody speak for an address that is not theirs.

    What the kernel learns by itself, the answers that are waited for, comes and goes. Nor is a chain a loss that no packet reaches: of a
    group that no machine's port has yet the kernel need not know.
    """
    names = {name for name, rules in whole.chains.items() if name in whole.reached and there.chains.get(name) != rules}
    for name, elements in whole.sets.items():
        known = there.sets.get(name)
        if known is None:
            names.add(name)
        elif name not in _LEARNED:
            names |= {(elements.get(one) or known.get(one) or name) for one in elements.keys() ^ known.keys()}
    return names


def whose(contents: Contents, names: Iterable[str]) -> frozenset[str]:
    """The load balancers whose traffic these chains, sets and interfaces decide on."""
    plugs = contents.plugs("in service")
    served: dict[str, set[str]] = collections.defaultdict(set)
    owners: dict[str, set[str]] = collections.defaultdict(set)
    for plug in plugs:
        served[plug.port.device_id] |= {plug.load_balancer_id} if plug.load_balancer_id else set()
    for plug in plugs:
        cable = linux.cable_name(plug.id)
        for name in (cable, f"to_{cable}", f"from_{cable}", *(name for group in plug.groups for name in filter_parts.names_of(group))):
            owners[name] |= served[plug.port.device_id] if plug.kind else {plug.load_balancer_id or ""}
    everybody = frozenset().union(*owners.values())
    return frozenset().union(*(everybody if name in _OF_EVERYBODY else owners.get(name, ()) for name in names))


def _interface(element: Any) -> str:
    """The interface of an element, which is its first word; empty if it has none (members of groups)."""
    first = element
    while isinstance(first, list | dict):
        first = first[0] if isinstance(first, list) else first.get("concat", first.get("elem", ""))
    text = str(first)
    return text if text.startswith("tap") else ""


def _canonical(value: Any) -> str:
    return json.dumps(_sorted(value), sort_keys=True)


def _sorted(value: Any) -> Any:
    """The members of a nameless set have no order."""
    if isinstance(value, dict):
        return {key: sorted(map(_canonical, one)) if key == "set" and isinstance(one, list) else _sorted(one) for key, one in value.items()}
    return [_sorted(one) for one in value] if isinstance(value, list) else value
