"""What clients of the compatible API parse, field by field: the type of each, and when it is null.

`faults()` holds an answer against this table at one of four moments of an object's life. A field that is missing, one that nobody expects,
a value of another type and a null in the wrong place are faults.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


class Stage(enum.Enum):
    """A moment at which a client reads an object."""

    CREATED = "the answer to its creation"
    ACTIVE = "read when it is ACTIVE"
    UPDATED = "the answer to a change"
    LISTED = "in a list when it is ACTIVE"


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?").fullmatch  # without a zone: Go's clients parse it with this layout
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_PROJECT = re.compile(r"[0-9a-f]{32}").fullmatch


def _matches(pattern: Callable[[str], object]) -> Check:
    return lambda value: isinstance(value, str) and pattern(value) is not None


def _is(*types: type) -> Check:
    return lambda value: type(value) in types  # `True` is no integer here


def _one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _each(check: Check) -> Check:
    return lambda value: type(value) is list and all(check(item) for item in value)


def _object(fields: Mapping[str, Check]) -> Check:
    return lambda value: type(value) is dict and value.keys() == fields.keys() and all(check(value[name]) for name, check in fields.items())


def _null(value: Any) -> bool:
    return value is None


_TEXT, _NUMBER, _SWITCH = _is(str), _is(int), _is(bool)
_WHEN, _UUID = _matches(_TIME), _matches(_ID)
_TEXTS = _each(_TEXT)
_REFERENCES = _each(_object({"id": _UUID}))
_WHOSE = {"project_id": _matches(_PROJECT), "tenant_id": _matches(_PROJECT)}
_OPERATING = _one_of("ONLINE", "OFFLINE", "DEGRADED", "ERROR", "DRAINING", "NO_MONITOR")
_STORED = {
    "id": _UUID,
    "name": _TEXT,
    "admin_state_up": _SWITCH,
    "created_at": _WHEN,
    "operating_status": _OPERATING,
    "tags": _TEXTS,
    **_WHOSE,
}
_PERSISTENCE = _object(
    {
        "type": _one_of("SOURCE_IP", "HTTP_COOKIE", "APP_COOKIE"),
        "cookie_name": _or_null(_TEXT),
        "persistence_timeout": _or_null(_NUMBER),
        "persistence_granularity": _or_null(_TEXT),
    }
)
_QUOTA = ("load_balancer", "loadbalancer", "listener", "pool", "member", "health_monitor", "healthmonitor", "l7policy", "l7rule")

FIELDS: Mapping[str, Mapping[str, Check]] = {
    "loadbalancer": {
        **_STORED,
        "additional_vips": _each(_object({"subnet_id": _UUID, "ip_address": _TEXT, "port_id": _UUID})),
        "availability_zone": _or_null(_TEXT),
        "description": _TEXT,
        "flavor_id": _or_null(_UUID),
        "listeners": _REFERENCES,
        "pools": _REFERENCES,
        "provider": _TEXT,
        "vip_address": _TEXT,
        "vip_network_id": _UUID,
        "vip_port_id": _UUID,
        "vip_qos_policy_id": _or_null(_UUID),
        "vip_sg_ids": _each(_UUID),
        "vip_subnet_id": _UUID,
        "vip_vnic_type": _one_of("normal", "direct"),
    },
    "listener": {
        **_STORED,
        "allowed_cidrs": _or_null(_TEXTS),
        "alpn_protocols": _or_null(_TEXTS),
        "client_authentication": _one_of("NONE", "OPTIONAL", "MANDATORY"),
        "client_ca_tls_container_ref": _or_null(_TEXT),
        "client_crl_container_ref": _or_null(_TEXT),
        "connection_limit": _NUMBER,
        "default_pool_id": _or_null(_UUID),
        "default_tls_container_ref": _or_null(_TEXT),
        "description": _TEXT,
        "hsts_include_subdomains": _SWITCH,
        "hsts_max_age": _or_null(_NUMBER),
        "hsts_preload": _SWITCH,
        "insert_headers": lambda value: type(value) is dict and all(map(_TEXT, value.values())),
        "l7policies": _REFERENCES,
        "loadbalancers": _REFERENCES,
        "protocol": _TEXT,
        "protocol_port": _NUMBER,
        "sni_container_refs": _TEXTS,
        "timeout_client_data": _NUMBER,
        "timeout_member_connect": _NUMBER,
        "timeout_member_data": _NUMBER,
        "timeout_tcp_inspect": _NUMBER,
        "tls_ciphers": _or_null(_TEXT),
        "tls_versions": _or_null(_TEXTS),
    },
    "pool": {
        **_STORED,
        "alpn_protocols": _or_null(_TEXTS),
        "ca_tls_container_ref": _or_null(_TEXT),
        "crl_container_ref": _or_null(_TEXT),
        "description": _TEXT,
        "healthmonitor_id": _UUID,
        "lb_algorithm": _TEXT,
        "listeners": _REFERENCES,
        "loadbalancers": _REFERENCES,
        "members": _REFERENCES,
        "protocol": _TEXT,
        "session_persistence": _or_null(_PERSISTENCE),
        "tls_ciphers": _or_null(_TEXT),
        "tls_container_ref": _or_null(_TEXT),
        "tls_enabled": _SWITCH,
        "tls_versions": _or_null(_TEXTS),
    },
    "member": {
        **_STORED,
        "address": _TEXT,
        "backup": _SWITCH,
        "monitor_address": _or_null(_TEXT),
        "monitor_port": _or_null(_NUMBER),
        "protocol_port": _NUMBER,
        "subnet_id": _or_null(_UUID),
        "vnic_type": _one_of("normal", "direct"),
        "weight": _NUMBER,
    },
    "healthmonitor": {
        **_STORED,
        "delay": _NUMBER,
        "domain_name": _or_null(_TEXT),
        "expected_codes": _or_null(_TEXT),
        "http_method": _or_null(_TEXT),
        "http_version": _or_null(_is(float)),
        "max_retries": _NUMBER,
        "max_retries_down": _NUMBER,
        "pools": _REFERENCES,
        "timeout": _NUMBER,
        "type": _TEXT,
        "url_path": _or_null(_TEXT),
    },
    "l7policy": {
        **_STORED,
        "action": _TEXT,
        "description": _TEXT,
        "listener_id": _UUID,
        "position": _NUMBER,
        "redirect_http_code": _or_null(_NUMBER),
        "redirect_pool_id": _or_null(_UUID),
        "redirect_prefix": _or_null(_TEXT),
        "redirect_url": _or_null(_TEXT),
        "rules": _REFERENCES,
    },
    "rule": {
        **{name: check for name, check in _STORED.items() if name != "name"},
        "compare_type": _TEXT,
        "invert": _SWITCH,
        "key": _or_null(_TEXT),
        "type": _TEXT,
        "value": _TEXT,
    },
    "amphora": {
        "id": _UUID,
        "loadbalancer_id": _or_null(_UUID),
        "compute_id": _TEXT,
        "lb_network_ip": _TEXT,
        "vrrp_ip": _TEXT,
        "ha_ip": _TEXT,
        "vrrp_port_id": _UUID,
        "ha_port_id": _UUID,
        "cert_expiration": _WHEN,
        "cert_busy": _SWITCH,
        "role": _or_null(_one_of("MASTER", "BACKUP", "STANDALONE")),
        "status": _TEXT,
        "vrrp_interface": _or_null(_TEXT),
        "vrrp_id": _or_null(_NUMBER),
        "vrrp_priority": _or_null(_NUMBER),
        "cached_zone": _or_null(_TEXT),
        "created_at": _WHEN,
        "updated_at": _WHEN,
        "image_id": _or_null(_TEXT),
        "compute_flavor": _or_null(_TEXT),
    },
    "flavorprofile": {"id": _UUID, "name": _TEXT, "provider_name": _TEXT, "flavor_data": _TEXT},
    "flavor": {"id": _UUID, "name": _TEXT, "description": _TEXT, "enabled": _SWITCH, "flavor_profile_id": _UUID},
    "quota": {**dict.fromkeys(_QUOTA, _NUMBER), **_WHOSE},
    "provider": {"name": _TEXT, "description": _TEXT},
}
"""Every field of an answer, by the word around the object. (What only newer clients ask for is in `ADDED`.)"""

ADDED = {"fault"}
"""Fields beside those of the compatible API that an answer may have; no client of it reads them."""
_ABSENT_UNTIL_THERE = {"healthmonitor_id"}
_SETTLED = {"provisioning_status": _one_of("ACTIVE")}
_MOVING = {"provisioning_status": _one_of("ACTIVE", "PENDING_CREATE", "PENDING_UPDATE")}
_BY_STAGE: Mapping[Stage, Mapping[str, Check]] = {
    Stage.CREATED: {"provisioning_status": _one_of("PENDING_CREATE"), "updated_at": _null},
    Stage.ACTIVE: {**_SETTLED, "updated_at": _WHEN},
    Stage.UPDATED: {**_MOVING, "updated_at": _WHEN},
    Stage.LISTED: {**_SETTLED, "updated_at": _WHEN},
}
"""What every stored object shows beside its own fields."""


def faults(noun: str, stage: Stage, told: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object in an answer, a sentence each; nothing is an empty list."""
    expected = dict(FIELDS[noun])
    if "operating_status" in expected:
        expected |= _BY_STAGE[stage]
    wrong = [f"{noun}.{name} is not there ({stage.value})" for name in expected.keys() - told.keys() - _ABSENT_UNTIL_THERE]
    wrong += [f"{noun}.{name} is not in the compatible API ({stage.value})" for name in told.keys() - expected.keys() - ADDED]
    wrong += [
        f"{noun}.{name} is {told[name]!r} ({stage.value})" for name, check in expected.items() if name in told and not check(told[name])
    ]
    return wrong
