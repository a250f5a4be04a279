"""What a fresh amphora finds on its disk when it starts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from amphora_agent.protocol import boot, heartbeat


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ManagementNic:
    """The management port of an amphora; `address` in CIDR notation."""

    address: str
    mac: str
    mtu: int
    gateway: str | None = None


_NO_LIMITS: Mapping[str, int] = {}


def config(
    amphora_id: str,
    nic: ManagementNic,
    *,
    agent_port: int = 9443,
    haproxy_command: str = "haproxy",
    keepalived_command: str = "keepalived",
    **agent: Any,
) -> boot.BootConfig:
    """The boot configuration of one amphora, whose agent lives by what `agent_config()` takes."""
    return boot.BootConfig(
        amphora_id=amphora_id,
        management_address=nic.address,
        management_mac=nic.mac,
        management_mtu=nic.mtu,
        management_gateway=nic.gateway,
        agent_port=agent_port,
        haproxy_command=haproxy_command,
        keepalived_command=keepalived_command,
        **dataclasses.asdict(agent_config(amphora_id, **agent)),
    )


def agent_config(
    amphora_id: str,
    *,
    health_managers: Sequence[tuple[str, int]],
    deployment_key: bytes,
    limits: Mapping[str, int] = _NO_LIMITS,
    **intervals: float,
) -> boot.AgentConfig:
    """What an agent lives by, with its own heartbeat key made from the deployment's.

    :raises ValueError: no agent could live by it.
    """
    key = heartbeat.derive_key(deployment_key, amphora_id).hex()
    return boot.AgentConfig(health_managers=tuple(health_managers), heartbeat_key=key, **intervals, **limits)  # type: ignore[arg-type]


def ssh_host_key(deployment_key: bytes, amphora_id: str) -> tuple[bytes, str]:
    """An amphora's SSH host key, made from the deployment's: the private key in OpenSSH's format, and the line of a `known_hosts` file."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(heartbeat.derive_key(deployment_key, f"ssh {amphora_id}"))
    coding = serialization.Encoding
    public = key.public_key().public_bytes(coding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return key.private_bytes(coding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()), public


def files(boot_config: boot.BootConfig, server_pem: bytes, client_roots: bytes, client_names: Sequence[str] = ()) -> Mapping[str, bytes]:
    """Absolute path inside the machine -> content: the boot configuration, the agent's certificate with its key, whom the agent trusts."""
    return {
        boot.CONFIG_PATH: boot_config.dump(),
        boot.SERVER_PEM_PATH: server_pem,
        boot.CLIENT_ROOTS_PATH: client_roots,
        boot.CLIENT_NAMES_PATH: json.dumps(list(client_names)).encode(),
    }
