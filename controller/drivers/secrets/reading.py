"""What of a secret store an amphora serves: looked at, written as HAProxy reads it, named by its hash."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent import futures
from typing import TypeVar

from cryptography import x509

from controller import deadlines, exceptions
from controller.drivers.secrets import bundles, interface
from controller.model.tls import Copy, Kind, Need

AT_ONCE = 8
"""Questions to the store that one request, or one push, asks side by side."""
_TO_WRITE = 0.5  # seconds that are left for the write of a request whose secrets were read
_What = TypeVar("_What", bound=Hashable)
_Answer = TypeVar("_Answer")


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """`certificates` are those of an authority, or the server's alone; lists of revocations have none."""

    content: bytes = dataclasses.field(repr=False)
    not_after: datetime.datetime | None
    certificates: tuple[x509.Certificate, ...] = ()
    revocations: tuple[x509.CertificateRevocationList, ...] = ()

    def copy(self, generation: int) -> Copy:
        """What is known of it, once it was read for that generation."""
        return Copy(name=f"{hashlib.sha256(self.content).hexdigest()}.pem", not_after=self.not_after, read_for=generation)


def read(store: interface.SecretStore, project_id: str, need: Need) -> Secret:
    """What a project's reference stands for.

    :raises NotFound: the project has no such secret.
    :raises InvalidRequest: it is none of that kind, or HAProxy could not use it.
    :raises Transient: the store did not answer.
    """
    if need.kind is Kind.BUNDLE:
        bundle = store.get_bundle(project_id, need.reference)
        own = bundles.check(bundle)
        return Secret(bundles.pem(bundle), own.not_valid_after_utc, certificates=(own,))
    found = store.get_secret(project_id, need.reference)
    if need.kind is Kind.AUTHORITIES:
        several = bundles.authorities(found)
        end = min(one.not_valid_after_utc for one in several)
        return Secret(bundles.authorities_pem(found), end, certificates=tuple(several))
    lists = bundles.revocations(found)
    ends = [one.next_update_utc for one in lists if one.next_update_utc is not None]
    return Secret(bundles.revocations_pem(found), min(ends, default=None), revocations=tuple(lists))


def each(wanted: Sequence[_What], ask: Callable[[_What], _Answer]) -> dict[_What, _Answer | exceptions.ControllerError]:
    """The answer or the error of each question. The first is asked alone, so one that is away is asked once; the others side by side.

    Once one has no answer (Transient), no other is begun: those that are left have the same error.

    :raises Transient: the time of this thread's request is over.
    """
    away: list[exceptions.ControllerError] = []

    def one(what: _What) -> _Answer | exceptions.ControllerError:
        if away:
            return away[0]
        try:
            return ask(what)
        except exceptions.Transient as exc:
            away.append(exc)
            return exc
        except exceptions.ControllerError as exc:
            return exc

    found = {what: one(what) for what in wanted[:1]}
    if wanted[1:]:
        found |= _side_by_side(wanted[1:], one)
    if (wanted and not deadlines.left(1.0)) or len(found) < len(wanted):
        told = sum(not isinstance(answer, exceptions.ControllerError) for answer in found.values())
        raise exceptions.Transient(
            f"The secret store took too long: it gave {told} of {len(wanted)} secrets in the time that a request has; nothing was changed. "
            "Name fewer new ones in one request (what a listener names already is not read by its update), or tell the operator."
        )
    return found


def _side_by_side(wanted: Sequence[_What], ask: Callable[[_What], _Answer]) -> dict[_What, _Answer]:
    """The answers that come in time. Who waits no longer leaves a few questions behind, whose answers nobody gets."""
    threads = futures.ThreadPoolExecutor(min(AT_ONCE, len(wanted)), thread_name_prefix="secrets")
    try:
        asked = {what: threads.submit(ask, what) for what in wanted}
        done, _ = futures.wait(asked.values(), timeout=max(0.0, deadlines.left(threading.TIMEOUT_MAX) - _TO_WRITE))
        return {what: answer.result() for what, answer in asked.items() if answer in done}
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
