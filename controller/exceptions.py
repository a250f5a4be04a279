"""Every error that the controller raises on purpose. Facts are attributes; the message says what happened and what to do next."""

from __future__ import annotations


class ControllerError(Exception):
    """The root of all errors raised on purpose. `code` is a short stable word for events and faults."""

    code = "internal"

    @property
    def for_clients(self) -> str:
        """What a client is told: the message, unless it speaks of things (paths, commands) that are only the operator's."""
        return str(self)


class Transient(ControllerError):
    """A service did not answer or asked for patience; the same call may be repeated."""

    code = "transient"


class NotFound(ControllerError):
    """Something that was named does not exist."""

    code = "not_found"

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} not found.")
        self.kind = kind
        self.object_id = object_id


class Immutable(ControllerError):
    """A load balancer is being deleted (or, in strict mode, is changing) and takes no more changes."""

    code = "immutable"

    def __init__(self, load_balancer_id: str, provisioning_status: str) -> None:
        super().__init__(f"Invalid state {provisioning_status} of loadbalancer resource {load_balancer_id}")
        self.load_balancer_id = load_balancer_id
        self.provisioning_status = provisioning_status


class Conflict(ControllerError):
    """The request contradicts something that exists; the message names it."""

    code = "conflict"


class InvalidRequest(ControllerError):
    """The request can't be carried out as it is; the message names the field and the rule."""

    code = "invalid"


class SubnetFull(InvalidRequest):
    """A subnet has no address left for a port of ours."""

    code = "subnet_full"

    def __init__(self, subnet_id: str, cidr: str) -> None:
        super().__init__(f"Subnet {subnet_id} ({cidr}) has no free address left.")
        self.subnet_id = subnet_id


class NotSupported(ControllerError):
    """The provider can't do what was asked (answered with 501)."""

    code = "not_supported"


class QuotaExceeded(ControllerError):
    """The project, or the cloud's project of ours, may not have another one."""

    code = "quota"


class Forbidden(ControllerError):
    """The caller may not do this."""

    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("Policy does not allow this request to be performed.")


class StaleLease(ControllerError):
    """Another worker has taken the load balancer over; this one's writes no longer count."""

    code = "stale_lease"

    def __init__(self, load_balancer_id: str) -> None:
        super().__init__(f"the lease on load balancer {load_balancer_id} was taken by another worker")
        self.load_balancer_id = load_balancer_id


class StaleOrder(ControllerError):
    """What is outside has followed a newer order than this one. `token` and `generation` are what was seen there; 0: not the reason."""

    code = "stale_order"

    def __init__(self, who: str, token: int = 0, generation: int = 0) -> None:
        seen = [f"lease {token}"] * bool(token) + [f"generation {generation}"] * bool(generation)
        super().__init__(f"{who} has followed a newer order already ({', '.join(seen) or 'which one is not known'})")
        self.token = token
        self.generation = generation


class NotYet(ControllerError):
    """Something that a flow waits for has not happened yet: the flow suspends, and is woken or looks again."""

    code = "waiting"


class TimedOut(ControllerError):
    """What a flow waited for did not happen in time; the message says what it was."""

    code = "timeout"


class ComputeFault(ControllerError):
    """The compute service could not make the machine; the message holds its words."""

    code = "compute"


class AmphoraUnreachable(Transient):
    """The agent of an amphora did not answer in time."""

    code = "amphora_unreachable"

    def __init__(self, amphora_id: str, reason: str) -> None:
        super().__init__(f"amphora {amphora_id} did not answer: {reason}")
        self.amphora_id = amphora_id
        self.reason = reason


class AmphoraDistrusted(AmphoraUnreachable):
    """Somebody answers where the agent should be, and one side does not believe the other's certificate."""

    code = "amphora_distrusted"


class AmphoraRefused(ControllerError):
    """The agent answered, and refused what it was asked; the message holds its words."""

    code = "amphora_refused"

    def __init__(self, amphora_id: str, words: str) -> None:
        super().__init__(f"amphora {amphora_id} refused: {words}")
        self.amphora_id = amphora_id
        self.words = words


class AmphoraAhead(AmphoraRefused, StaleOrder):
    """The agent has followed a newer order, or runs a newer generation, and refused this one."""

    code = "stale_order"

    def __init__(self, amphora_id: str, token: int = 0, generation: int = 0) -> None:
        StaleOrder.__init__(self, f"amphora {amphora_id}", token, generation)
        self.amphora_id = amphora_id
        self.words = str(self)


class ConfigRefused(AmphoraRefused):
    """HAProxy or keepalived found an error in a configuration; what served before goes on serving."""

    code = "config_refused"


class ProgramFailed(AmphoraRefused):
    """HAProxy or keepalived in an amphora is missing, hangs or died, so that nobody could judge a configuration."""

    code = "program_failed"


class HostFault(ControllerError):
    """A machine of ours refused what it has to be able to do: no room on a disk, no right to a file."""

    code = "host"
    sentence = "the controller's own machine refused"


class UnsafeValue(ControllerError):
    """A string that would reach a configuration holds a character that could start another directive."""

    code = "unsafe_value"


class Misconfigured(ControllerError):
    """What an operator set up can't be worked with; the message names the file or option, and what to do."""

    code = "misconfigured"
