"""The JSON of a service's answer. Whoever reads what is not there, or not of the kind that it is read as, gets an error that says whose
answer it was: a gateway may have answered in the service's place, or one that speaks another version.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from controller.openstack import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be; of a list, what its elements are."""

    words: str
    types: tuple[type, ...]
    elements: type | None = None

    def fits(self, value: object) -> bool:
        """Whether it is of this kind."""
        if not isinstance(value, self.types):
            return False
        return self.elements is None or all(isinstance(one, self.elements) for one in value)  # type: ignore[attr-defined]


_TEXT, _NUMBER, _DOCUMENT = Kind("text", (str,)), Kind("a number", (int,)), Kind("an object", (dict,))
_TEXT_OR_NOTHING, _NUMBER_OR_NOTHING = Kind("text or null", (str, type(None))), Kind("a number or null", (int, type(None)))
_ROWS, _TEXTS = Kind("a list of objects", (list,), dict), Kind("a list of texts", (list,), str)
_PROTOCOL = Kind("text, a number or null", (str, int, type(None)))


def _all(kind: Kind, *names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, kind)


_COMPUTE = {
    **_all(_TEXT, "id", "name", "status", "created", "zoneName", "port_id"),
    **_all(_TEXT, "OS-EXT-STS:task_state", "OS-EXT-AZ:availability_zone", "figlina_amphora", "figlina_address", "figlina_image"),
    **_all(_TEXT, "figlina_flavor", "message"),
    **_all(_DOCUMENT, "server", "server_group", "metadata", "image", "fault"),
    "tags": _TEXTS,
}
_NETWORK = {
    **_all(_TEXT, "id", "name", "network_id", "subnet_id", "ip_address", "mac_address", "cidr", "device_id", "device_owner"),
    **_all(_TEXT, "destination", "nexthop", "ethertype", "direction", "floating_ip_address", "binding:vnic_type", "rel"),
    **_all(_TEXT_OR_NOTHING, "description", "project_id", "gateway_ip", "remote_ip_prefix", "qos_policy_id"),
    **_all(_TEXT_OR_NOTHING, "ipv6_ra_mode", "ipv6_address_mode", "remote_group_id", "remote_address_group_id"),
    **_all(_NUMBER, "mtu", "ip_version", "total_ips", "used_ips"),
    **_all(_NUMBER_OR_NOTHING, "port_range_min", "port_range_max"),
    "protocol": _PROTOCOL,
    **_all(_ROWS, "fixed_ips", "allowed_address_pairs", "host_routes", "security_group_rules", "subnet_ip_availability"),
    **_all(_TEXTS, "subnets", "security_groups"),
    **_all(_DOCUMENT, "network", "subnet", "port", "security_group", "policy", "network_ip_availability"),
}
_IMAGE = {"id": _TEXT}
_KEY_MANAGER = {**_all(_TEXT, "name", "secret_ref", "container_ref"), "secret_refs": _ROWS, "read": _DOCUMENT, "users": _TEXTS}
KINDS: Mapping[str, Mapping[str, Kind]] = {
    "compute": _COMPUTE,
    "network": _NETWORK,
    "image": _IMAGE,
    "key_manager": _KEY_MANAGER,
}
"""By service, the kinds of what drivers read, whatever document it is in. What is not here is only looked at for being there."""
_COLLECTIONS = {
    "compute": ("servers", "server_groups", "interfaceAttachments", "availabilityZoneInfo"),
    "network": ("networks", "subnets", "ports", "security_groups", "floatingips", "rbac_policies"),
    "image": ("images",),
}
"""The lists of documents that answers consist of: within documents, the same words may stand for something else."""
_WORDS: dict[type, str] = {list: "a list", str: "text", bool: "true or false", type(None): "null"}


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Whose answer it is: the service, the call with its request id, and the option that says where the service is."""

    service: str
    call: str
    option: str

    def lacks(self, words: str) -> errors.Unreadable:
        """The error that this answer is not what the service's API says."""
        return errors.Unreadable(self.call, words, self.option)


class Document(dict[str, Any]):
    """An object of an answer; `origin` tells which. `document[key]` has to be there, `get()` takes null for nothing."""

    origin: Origin
    is_whole = False
    """Whether it is the answer itself."""

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise self.origin.lacks(f"has no `{key}`{self._place()}")
        return self._checked(key, dict.get(self, key))

    def get(self, key: str, default: Any = None) -> Any:
        """What it has of that; the default, if that is null, or empty and of another kind (Nova's `image` is text where there is none)."""
        value, kind = dict.get(self, key), self._kind(key)
        if value is None or (kind is not None and not value and not kind.fits(value)):
            return default
        return self._checked(key, value)

    def _checked(self, key: str, value: Any) -> Any:
        kind = self._kind(key)
        if kind is not None and not kind.fits(value):
            has = "a list of others" if isinstance(value, kind.types) else _said(value)
            raise self.origin.lacks(f"has {has} as its `{key}`{self._place()}, and not {kind.words}")
        return value

    def _kind(self, key: str) -> Kind | None:
        service = self.origin.service
        if self.is_whole and (key in _COLLECTIONS.get(service, ()) or key.endswith("_links")):
            return _ROWS
        return KINDS.get(service, {}).get(key)

    def _place(self) -> str:
        return "" if self.is_whole else " in one of its objects"


def read(content: bytes, origin: Origin) -> Document:
    """The answer, empty if it says nothing.

    :raises Unreadable: it is no object; :raises ValueError, RecursionError: it is no JSON.
    """
    found = json.loads(content, object_hook=functools.partial(_document, origin)) if content else _document(origin, {})
    if not isinstance(found, Document):
        raise origin.lacks(f"is {_said(found)}, and not an object")
    found.is_whole = True
    return found


def _said(value: object) -> str:
    return "an object" if isinstance(value, dict) else _WORDS.get(type(value), "a number")


def _document(origin: Origin, values: dict[str, Any]) -> Document:
    made = Document(values)
    made.origin = origin
    return made
