"""What a push needs of the secret store: read once, kept encrypted, and decrypted only for an amphora that lacks it.

Nothing of it reaches a job, a flow's record, a log or a fault: these know references and hashes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping

from controller import exceptions, jobs
from controller.db import database
from controller.drivers.secrets import cipher, interface, reading
from controller.model import load_balancer as model
from controller.model.tls import Copy, Need
from controller.render import tls

LOG = logging.getLogger(__name__)
NOT_READ = "certificate_not_read"


@dataclasses.dataclass(frozen=True, slots=True)
class Material:
    """The hashes of what a snapshot needs, and the contents, by name, for whoever lacks them."""

    names: Mapping[Need, str] = dataclasses.field(default_factory=dict)
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)


NOTHING = Material()


class Keeper:
    """Reads the secret store for what is new or was asked for again, and keeps copies. `store` and `cipher` are made when first needed."""

    def __init__(self, db: database.Database, store: Callable[[], interface.SecretStore], cipher_of: Callable[[], cipher.Cipher]) -> None:
        self._db = db
        self._store = store
        self._cipher = cipher_of
        self._untold: tuple[str, ...] = ()  # references of which the store does not know yet that they are used

    def gather(self, snapshot: model.Snapshot, lease: jobs.Lease) -> Material:
        """What this snapshot needs; what was named by a request is a copy from then. Where the store is away or refuses what is to be read
        anew, the copy of before serves on.

        :raises Transient: the store did not answer, and there is no copy.
        :raises InvalidRequest, NotFound: what it has can't be used, and there is no copy.
        :raises StaleLease: another worker took the load balancer over.
        """
        wanted = tls.needs(snapshot)
        if not wanted:
            return NOTHING
        load_balancer_id = snapshot.load_balancer.id
        with self._db.read() as tx:
            known = dict(tx.tenant_certificates.of(load_balancer_id))
        read: dict[Need, tuple[Copy, bytes]] = {}
        try:
            for need in sorted(wanted):
                copy = known.get(need)
                if copy is None or copy.is_stale:
                    read |= self._read_anew(snapshot, need, copy, lease)
        finally:
            if read:
                with self._db.begin(lease) as tx:
                    tx.tenant_certificates.keep(load_balancer_id, read)
        known |= {need: copy for need, (copy, _) in read.items()}
        applied = snapshot.load_balancer.applied_generation
        new = (need.reference for need in wanted if known[need].read_for > applied and not known[need].is_registered)
        self._untold = tuple(dict.fromkeys(sorted(new)))
        names = {need: known[need].name for need in wanted}
        return Material(names, _Contents(self._db, self._cipher, load_balancer_id, frozenset(names.values())))

    def register(self, load_balancer_id: str) -> None:
        """Tell the store of what was gathered that is new; while the store is away, housekeeping comes back to it."""
        told = []
        for reference in self._untold:
            try:
                self._store().register(reference, load_balancer_id)
            except exceptions.ControllerError as exc:
                LOG.warning("load balancer %s: the secret store was not told that %s is used: %s", load_balancer_id, reference, exc)
                break
            told.append(reference)
        self._untold = ()
        if told:
            with self._db.begin() as tx:
                tx.tenant_certificates.mark_registered(load_balancer_id, told)

    def _read_anew(self, snapshot: model.Snapshot, need: Need, copy: Copy | None, lease: jobs.Lease) -> dict[Need, tuple[Copy, bytes]]:
        """The copy and its encrypted content; nothing if the copy of before serves on."""
        load_balancer = snapshot.load_balancer
        try:
            secret = reading.read(self._store(), load_balancer.project_id, need)
        except exceptions.ControllerError as exc:
            if copy is None:
                raise
            LOG.warning("load balancer %s: %s can't be read anew, its copy serves on: %s", load_balancer.id, need.reference, exc)
            self._tell(load_balancer.id, need, exc, lease)
            return {}
        read = secret.copy(snapshot.generation)
        LOG.info("load balancer %s: %s was read as %s %s", load_balancer.id, need.reference, need.kind, read.name)
        return {need: (read, self._cipher().encrypt(secret.content))}

    def _tell(self, load_balancer_id: str, need: Need, error: exceptions.ControllerError, lease: jobs.Lease) -> None:
        """An event, once; what is wrong on our side is no tenant's business."""
        match error:
            case exceptions.NotFound() | exceptions.InvalidRequest():
                reason = str(error)
            case exceptions.Transient():
                reason = "the secret store does not answer"  # its own words are others each time
            case _:
                reason = "the secret store can't be used now"
        event = model.Fault(code=NOT_READ, message=f"{need.reference} can't be read anew, what was read before serves on: {reason}")
        with self._db.begin(lease) as tx:
            tx.faults.add_news(load_balancer_id, "load_balancer", load_balancer_id, event, among=100)


class _Contents(Mapping[str, bytes]):
    """Read when somebody asks, and decrypted one by one; whoever asks for nothing has nothing decrypted."""

    def __init__(self, db: database.Database, cipher_of: Callable[[], cipher.Cipher], load_balancer_id: str, names: frozenset[str]) -> None:
        self._db = db
        self._cipher = cipher_of
        self._load_balancer_id = load_balancer_id
        self._names = names
        self._encrypted: Mapping[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        if not self._encrypted:
            with self._db.read() as tx:
                self._encrypted = tx.tenant_certificates.contents(self._load_balancer_id, self._names)
        content = self._encrypted.get(name)
        if content is None:
            raise exceptions.Transient("A tenant's certificate was read anew, or forgotten, while it was to be sent; it is tried again.")
        try:
            return self._cipher().decrypt(content)
        except cipher.Broken as exc:
            raise exceptions.Misconfigured(
                "The copies of tenants' certificates can't be opened with any of our keys: put the key back that they were made with."
            ) from exc

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
