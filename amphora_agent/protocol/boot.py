"""The boot configuration: what a fresh amphora finds on its disk (or config drive), and starts from.

The controller has these files put into the machine: `CONFIG_PATH` (this, as JSON), `SERVER_PEM_PATH` (the agent's certificate and key),
`CLIENT_ROOTS_PATH` (whom it trusts) and `CLIENT_NAMES_PATH` (a JSON array of names, of which a controller's certificate must bear one). The
agent finds the others beside the first, wherever that lies.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

CONFIG_PATH = "/etc/figlina/agent.json"
SERVER_PEM_PATH = "/etc/figlina/certs/server.pem"
CLIENT_ROOTS_PATH = "/etc/figlina/certs/client_roots.pem"
CLIENT_NAMES_PATH = "/etc/figlina/certs/client_names.json"
SSH_HOST_KEY_PATH = "/etc/figlina/ssh_host_key"
"""A private key in OpenSSH's format: without it, a machine lets nobody log in, whatever keys the compute service names."""
BOOT_NETWORKS_PATH = "/etc/figlina/boot_networks.json"
"""A JSON array with the ids of networks on which a machine has a card besides, which is the operator's, and no tenant's."""
MOST_HEALTH_MANAGERS = 64
MOST = 2_000_000
"""Seconds, processes or MiB that a limit of HAProxy may be."""
TENANT_NAMESPACE = "haproxy"
"""The network namespace inside an amphora that holds the tenant's NICs, HAProxy and keepalived."""


_ADDED = frozenset({"counters_interval", "hard_stop_after", "max_former_workers", "memory_reserve"})
"""Fields that came later, which an older controller does not name, and an older agent does not know."""
_NEEDED = ("heartbeat_interval", "full_report_interval")
_KINDS: Mapping[str, Callable[[Any], Any]] = {"float": float, "int": int}
"""By the annotations of fields: what reads their values of JSON; others are taken as they are."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What of the boot configuration can change while the agent runs: to whom it reports, with which key, and how often.

    Times in seconds. `health_managers` are (address, UDP port); `heartbeat_key` is this amphora's own key, hex. The last three are
    `haproxy.Limits` of the agent; `memory_reserve` in MiB.
    """

    health_managers: tuple[tuple[str, int], ...]
    heartbeat_key: str = dataclasses.field(repr=False)
    heartbeat_interval: float = 10.0
    full_report_interval: float = 60.0
    counters_interval: float = 8.0
    hard_stop_after: int = 0
    max_former_workers: int = 0
    memory_reserve: int = 64
    TITLE: ClassVar = "an agent's configuration"

    def __post_init__(self) -> None:
        """:raises ValueError: an agent could not live by it."""
        if not self.health_managers:
            raise ValueError("health_managers is empty")
        if len(self.health_managers) > MOST_HEALTH_MANAGERS:
            raise ValueError(f"health_managers has more than {MOST_HEALTH_MANAGERS}")
        for address, port in self.health_managers:
            ipaddress.ip_address(address)
            if not 0 < port < 65536:
                raise ValueError(f"health_managers: {port} is no port")
        if len(bytes.fromhex(self.heartbeat_key)) < 16:
            raise ValueError("heartbeat_key is too short")
        for name in ("heartbeat_interval", "full_report_interval", "counters_interval"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is no time")
        for name in ("hard_stop_after", "max_former_workers", "memory_reserve"):
            if not 0 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name} is not a number from 0 to {MOST}")

    def dump(self) -> bytes:
        """As the body of a request."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read what `dump` wrote; fields that this version does not know are passed over.

        :raises ValueError: it is no such configuration; the message names the field.
        """
        try:
            data = json.loads(content)
            data["health_managers"] = tuple((str(address), int(port)) for address, port in data["health_managers"])
            known = [field for field in dataclasses.fields(cls) if field.name in data or field.name in _NEEDED]
            return cls(**{field.name: _KINDS.get(str(field.type), lambda value: value)(data[field.name]) for field in known})
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
            raise ValueError(f"not {cls.TITLE}: {exc}") from exc


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an agent is, and whom it trusts (PEM); a controller's certificate must bear one of `client_names` (DNS), if there are any."""

    server_pem: str = dataclasses.field(repr=False)  # the certificate, then its key
    client_roots: str
    client_names: tuple[str, ...] = ()

    def dump(self) -> bytes:
        """As the body of a request."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def parse(cls, content: bytes) -> Identity:
        """Read what `dump` wrote; fields that this version does not know are passed over.

        :raises ValueError: it is none; the message names the field.
        """
        try:
            data = json.loads(content)
            return cls(
                server_pem=_text(data["server_pem"], "server_pem"),
                client_roots=_text(data["client_roots"], "client_roots"),
                client_names=tuple(_text(name, "client_names") for name in data.get("client_names", ())),
            )
        except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as exc:
            raise ValueError(f"not an agent's identity: {exc}") from exc


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BootConfig(AgentConfig):
    """All that an amphora starts from."""

    amphora_id: str
    management_address: str  # CIDR notation
    management_mac: str
    management_mtu: int
    management_gateway: str | None = None
    agent_port: int = 9443
    haproxy_command: str = "haproxy"
    keepalived_command: str = "keepalived"
    TITLE: ClassVar = "a boot configuration"

    @property
    def agent(self) -> AgentConfig:
        """What of it can change."""
        return AgentConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(AgentConfig)})

    def dump(self) -> bytes:
        """As the content of `CONFIG_PATH`. A field that an older agent does not know stands there only if it says something."""
        usual = {field.name: field.default for field in dataclasses.fields(self) if field.name in _ADDED}
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in usual or value != usual[name]}
        return json.dumps(values, indent=1, sort_keys=True).encode()


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value
