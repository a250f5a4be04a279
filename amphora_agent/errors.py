"""Every error that the agent raises on purpose."""

from __future__ import annotations

from collections.abc import Sequence


class AgentError(Exception):
    """Base of the errors that are answered with a sentence."""


class ConfigRefused(AgentError):
    """HAProxy or keepalived refused a configuration; `details` is its own words."""

    def __init__(self, program: str, details: str) -> None:
        super().__init__(f"{program} refused the configuration; what served before goes on serving")
        self.details = details


class ProgramFailed(AgentError):
    """A program that was to judge or to serve is missing, hangs or died, without a word about the configuration."""

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"{program} {reason}; what served before goes on serving")


class StaleGeneration(AgentError):
    """A generation that is older than the one that runs."""

    def __init__(self, wanted: int, running: int) -> None:
        super().__init__(f"generation {wanted} is older than {running}, which runs")
        self.generation = running


class StaleOrder(AgentError):
    """An order by a lease that was lost: a newer one was followed already."""

    def __init__(self, token: int, seen: int) -> None:
        super().__init__(f"the order comes by lease {token}, and one by lease {seen} was followed already")
        self.lease_token = seen


class Occupied(AgentError):
    """The amphora serves another load balancer."""

    def __init__(self, load_balancer_id: str) -> None:
        super().__init__(f"this amphora serves load balancer {load_balancer_id}")


class MissingCertificates(AgentError):
    """Certificates that the wanted state names and that were never sent."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"{len(names)} certificates are missing: send them first")
        self.names = tuple(names)


class InterfaceMissing(AgentError):
    """No NIC with this MAC appeared in time."""

    def __init__(self, mac: str, seconds: float) -> None:
        super().__init__(f"no interface with MAC {mac} appeared within {seconds:g} seconds")


class SettingRefused(AgentError):
    """The kernel did not take a setting of a NIC; `setting` is the line of ip(8) that asked for it."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"the kernel refuses `{setting}`: {reason}; see whether the MTU, addresses and routes of its network fit together")
        self.setting = setting


class InvalidIdentity(AgentError):
    """A certificate, its key and roots that no agent could serve with; `reason` is OpenSSL's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the agent can't serve with this certificate, key and roots, and keeps its own: {reason}")
