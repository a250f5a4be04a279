"""Serves UDP and SCTP by the kernel's packet filter: keeps its rules, checks members, ends the flows of those that are gone, and reports.

There is no process that could die. What can go is the table of rules, and then it is made again.
"""

from __future__ import annotations

import functools
import json
import logging
import pathlib
import secrets
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Mapping, Sequence

from amphora_agent import (
    admission,
    counters,
    datagram_reports,
    datagram_rules,
    errors,
    flows,
    member_checks,
    member_counters,
    netlink,
    outages,
    program,
    programs,
    system,
)
from amphora_agent.datagram_rules import Standing
from amphora_agent.protocol import datagrams, rest

LOG = logging.getLogger(__name__)
_COMMAND = "nft"
_TABLE = datagram_rules.TABLE.split()[1]
_SHARE = 20
GONE = 256
"""So many members that are gone are known of each service. More would be read, written down and told with each report, for as long as the
service lives, and where they have filled its sets, whoever comes would not be counted."""
_PATIENCE = 1.0
"""Seconds at most for which a push waits for first checks."""
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_REDIRECTS = "net/ipv4/conf/all/accept_redirects"  # the kernel lets them be heeded again when forwarding ends
_SCTP = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established")
_Known = dict[member_checks.Key, bool]


class Netfilter(program.Program):
    """One table of rules in the tenant's namespace. Its own lock lets checks change the rules while nothing is applied."""

    name = datagrams.NAME

    def __init__(self, state: pathlib.Path, namespace: str, record: programs.Record) -> None:
        self._config, self._known = state / "datagrams.json", state / "datagrams-members.json"
        self._namespace, self._record = namespace, record
        self._counters = counters.Counters(state / "datagrams-counters.json")
        self._members = member_counters.MemberCounters(state / "members-datagrams-counters.json", pools_are_sums=True)
        self._counting = threading.Lock()  # of these two, and of what is below, as long as it is taken in
        self._flows = flows.Flows(namespace)
        self._checks = member_checks.MemberChecks(namespace, self._follow_checks)
        self._lock = threading.RLock()  # of all below
        self.known = datagram_reports.NOTHING
        """What was reported last. No lock has to be held to look at it."""
        self._services: tuple[datagrams.Service, ...] = ()
        self._laid_out: tuple[datagrams.Service, ...] | None = None  # those that the kernel knows; None: nobody knows
        self._standing: dict[str, tuple[datagrams.Service, frozenset[str], object, object]] = {}  # by which its rules were made
        self._limits: dict[str, int] = {}
        self._left_alone = False  # what an earlier agent left serves on: this one does not understand its text
        self._waits = False  # a push, for first checks of what it brings: until then the rules are those of before
        self._settled_at = 0.0  # until then the first checks after a restart of the agent may be under way
        self._counted: Mapping[str, tuple[int, int]] = {}  # packets and bytes by counter, as they were read last
        self._of_members: dict[str, list[int]] = {}  # the same of members, by the names of `member_counters`
        self._marked: dict[str, tuple[datagrams.Service, dict[int, str]]] = {}  # services, and those names by mark, also of who is gone
        self._members_at = 0.0  # they are read again
        self._crowded: frozenset[str] = frozenset()  # services of which more members are known than need be
        self._forgetting = outages.Outage(LOG, "To forget members of UDP and SCTP that are gone")
        self._refusals_at = 0.0
        self._there: frozenset[str] = frozenset()  # counters that the kernel has
        self._guards = self._tracks = False  # a NIC is guarded by tracking, as was found last; the kernel's rules let TCP be tracked

    @property
    def configured(self) -> bool:
        return self._config.exists()

    def is_set_to(self, wanted: rest.WantedState) -> bool:
        return self._text() == wanted.programs.get(self.name)

    def refuse(self, text: str) -> None:
        datagrams.parse(text)

    def check(self, text: str, wanted: rest.WantedState) -> None:
        services = datagrams.parse(text)
        if shutil.which(_COMMAND) is None:
            raise errors.ProgramFailed(_COMMAND, "can't be run: it is not installed")
        with self._lock:
            try:
                self._nft(self._script(services, self._present(), everything=True), "-c")
            except system.CommandFailed as exc:
                raise _refused(exc) from exc
        # Not before: rules that go by tracking load its module.
        if any(one.transport == "sctp" for one in services) and not _SCTP.exists():
            raise errors.ConfigRefused(self.name, "this amphora's kernel does not track SCTP: it needs one with CONFIG_NF_CT_PROTO_SCTP")

    def apply(self, text: str, wanted: rest.WantedState) -> str:
        services = datagrams.parse(text)
        if self._runs(text, services):
            return program.NONE
        before, former = self._text(), self._services
        system.write_file(self._config, text.encode())
        try:
            self._take(services)
        except system.CommandFailed as exc:
            if before is None:
                self._config.unlink()
            else:
                system.write_file(self._config, before.encode())
            with self._lock:
                self._services = former
                self._checks.set(_targets(self._services), self._up())
            raise _refused(exc) from exc
        self._left_alone = False
        return program.RUNTIME

    def runs(self, text: str, wanted: rest.WantedState) -> bool:
        return self._runs(text, datagrams.parse(text))

    def ensure_running(self) -> str:
        if not self._exists():
            if self._left_alone:
                return programs.DOWN
            if self._laid_out is not None:
                self._record.note(self.name, programs.DIED)
            with self._lock:
                self._laid_out = None
                try:
                    self._forward(False)  # nothing says any more what may pass
                    self._bring()
                except (system.CommandFailed, OSError) as exc:
                    LOG.warning("The rules for UDP and SCTP can't be made again: %s", exc)
                    return programs.DOWN
            self._exists()
        return programs.RUNS

    def stop(self) -> None:
        with self._lock:
            self._laid_out, self._left_alone = None, False
            self._forward(False)  # first: the table says what may pass
            if self._exists():
                self._read(members=True)
                self._take_counts([one for one, _ in self._marked.values()])
                self._nft([f"delete table {datagram_rules.TABLE}"])
                self._count_anew(list(self._marked))
            gone, self._services = self._services, ()
            self._checks.set({}, {})
            self._flows.end_all(gone)
            for path in (self._config, self._known):
                path.unlink(missing_ok=True)

    def forget(self) -> None:
        self._counters.forget()
        self._members.forget()

    def go_back_to(self, wanted: rest.WantedState | None) -> None:
        text = None if wanted is None else wanted.programs.get(self.name)
        if not self.configured or self._text() == text:
            return
        LOG.warning("An agent was killed while it tried rules for UDP and SCTP, which may never have served: they are forgotten")
        if text is not None:
            system.write_file(self._config, text.encode())
            return
        self._config.unlink(missing_ok=True)  # first: the namespace may be gone, and the rules with it
        try:
            self.stop()
        except system.CommandFailed as exc:
            LOG.error("They can't be taken away: %s", exc)

    def resume(self) -> None:
        text = self._text()
        if text is None:
            return
        try:
            services = datagrams.parse(text)
        except rest.Malformed as exc:
            LOG.error("What was served over UDP and SCTP is not known, and left as it is: %s", exc)
            self._left_alone = True
            return
        with self._lock:
            self._services, self._settled_at = services, time.monotonic() + _PATIENCE
            self._checks.set(_targets(services), self._recall())

    def assert_again(self) -> None:
        with self._lock:
            self._laid_out = None
            if not self._settles():
                self._bring()

    def tend(self) -> None:
        with self._lock:
            if self._left_alone or self._settles():
                return
            changed = self._bring()  # also what failed when checks had found it
            self._flows.look(self._services, self._present(), at_once=changed)
            if changed:
                self._remember()
            if time.monotonic() >= self._refusals_at:
                self._checks.accuse(self._refusing())
                delays = [one.check.delay for one in self._services if one.check is not None]
                self._refusals_at = time.monotonic() + min(datagram_rules.REFUSED, *delays, datagram_rules.REFUSED) - 0.5
            if any(one.algorithm == datagrams.LEAST_CONNECTIONS for one in self._services):
                self._bring()
            if self._crowded and self._flows.are_ended:  # who is gone counts nothing more
                self._forget_gone()

    def report(self, state: str | None) -> program.Part | None:
        if state != programs.RUNS:
            self.known = datagram_reports.NOTHING
            return program.Part()
        services = self._services
        totals, by_id = self._take_counts(services)
        self.known = datagram_reports.Known(services, totals, self._flows.counts, self._checks.states(), by_id)
        return self.known.part(datagrams.NFTABLES)

    def last_counts(self) -> program.Part:
        with self._lock:
            if not self._exists():
                return program.Part()
            self._read(members=True)
        return self.report(programs.RUNS) or program.Part()

    def save(self) -> None:
        with self._counting:
            self._counters.save()
            self._members.save()

    def _take_counts(self, services: Sequence[datagrams.Service]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Take in what was read of the kernel: totals of services, and those of pools and members by id."""
        with self._counting:
            counted = self._counted
            totals = self._counters.take(_kernel(), {one.id: _raw(one, counted) for one in services})
            self._members.note(_kernel(), self._of_members)
            return totals, self._members.by_id()

    def _count_anew(self, gone: Sequence[str]) -> None:
        """These services are there no more: if they come again, they and their members begin at zero."""
        with self._counting:
            counters_of_them = {datagram_rules.counter(kind, service) for service in gone for kind in ("new", "in", "out")}
            self._counted = {name: counted for name, counted in self._counted.items() if name not in counters_of_them}
            for service in gone:
                self._counters.begin_anew(service)
                _, names = self._marked.pop(service, (None, {}))
                for name in names.values():
                    self._members.begin_anew(name)
                    self._of_members.pop(name, None)

    def _runs(self, text: str, services: tuple[datagrams.Service, ...]) -> bool:
        known = services == self._services and self._text() == text and self._exists()
        return known and (self._laid_out is None or self._tracks == self._guards)

    def _take(self, services: tuple[datagrams.Service, ...]) -> None:
        """:raises CommandFailed: the kernel does not take the rules; it has those of before."""
        with self._lock:
            gone = [one for one in self._services if one.id not in {other.id for other in services}]
            serving = self._recall() if self._left_alone else self._up()
            self._services, self._waits = services, True
            self._checks.set(_targets(services), serving)
        try:
            self._checks.wait(_PATIENCE)
        finally:
            self._waits = False
        with self._lock:
            self._bring()
            self._flows.end_all(gone)
            self._flows.look(services, self._present(), at_once=True)
            self._remember()

    def _follow_checks(self) -> None:
        with self._lock:
            if not self.configured or self._waits or self._settles():
                return
            self._bring()
            self._flows.look(self._services, self._present(), at_once=True)
            self._remember()

    def _settles(self) -> bool:
        """Whether an agent has begun, and nobody can tell yet of each member whether it is there: who served serves on."""
        return time.monotonic() < self._settled_at and None in self._checks.states().values()

    def _remember(self) -> None:
        """Write down who is up, for the next agent."""
        known = [[*key, up] for key, up in self._checks.states().items() if up is not None]
        try:
            system.write_file(self._known, json.dumps(known).encode(), durable=False)
        except OSError as exc:
            LOG.warning("The states of UDP and SCTP members can't be written down: %s", exc)

    def _recall(self) -> _Known:
        def parse(content: bytes) -> _Known:
            return {(str(service), str(member)): bool(up) for service, member, up in json.loads(content)}

        return system.recall(self._known, parse) or {}

    def _refusing(self) -> set[member_checks.Place]:
        """Where members refuse clients, and a check by datagrams might not hear of it."""
        watched: dict[tuple[str, int], set[member_checks.Place]] = {}  # services of one pool have members with equal marks
        for one in self._services:
            if one.check is not None and one.check.type == datagrams.UDP_CONNECT:
                numbers = datagram_rules.numbers(one)
                for member in one.members:
                    if (member.check_address, member.check_port) == (member.address, member.port):
                        watched.setdefault((member.address, numbers[member.id]), set()).add((member.address, member.port))
        found: set[member_checks.Place] = set()
        for version in sorted({6 if ":" in address else 4 for address, _ in watched}):
            answer = json.loads(self._run("-j", "list", "set", *datagram_rules.TABLE.split(), f"refused{version}"))
            elements = [element for one in answer["nftables"] if "set" in one for element in one["set"].get("elem", ())]
            places = ((str(address), int(mark)) for address, mark in (element["elem"]["val"]["concat"] for element in elements))
            found.update(*(watched.get(place, ()) for place in places))
            if elements:  # told once
                self._nft([f"flush set {datagram_rules.TABLE} refused{version}"])
        return found

    def _up(self) -> _Known:
        """Who serves: they go on until a check fails, also where there was none."""
        return {(service, member): True for service, members in self._present().items() for member in members}

    def _present(self) -> dict[str, frozenset[str]]:
        """Members by service that may get packets."""
        states = self._checks.states()
        return {
            one.id: frozenset(
                member.id for member in one.members if member.enabled and (one.check is None or states.get((one.id, member.id)))
            )
            for one in self._services
        }

    def _bring(self) -> bool:
        """Have the kernel's rules say what is known now; whether anything had to be changed.

        :raises CommandFailed: it does not take them; it has those of before.
        """
        everything = self._laid_out != self._services or self._tracks != self._guards
        present = self._present()  # checks go on meanwhile
        script = self._script(self._services, present, everything)
        if not script:
            return False
        gone = sorted(self._marked.keys() - {one.id for one in self._services}) if everything else []
        if gone:
            self._read(members=True)
            self._take_counts([one for one, _ in self._marked.values()])
        self._nft(script)
        self._count_anew(gone)
        leads = datagram_rules.Leads(self._services)
        self._standing = {one.id: (one, present[one.id], self._fewest(one), leads.of_all(one)) for one in self._services}
        self._limits = {one.id: one.most_flows for one in self._services}
        if everything:
            self._laid_out, self._tracks = self._services, self._guards
        self._forward(True)
        return True

    def _script(self, services: Sequence[datagrams.Service], present: Mapping[str, frozenset[str]], everything: bool) -> list[str]:
        lines: list[str] = []
        leads = datagram_rules.Leads(services)
        for one in services:
            who, fewest = present.get(one.id, frozenset()), self._fewest(one)
            known = self._standing.get(one.id) if self._laid_out is not None else None
            if everything:
                lines += datagram_rules.declaration(one)
                lines += datagram_rules.limit(one) if self._limits.get(one.id) != one.most_flows or known is None else []
            if known != (one, who, fewest, leads.of_all(one)):
                lines += datagram_rules.rules(one, Standing(who, fewest, secrets.randbelow(datagram_rules.TURNS)), leads)
        if not everything:
            return lines
        self._exists()
        wanted = {datagram_rules.counter("new", one.id) for one in services}
        gone = sorted(name.removeprefix("new_") for name in self._there if name.startswith("new_") and name not in wanted)
        base = datagram_rules.base(services, self._guards)
        return [f"add table {datagram_rules.TABLE}", *lines, *base, *datagram_rules.removal(gone)]

    def _fewest(self, service: datagrams.Service) -> tuple[tuple[str, int], ...]:
        """The flows of its members, where they decide."""
        if not datagram_rules.by_fewest(service):
            return ()
        counts = self._flows.counts.get(service.id, {})
        return tuple((name, counts.get(number, 0)) for name, number in datagram_rules.numbers(service).items())

    def _exists(self) -> bool:
        """Whether the table is there, and each service in it; its counters are read by the way, and whether a NIC is guarded."""
        counted = self._read(time.monotonic() >= self._members_at)
        self._there = frozenset(counted)  # nobody knows, or there are none: what was counted stays
        return bool(counted) and all(datagram_rules.counter("new", one.id) in self._there for one in self._services)

    def _read(self, members: bool) -> Mapping[str, tuple[int, int]]:
        """Counters as the kernel has them now; none if nobody knows. Those of `members`, who may be many, take a twentieth of the time."""

        def ask() -> tuple[dict[str, tuple[int, int]], bool]:
            counted = netlink.counters(_TABLE)
            if members and counted:
                began = time.monotonic()
                try:
                    self._read_members(counted)
                except OSError as exc:  # the rules are there all the same
                    LOG.warning("What members of UDP and SCTP have had is not known now: %s", exc)
                self._members_at = (now := time.monotonic()) + _SHARE * (now - began)
            return counted, netlink.has_table(admission.TABLE)

        try:
            counted, self._guards = system.inside_namespace(self._namespace, ask)
        except OSError as exc:
            LOG.warning("The rules for UDP and SCTP can't be asked for: %s", exc)
            return {}
        if counted:
            self._counted = counted
        return counted

    def _read_members(self, counted: Mapping[str, tuple[int, int]]) -> None:
        """:raises OSError: the kernel does not tell."""
        for one in self._services:
            known, names = self._marked.get(one.id, (None, {}))
            if known is not one:
                names = {**names, **_names(one)}
                self._marked[one.id] = one, names
        found: dict[str, list[int]] = {}
        crowded: list[str] = []
        for one, names in list(self._marked.values()):
            if datagram_rules.counter("new", one.id) not in counted:
                continue
            elements = _elements(one)
            found |= _counts(names, elements)
            members = len(one.members)
            if len(set(names.values())) > members + GONE or max(map(len, elements.values())) > 2 * members + GONE:  # of each, two marks
                crowded.append(one.id)
        self._of_members, self._crowded = found, frozenset(crowded)

    def _forget_gone(self) -> None:
        """What members had that are gone is added up, and the kernel counts it no more. If that can't be done, all is as it was."""
        crowded = {one.id: one for one in self._services if one.id in self._crowded}
        self._crowded = frozenset()  # until they are read again
        try:
            elements = system.inside_namespace(self._namespace, lambda: {name: _elements(one) for name, one in crowded.items()})
            last: dict[str, list[int]] = {}
            lines: list[str] = []
            for name, one in crowded.items():
                last |= _counts(self._marked.get(name, (None, {}))[1], elements[name])
                lines += datagram_rules.forgetting(one, {each: map(_mark, marks) for each, marks in elements[name].items()})
            if lines:
                self._nft(lines)
            self._forgetting.over()
        except (OSError, system.CommandFailed) as exc:
            self._forgetting.met(exc)
            return
        there = {name for one in crowded.values() for name in _names(one).values()}

        def is_gone(name: str) -> bool:
            return member_counters.listener_of(name) in crowded and name not in there

        with self._counting:
            self._marked |= {name: (one, _names(one)) for name, one in crowded.items()}
            self._members.note(_kernel(), {**self._of_members, **last})
            self._members.begin_all_anew(is_gone)
            self._of_members = {name: values for name, values in self._of_members.items() if not is_gone(name)}

    def _nft(self, lines: Sequence[str], *options: str) -> str:
        """:raises CommandFailed: the kernel does not take them."""
        return self._run(*options, "-f", "-", stdin="\n".join(lines) + "\n")

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        return system.run(system.in_tenant_namespace(self._namespace, [_COMMAND, *arguments]), stdin=stdin)

    def _forward(self, wanted: bool) -> None:
        """Let packets pass from one NIC to another: the table lets no others pass than those of its flows."""

        def write() -> None:
            for key, value in (*((key, str(int(wanted))) for key in _FORWARDING), (_REDIRECTS, "0")):
                path = pathlib.Path("/proc/sys", key)
                if path.exists() and path.read_text().strip() != value:
                    path.write_text(value)

        system.inside_namespace(self._namespace, write)

    def _text(self) -> str | None:
        content = system.read_file(self._config)
        return None if content is None else content.decode(errors="replace")


@functools.cache
def _kernel() -> int:
    """Tells this boot from all others: counters begin anew with it."""
    return zlib.crc32(system.read_file(pathlib.Path("/proc/sys/kernel/random/boot_id")) or b"")


def _targets(services: Sequence[datagrams.Service]) -> dict[member_checks.Key, member_checks.Target]:
    return {
        (one.id, member.id): member_checks.Target(member.check_address, member.check_port, one.check)
        for one in services
        if one.check is not None
        for member in one.members
        if member.enabled
    }


def _raw(service: datagrams.Service, counted: Mapping[str, tuple[int, int]]) -> list[int]:
    """In the order of `counters.FIELDS`."""
    new, into, out = (counted.get(datagram_rules.counter(kind, service.id), (0, 0)) for kind in ("new", "in", "out"))
    return [into[1], out[1], new[0], 0]


def _elements(service: datagrams.Service) -> dict[str, dict[bytes, tuple[int, int]]]:
    """Packets and bytes by mark, by the names of `datagram_rules.member_sets`.

    :raises OSError: the kernel does not tell.
    """
    return {name: netlink.counted_elements(_TABLE, name) for name in datagram_rules.member_sets(service.id)}


def _mark(key: bytes) -> int:
    return int.from_bytes(key, sys.byteorder)


def _counts(names: Mapping[int, str], elements: Mapping[str, Mapping[bytes, tuple[int, int]]]) -> dict[str, list[int]]:
    """In the order of `counters.FIELDS`, by the names of members, who may have had two marks."""
    new, into, out = elements.values()
    found: dict[str, list[int]] = {}
    for key in new.keys() | into.keys() | out.keys():
        if (name := names.get(_mark(key))) is not None:
            had = (into.get(key, (0, 0))[1], out.get(key, (0, 0))[1], new.get(key, (0, 0))[0], 0)
            found[name] = [sum(both) for both in zip(found[name], had, strict=True)] if name in found else list(had)
    return found


def _names(service: datagrams.Service) -> dict[int, str]:
    """By what names members are counted, by their marks: those that they have, and those that they had before, or will have."""
    pool = f"{service.pool_id}:{service.id}"
    return {mark: member_counters.of_member(pool, name) for mark, name in datagram_rules.marks(service).items() if service.pool_id}


def _refused(exc: system.CommandFailed) -> errors.AgentError:
    if isinstance(exc, system.NotRun):
        return errors.ProgramFailed(_COMMAND, exc.reason)
    return errors.ConfigRefused(_COMMAND, exc.output[:4000])
