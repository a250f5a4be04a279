"""Every error that the controller raises on purpose. Facts are attributes; the message says what happened and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controller.refusals import Refusal


class ControllerError(Exception):
    """The root of all errors raised on purpose. `code` is a short stable word: for events, faults, and whoever tells refusals apart."""

    code: str = "internal"

    @property
    def codes(self) -> Iterator[str]:
        """Its own code, then those of its classes, the nearest first: who has no word for the first of them may have one for the next."""
        yield self.code
        yield from (kind.code for kind in type(self).__mro__ if issubclass(kind, ControllerError))

    @property
    def for_clients(self) -> str:
        """What a client is told: the message, unless it speaks of things (paths, commands) that are only the operator's."""
        return str(self)


class Transient(ControllerError):
    """A service did not answer or asked for patience; the same call may be repeated."""

    code: str = Refusal.TRANSIENT


class NotFound(ControllerError):
    """Something that was named does not exist."""

    code = Refusal.NOT_FOUND

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} not found.")
        self.kind = kind
        self.object_id = object_id


class Immutable(ControllerError):
    """A load balancer is being deleted (or, in strict mode, is changing) and takes no more changes."""

    code = Refusal.IMMUTABLE

    def __init__(self, load_balancer_id: str, provisioning_status: str) -> None:
        super().__init__(f"Invalid state {provisioning_status} of loadbalancer resource {load_balancer_id}")


class Refused(ControllerError):
    """What was asked for is not done, for a reason that has a code of its own or the one of its class."""

    def __init__(self, sentence: str, code: Refusal | None = None) -> None:
        super().__init__(sentence)
        if code is not None:
            self.code = code


class Conflict(Refused):
    """The request contradicts something that exists; the message names it."""

    code = Refusal.CONFLICT


class ObjectImmutable(Conflict):
    """An object below a load balancer, or an amphora, takes no change in the state that it is in."""

    code = Refusal.OBJECT_IMMUTABLE

    def __init__(self, title: str, object_id: str) -> None:
        super().__init__(f"{title} {object_id} is immutable and cannot be updated.")


class AddressInUse(Conflict):
    """Somebody has the address that was asked for."""

    code = Refusal.ADDRESS_IN_USE


class InvalidRequest(Refused):
    """The request can't be carried out as it is; the message names the field and the rule."""

    code = Refusal.INVALID


class RuleBroken(InvalidRequest):
    """Fields that are good by themselves contradict each other, or what is there already. `detail` says how, for all kinds of clients."""

    code = Refusal.RULE_BROKEN

    @property
    def detail(self) -> str:
        """The sentence without the words that clients of the first API know it by."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"Validation failure: {self.detail}"


class NotAllowed(InvalidRequest):
    """The operator does not let tenants ask for this."""

    code = Refusal.NOT_ALLOWED

    def __init__(self, option: str, value: str) -> None:
        super().__init__(f"The selected {option} is not allowed in this deployment: {value}")


class UnknownReference(InvalidRequest):
    """A body names what nobody knows, which makes the body wrong: in the words of what was not found."""

    code = Refusal.UNKNOWN_REFERENCE

    def __init__(self, error: NotFound) -> None:
        codes = {"Subnet": Refusal.UNKNOWN_SUBNET, "Network": Refusal.UNKNOWN_NETWORK}
        super().__init__(str(error), code=codes.get(error.kind))
        self.kind = error.kind
        self.object_id = error.object_id


class AddressNotOnSubnet(InvalidRequest):
    """No host of a subnet can have the address that was asked for."""

    code = Refusal.ADDRESS_NOT_ON_SUBNET

    def __init__(self, address: str, subnet_id: str, cidr: str) -> None:
        super().__init__(f"The address {address} can't be used on subnet {subnet_id} ({cidr}).")


class SubnetFull(InvalidRequest):
    """A subnet has no address left for a port of ours."""

    code = Refusal.SUBNET_FULL

    def __init__(self, subnet_id: str, cidr: str) -> None:
        super().__init__(f"Subnet {subnet_id} ({cidr}) has no free address left.")


class NotSupported(Refused):
    """The provider can't do what was asked (answered with 501)."""

    code = Refusal.NOT_SUPPORTED


class QuotaExceeded(ControllerError):
    """The project, or the cloud's project of ours, may not have another one. `resources` are the titles of what is full."""

    code = Refusal.QUOTA

    def __init__(self, resources: Sequence[str]) -> None:
        super().__init__(f"Quota has been met for resources: {', '.join(resources)}")
        self.resources = tuple(resources)


class Forbidden(ControllerError):
    """The caller may not do this."""

    code = Refusal.FORBIDDEN

    def __init__(self) -> None:
        super().__init__("Policy does not allow this request to be performed.")


class StaleLease(Exception):
    """Another worker has taken the load balancer over; this one's writes no longer count. No ControllerError: who handles those and goes on
    must let this one pass.
    """

    def __init__(self, load_balancer_id: str) -> None:
        super().__init__(f"the lease on load balancer {load_balancer_id} was taken by another worker")


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
    """The agent of an amphora, `amphora_id`, did not answer in time.

    `is_there`: its machine took the connection all the same. `is_starting`: something answered there that it isn't ready yet.
    """

    code = "amphora_unreachable"
    is_there = False
    is_starting = False

    def __init__(self, amphora_id: str, reason: str) -> None:
        super().__init__(f"amphora {amphora_id} did not answer: {reason}")
        self.amphora_id = amphora_id
        self.reason = reason


class AmphoraDistrusted(AmphoraUnreachable):
    """Somebody answers where the agent should be, and one side does not believe the other's certificate."""

    code = "amphora_distrusted"


class AmphoraRefused(ControllerError):
    """The agent of an amphora, `amphora_id`, answered, and refused what it was asked; the message holds its words."""

    code = "amphora_refused"

    def __init__(self, amphora_id: str, words: str) -> None:
        super().__init__(f"amphora {amphora_id} refused: {words}")
        self.amphora_id = amphora_id


class AmphoraAhead(AmphoraRefused, StaleOrder):
    """The agent has followed a newer order, or runs a newer generation, and refused this one."""

    code = "stale_order"

    def __init__(self, amphora_id: str, token: int = 0, generation: int = 0) -> None:
        StaleOrder.__init__(self, f"amphora {amphora_id}", token, generation)
        self.amphora_id = amphora_id


class ConfigRefused(AmphoraRefused):
    """HAProxy or keepalived found an error in a configuration; what served before goes on serving."""

    code = "config_refused"


class ProgramFailed(AmphoraRefused):
    """HAProxy or keepalived in an amphora is missing, hangs or died, so that nobody could judge a configuration."""

    code = "program_failed"


class CardMissing(AmphoraRefused):
    """A network card that an amphora is to have did not appear in it: somebody unplugged it, or its machine has not seen it."""


class HostFault(ControllerError):
    """A machine of ours refused what it has to be able to do: no room on a disk, no right to a file, no descriptor left. It tells nothing
    of whoever was to be asked.
    """

    code = "host"
    sentence = "the controller's own machine refused"


class UnsafeValue(ControllerError):
    """A string that would reach a configuration holds a character that could start another directive."""

    code = Refusal.UNSAFE_VALUE


class Misconfigured(ControllerError):
    """What an operator set up can't be worked with; the message names the file or option, and what to do."""

    code = "misconfigured"
