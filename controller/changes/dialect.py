"""What the clients of an API may not combine, beside the rules for all."""

from __future__ import annotations

from collections.abc import Collection


class Dialect:
    """The rules for all are those of the Octavia API: it adds nothing. Other APIs override what they have otherwise."""

    def check_port(self, load_balancer_id: str, port: int, taken: Collection[str]) -> None:
        """A new listener may have the port, which listeners of the protocols `taken` have already.

        :raises ControllerError: it may not.
        """

    def check_pair(self, pool_protocol: str, listener_protocol: str) -> None:
        """A pool of one protocol may be the default pool of a listener of another one.

        :raises ControllerError: it may not.
        """

    def check_times(self, delay: int, timeout: int) -> None:
        """A health monitor may ask in such intervals, and wait so long for an answer.

        :raises ControllerError: it may not.
        """


OCTAVIA = Dialect()
