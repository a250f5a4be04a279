"""When an amphora's certificate is renewed, tried again, or its amphora replaced: pure. Times are seconds since the epoch.

Wall clocks decide here, because a certificate's end is a wall-clock time. A clock that jumps by minutes moves a renewal by as much, and a
renewal comes days before the end; whoever connects takes a certificate that has run out as a reason to renew it, not to replace anybody.
"""

from __future__ import annotations

import hashlib

RENEW_AFTER = 0.667
SPREAD = 0.1
"""Part of a lifetime over which renewals of amphorae that were made together are spread, ahead of the time that `renew_after` names."""
LONGEST_PAUSE = 3600.0
FIRST_PAUSE = 30.0
_REPLACED_AFTER = 3
_FEW = 5
_PART_OF_FLEET = 5


def renew_at(amphora_id: str, now: float, not_after: float, renew_after: float = RENEW_AFTER) -> float:
    """When a certificate that begins now is to be renewed: after a part of its lifetime, less a time that each amphora has of its own."""
    lifetime = max(0.0, not_after - now)
    return now + lifetime * max(0.0, renew_after - SPREAD * _fraction(amphora_id))


def pause(amphora_id: str, failures: int, first: float = FIRST_PAUSE) -> float:
    """Seconds until a renewal that failed so often in a row is tried again: doubled each time up to an hour, out of step with others."""
    longest = min(LONGEST_PAUSE, first * 2.0 ** min(max(0, failures - 1), 30))
    return float(longest * (0.5 + 0.5 * _fraction(f"{amphora_id}/{failures}")))


def is_to_be_replaced(failures: int, *, distrusted: bool, refused: bool, expired: bool) -> bool:
    """Whether trying on is in vain: one side does not believe the other, or the agent can't be told and its time is over.

    Silence is no reason: whether a silent amphora is dead is for the health manager to say.
    """
    return failures >= _REPLACED_AFTER and (distrusted or (refused and expired))


def is_our_own_fault(stuck: int, fleet: int) -> bool:
    """Whether so many amphorae can't be renewed that the fault is rather in our own clock or certificates: nobody is replaced for that."""
    return stuck > max(_FEW, fleet // _PART_OF_FLEET)


def _fraction(text: str) -> float:
    """From 0 to below 1, always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
