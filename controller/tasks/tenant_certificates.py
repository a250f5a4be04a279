"""What a push needs of the secret store: read once, kept encrypted, and decrypted only for an amphora that lacks it.

Nothing of it reaches a job, a flow's record, a log or a fault: these know references and hashes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from controller import exceptions, jobs
from controller.db import database
from controller.drivers.secrets import cipher, interface, reading
from controller.model import load_balancer as model
from controller.model.tls import Copy, Lack, Need
from controller.render import tls

LOG = logging.getLogger(__name__)
NOT_READ = "certificate_not_read"
_REST = 10
"""So many times as long as a question took without an answer, the store is not asked again."""
_LONGEST_REST = 120.0
"""Seconds of such a rest at most."""
_HANGS = 1.0
"""Seconds from which on a question without an answer costs so much that the store rests; one that refuses at once is asked each time."""
_SEVERAL = 3
"""After so many projects that had no answer, and none that had one, it is the store that does not answer, and no tenant's own reference."""

_TO_DO = "It is taken up once it can be read: look at it, or name another one"
_LOG = "load_balancer"
"""The word of whoever has an access log."""
_NOT_SERVED = {"listener": "it is not served", "pool": "it is not served", _LOG: "its access log is not sent"}


@dataclasses.dataclass(frozen=True, slots=True)
class Material:
    """The hashes of what a snapshot needs, and the contents, by name, for whoever lacks them."""

    names: Mapping[Need, str] = dataclasses.field(default_factory=dict)
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)


NOTHING = Material()


class Keeper:
    """Reads the secret store for what is new or was asked for again, and keeps copies. `store` and `cipher` are made when first needed.

    With `reads_anew` False, what has a copy is not read again, nor what only those lack who are left out for it already: whoever replaces
    an amphora can't wait for a store that hangs.
    """

    def __init__(
        self,
        db: database.Database,
        store: Callable[[], interface.SecretStore],
        cipher_of: Callable[[], cipher.Cipher],
        *,
        reads_anew: bool = True,
    ) -> None:
        self._db = db
        self._store = store
        self._cipher = cipher_of
        self._reads_anew = reads_anew
        self.left_out: dict[tuple[str, str], tuple[model.Fault, Lack]] = {}  # by word and id, what was last gathered not as it is asked for
        self._instead: dict[str, Any] = {}  # by id, what takes its place: one of its kind, or None
        self.was_left_out = False  # something, by what is written down
        self._untold: tuple[str, ...] = ()  # references of which the store does not know yet that they are used

    def gather(self, snapshot: model.Snapshot, lease: jobs.Lease) -> Material:
        """What this snapshot needs; what was named by a request is a copy from then. Where the store is away or refuses what is to be read
        anew, the copy of before serves on; a store that is away is asked once.

        What has no copy and can't be read is in nobody's way: who was changed to it goes on with what was served before, if that has
        copies; if not, or if they serve nobody yet, listeners and pools are left out. They are `left_out`, either way.

        :raises Transient: the store did not answer, there is no copy, and somebody is served who needs it, and needed it before.
        :raises InvalidRequest, NotFound: the same, where what the store has can't be used.
        :raises StaleLease: another worker took the load balancer over.
        """
        told = {child: lack for (_, child), (_, lack) in self.left_out.items()}  # by an earlier step of the same flow
        self.left_out, self._instead, self.was_left_out = {}, {}, False
        wanted = tls.needs(snapshot)
        if not wanted:
            return NOTHING
        load_balancer_id = snapshot.load_balancer.id
        with self._db.read() as tx:
            known = dict(tx.tenant_certificates.of(load_balancer_id))
            recorded = tx.faults.left_out(load_balancer_id)
        self.was_left_out = bool(recorded)
        told = {} if self._reads_anew else {child: lack for child, lack in recorded.items() if lack is not None} | told
        missing = frozenset(need for need in wanted if need not in known)
        asked = frozenset(_untold_of(snapshot, missing, told)) if told else missing
        stale = [need for need in wanted if need in known and known[need].is_stale and self._reads_anew]
        read: dict[Need, tuple[Copy, bytes]] = {}
        unread = {need: exceptions.ControllerError(f"{need.reference} was not asked for again") for need in missing - asked}
        try:
            wanted_anew = (*sorted(asked), *sorted(stale))  # what there is no copy of comes first
            answers = reading.each(wanted_anew, functools.partial(self._read, snapshot))
            read = {need: answer for need, answer in answers.items() if not isinstance(answer, exceptions.ControllerError)}
            for need, answer in answers.items():
                if need not in known and isinstance(answer, exceptions.ControllerError):
                    unread[need] = answer
            self._tell_of(load_balancer_id, answers, known, lease)
        finally:
            known |= self._keep(snapshot, read, lease)
        if unread:
            self._do_without(snapshot, unread, known, told)
            wanted = tls.needs(self.served(snapshot))
        applied = snapshot.load_balancer.applied_generation
        new = (need.reference for need in wanted if known[need].read_for > applied and not known[need].is_registered)
        self._untold = tuple(dict.fromkeys(sorted(new)))
        names = {need: known[need].name for need in wanted}
        return Material(names, _Contents(self, snapshot, names, lease))

    def served(self, snapshot: model.Snapshot) -> model.Snapshot:
        """The same as it can be served with what was gathered."""
        if not self._instead:
            return snapshot
        return dataclasses.replace(
            snapshot,
            load_balancer=self._instead.get(snapshot.load_balancer.id, snapshot.load_balancer),
            listeners=tuple(one for kept in snapshot.listeners if (one := self._instead.get(kept.id, kept)) is not None),
            pools=tuple(one for kept in snapshot.pools if (one := self._instead.get(kept.id, kept)) is not None),
        )

    def _do_without(
        self,
        snapshot: model.Snapshot,
        unread: Mapping[Need, exceptions.ControllerError],
        known: Collection[Need],
        told: Mapping[str, Lack],
    ) -> None:
        """Settle what takes the place of everybody who needs what could not be read: what it was before its change, or nothing. Who lacks
        what is `told` of it, does so for the reason that was told.

        :raises ControllerError: a listener or a pool that serves was not changed to it, so it must not be taken away.
        """
        lacking = {(_word(one), one.id): (one, need) for one, need in tls.lacking(snapshot, unread)}
        with self._db.read() as tx:
            new = tx.settlement.new([whose for whose in lacking if whose[0] != _LOG])
            former = tx.served_before.of(snapshot.load_balancer.id)
        for (word, child), (one, need) in lacking.items():
            before = former.get(child)
            if before is None and word != _LOG and (word, child) not in new:
                raise unread[need]
            goes_on = before is not None and before.admin_state_up and tls.needs_of(before) <= set(known)
            self._instead[child] = _instead(one, before if goes_on else None)
            what = "it is served as it was before its change" if goes_on else _NOT_SERVED[word]
            LOG.warning("load balancer %s: %s %s: %s: %s", snapshot.load_balancer.id, word, child, what, unread[need])
            lack = told.get(child)
            if lack is None or lack.need != need:
                lack = Lack(need, _reason(unread[need]))
            words = f"{what}, because {need.reference} was never read: {lack.reason}. {_TO_DO}"
            self.left_out[word, child] = model.Fault(code=model.LEFT_OUT, message=words), lack

    def encrypted(self, load_balancer_id: str, names: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of copies, by their names."""
        with self._db.read() as tx:
            return tx.tenant_certificates.contents(load_balancer_id, frozenset(names))

    def opened(self, content: bytes) -> bytes | None:
        """What a copy holds; None if it was made with a key that we have not."""
        try:
            return self._cipher().decrypt(content)
        except cipher.Broken:
            return None

    def replaced(self, snapshot: model.Snapshot, needs: Iterable[Need], lease: jobs.Lease) -> Mapping[str, bytes]:
        """Read again what can't be opened, and keep it with our own key; the encrypted contents, by their names.

        :raises Transient: the store does not answer; it is tried again.
        :raises Misconfigured: the store does not give it.
        """
        try:
            read = {need: self._read(snapshot, need) for need in needs}
        except exceptions.Transient:
            raise
        except exceptions.ControllerError as exc:
            raise exceptions.Misconfigured(
                "A copy of a tenant's certificate can't be opened with any of our keys, and the secret store does not give it anew: put "
                f"the key back that the copy was made with ({exc})"
            ) from exc
        self._keep(snapshot, read, lease)
        return {copy.name: content for copy, content in read.values()}

    def register(self, load_balancer_id: str) -> None:
        """Tell the store of what was gathered that is new; while the store is away, housekeeping comes back to it."""
        answers = reading.each(self._untold, lambda reference: self._store().register(reference, load_balancer_id))
        told = [reference for reference, answer in answers.items() if answer is None]
        for reference, answer in answers.items():
            if answer is not None:
                LOG.warning("load balancer %s: the secret store was not told that %s is used: %s", load_balancer_id, reference, answer)
                break
        self._untold = ()
        if told:
            with self._db.begin() as tx:
                tx.tenant_certificates.mark_registered(load_balancer_id, told)

    def _read(self, snapshot: model.Snapshot, need: Need) -> tuple[Copy, bytes]:
        """The copy and its encrypted content."""
        load_balancer = snapshot.load_balancer
        secret = _asked(self._store(), load_balancer.project_id, need)
        read = secret.copy(snapshot.generation)
        LOG.info("load balancer %s: %s was read as %s %s", load_balancer.id, need.reference, need.kind, read.name)
        return read, self._cipher().encrypt(secret.content)

    def _keep(self, snapshot: model.Snapshot, read: Mapping[Need, tuple[Copy, bytes]], lease: jobs.Lease) -> Mapping[Need, Copy]:
        """What there is of it then: a request may have read later than we."""
        if not read:
            return {}
        with self._db.begin(lease) as tx:
            tx.tenant_certificates.keep(snapshot.load_balancer.id, read, since=snapshot.generation)
            tx.tenant_certificates.tell_ends(snapshot.load_balancer.id)
            known = tx.tenant_certificates.of(snapshot.load_balancer.id)
        return {need: known[need] for need in read}

    def _tell_of(
        self,
        load_balancer_id: str,
        answers: Mapping[Need, tuple[Copy, bytes] | exceptions.ControllerError],
        known: Collection[Need],
        lease: jobs.Lease,
    ) -> None:
        """Of each copy that serves on; of a store that is away once."""
        is_away = False
        for need, answer in answers.items():
            is_new = not (isinstance(answer, exceptions.Transient) and is_away)
            is_away = is_away or isinstance(answer, exceptions.Transient)
            if need in known and isinstance(answer, exceptions.ControllerError) and is_new:
                self._tell(load_balancer_id, need, answer, lease)

    def _tell(self, load_balancer_id: str, need: Need, error: exceptions.ControllerError, lease: jobs.Lease) -> None:
        """An event, once; what is wrong on our side is no tenant's business."""
        LOG.warning("load balancer %s: %s can't be read anew, its copy serves on: %s", load_balancer_id, need.reference, error)
        said = f"{need.reference} can't be read anew, what was read before serves on: {_reason(error)}"
        event = model.Fault(code=NOT_READ, message=said)
        with self._db.begin(lease) as tx:
            tx.faults.add_news(load_balancer_id, "load_balancer", load_balancer_id, event, among=100)


def _asked(store: interface.SecretStore, project_id: str, need: Need) -> reading.Secret:
    """What the store has. One that hangs is left alone for a while, so that it takes a tenth of a worker's time at most.

    :raises Transient: it did not answer, or not a moment ago; :raises NotFound, InvalidRequest: what it has can't be used.
    """
    rests = _rests.setdefault(store, _Rests())
    began = time.monotonic()
    if rests.is_left_alone(project_id, began):
        raise exceptions.Transient("The secret store did not answer a moment ago, and is asked again soon.")
    try:
        found = reading.read(store, project_id, need)
    except exceptions.Transient:
        rests.unanswered(project_id, began, time.monotonic())
        raise
    except (exceptions.NotFound, exceptions.InvalidRequest):
        rests.answered()
        raise
    rests.answered()
    return found


class _Rests:
    """Until when a store is left alone, by the monotonic clock: for each project by itself, for a reference that can't be answered is no
    trouble of other tenants'; and for all once several projects had no answer. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}  # by project
        self._until_for_all = 0.0
        self._silent: set[str] = set()  # the projects that had no answer since anybody had one

    def is_left_alone(self, project_id: str, now: float) -> bool:
        with self._lock:
            return now < max(self._until_for_all, self._until.get(project_id, 0.0))

    def unanswered(self, project_id: str, began: float, now: float) -> None:
        if now - began < _HANGS:
            return
        end = now + min(_LONGEST_REST, _REST * (now - began))
        with self._lock:
            self._until = {project: until for project, until in self._until.items() if until > now} | {project_id: end}
            self._silent.add(project_id)
            if len(self._silent) >= _SEVERAL:
                self._until_for_all = end

    def answered(self) -> None:
        with self._lock:
            self._silent.clear()
            self._until_for_all = 0.0


_rests: weakref.WeakKeyDictionary[interface.SecretStore, _Rests] = weakref.WeakKeyDictionary()


def _word(one: model.NamesSecrets) -> str:
    return "listener" if isinstance(one, model.Listener) else "pool" if isinstance(one, model.Pool) else _LOG


def _instead(one: model.NamesSecrets, before: model.NamesSecrets | None) -> model.NamesSecrets | None:
    """What takes its place, if this is what it was; of a load balancer the secret is needed for its access log alone."""
    if not isinstance(one, model.LoadBalancer):
        return before
    return dataclasses.replace(one, access_log=before.access_log if isinstance(before, model.LoadBalancer) else None)


def _untold_of(snapshot: model.Snapshot, missing: Collection[Need], told: Mapping[str, Lack]) -> Iterator[Need]:
    """What of this is needed by others than those that are left out for it, as it is `told` of them."""
    for one, first in tls.lacking(snapshot, missing):
        if (lack := told.get(one.id)) is None or lack.need != first:
            yield from (need for need in tls.needs_of(one) if need in missing)


def _reason(error: exceptions.ControllerError) -> str:
    match error:
        case exceptions.NotFound() | exceptions.InvalidRequest():
            return str(error)
        case exceptions.Transient():
            return "the secret store does not answer"  # its own words are others each time
        case _:
            return "the secret store can't be used now"


class _Contents(Mapping[str, bytes]):
    """Read when somebody asks, and decrypted one by one; whoever asks for nothing has nothing decrypted. Threads share it."""

    def __init__(self, keeper: Keeper, snapshot: model.Snapshot, names: Mapping[Need, str], lease: jobs.Lease) -> None:
        self._keeper = keeper
        self._snapshot = snapshot
        self._needs = names
        self._names = frozenset(names.values())
        self._lease = lease
        self._lock = threading.Lock()
        self._encrypted: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        with self._lock:
            if not self._encrypted:
                self._encrypted.update(self._keeper.encrypted(self._snapshot.load_balancer.id, self._names))
            content = self._keeper.opened(self._there(name))
            if content is None:  # such as one of a process that was told of a new key first
                LOG.warning("load balancer %s: the copy %s was made with no key of ours: read anew", self._snapshot.load_balancer.id, name)
                del self._encrypted[name]
                needs = [need for need, one in self._needs.items() if one == name]
                self._encrypted.update(self._keeper.replaced(self._snapshot, needs, self._lease))
                content = self._keeper.opened(self._there(name))
        assert content is not None, "we have just encrypted it"
        return content

    def _there(self, name: str) -> bytes:
        content = self._encrypted.get(name)
        if content is None:
            raise exceptions.Transient("A tenant's certificate was read anew, or forgotten, while it was to be sent; it is tried again.")
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
