"""Why something was refused: one stable code for each reason, carried by the error beside its sentence.

Whoever has to tell refusals apart asks for the code, so that a sentence can be made better at any time. `api/errors.py` and
`api/lbaasv2/errors.py` say what each code is for their clients: a status, and the name of a type.
"""

from __future__ import annotations

import enum


class Refusal(enum.StrEnum):
    """The first nine are whole classes of `exceptions`; the others are the reasons that somebody tells apart."""

    TRANSIENT = "transient"
    NOT_FOUND = "not_found"
    IMMUTABLE = "immutable"
    CONFLICT = "conflict"
    INVALID = "invalid"
    NOT_SUPPORTED = "not_supported"
    QUOTA = "quota"
    FORBIDDEN = "forbidden"
    UNSAFE_VALUE = "unsafe_value"

    MALFORMED_BODY = "malformed_body"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_FIELD = "invalid_field"
    RULE_BROKEN = "rule_broken"
    """Fields that are good by themselves contradict each other, or what is there already."""
    NOT_ALLOWED = "not_allowed"
    """The operator does not let tenants ask for this."""
    PROVIDER_NOT_ENABLED = "provider_not_enabled"
    UNKNOWN_REFERENCE = "unknown_reference"
    """A body names something that nobody knows, or that the caller does not see."""
    UNKNOWN_SUBNET = "unknown_subnet"
    UNKNOWN_NETWORK = "unknown_network"
    UNREADABLE_CERTIFICATE = "unreadable_certificate"
    VIP_CONTRADICTION = "vip_contradiction"
    """The parts of a body that say where the VIP shall be do not fit together."""
    ADDRESS_IN_USE = "address_in_use"
    ADDRESS_NOT_ON_SUBNET = "address_not_on_subnet"
    SUBNET_FULL = "subnet_full"
    NOT_A_SERVER = "not_a_server"
    """No member can be at this address."""

    OBJECT_IMMUTABLE = "object_immutable"
    HAS_CHILDREN = "has_children"
    PORT_IN_USE = "port_in_use"
    """Another listener of the load balancer has the protocol's port."""
    DEFAULT_POOL_EXISTS = "default_pool_exists"
    POOL_IN_USE = "pool_in_use"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    """This pool can't serve that listener."""
    MEMBER_EXISTS = "member_exists"
    MEMBER_REPEATED = "member_repeated"
    MONITOR_EXISTS = "monitor_exists"
    SESSION_PERSISTENCE = "session_persistence"
    TLS_CONTAINER_MISSING = "tls_container_missing"
    L7POLICY_TARGET_MISSING = "l7policy_target_missing"
    TOO_MANY_L7RULES = "too_many_l7rules"
    L7RULE_COMPARE_TYPE = "l7rule_compare_type"
    L7RULE_KEY_MISSING = "l7rule_key_missing"
    L7RULE_KEY_INVALID = "l7rule_key_invalid"
    L7RULE_KEY_UNUSED = "l7rule_key_unused"
    L7RULE_REGEX = "l7rule_regex"
    L7RULE_VALUE = "l7rule_value"
    OFFERING_IN_USE = "offering_in_use"
    """A flavor, an availability zone or a profile of one that something uses."""
    NAME_EXISTS = "name_exists"
