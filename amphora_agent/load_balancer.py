"""What this amphora serves: takes a wanted state to the programs and the NICs, and remembers it over restarts."""

from __future__ import annotations

import functools
import ipaddress
import json
import logging
import pathlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from amphora_agent import (
    certificates,
    configuration,
    errors,
    faults,
    interfaces,
    outages,
    privileges,
    program,
    programs,
    report,
    roster,
    system,
)
from amphora_agent.protocol import boot, rest

LOG = logging.getLogger(__name__)
ANNOUNCEMENTS, ANNOUNCE_INTERVAL = 3, 0.9
"""So often is a VIP announced, and the seconds between: a packet may be lost, and a predecessor may have answered meanwhile."""
CLOSE_WATCH, CLOSE_WATCH_INTERVAL = 10.0, 0.1
"""Seconds for which what a program awaits is watched closely, and the seconds between two looks."""
LOWEST_MTU, HIGHEST_MTU = 68, 65535
"""By RFC 791: what each module must be able to send, and the length of the longest datagram."""
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


class LoadBalancer:
    """The one load balancer of an amphora. Every public method may be called from any thread."""

    def __init__(
        self,
        config: boot.BootConfig,
        state: pathlib.Path,
        run: pathlib.Path,
        nics: interfaces.Interfaces,
        rights: privileges.Rights | None = None,
    ) -> None:
        rights = rights or privileges.Rights()
        self._state, self._nics = state, nics
        self._certificates = certificates.Certificates(state / "certificates")
        self._lock = threading.Lock()
        self._wanted: rest.WantedState | None = None
        self._hash = ""  # of the state above: made of the whole of it, so not made twice
        self._known_nics: tuple[rest.Interface, ...] = ()
        self._to_announce = 0  # times that the VIPs are still to be announced
        self._announced_at = 0.0
        self._states: dict[str, str] = {}  # of the programs that are meant to run, by their names (`programs`), as they say themselves
        self._faults = faults.Faults()
        self._last_parts: list[program.Part] = []  # of what was served until nothing was: what it counted is told until the end
        self._watcher: threading.Thread | None = None  # of what programs await
        self._cards = outages.Outage(LOG, "Looking at the network cards")
        self._settled = True  # False while a change is half done: a second try may not be answered with `none`
        self._changes = 0  # that were begun: what was seen before one may not be taken for what is
        self.on_change: Callable[[], None] = lambda: None
        run.mkdir(parents=True, exist_ok=True)  # HAProxy's user runs its checks from there
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o2750 if rights.own else 0o700)  # tenants' keys will lie there
        for directory in (state, state / "certificates", run):
            system.remove_unfinished(directory)
        self._record = programs.Record(state / "programs.json")
        self.roster = roster.make(config, state, run, nics.namespace, rights, self._record)
        self._programs = self.roster.programs

    def resume(self) -> None:
        """Go on with what an earlier agent was told; a NIC or a program that is missing is reported by silence, not by dying."""
        self._record.begin()
        with self._lock:
            self._recall()
            self._resume_interfaces(self._nics.admit)
            self._resume_interfaces(self._nics.ensure)
            for one in reversed(self._programs):
                self._faults.outlive(one.name, "resume", one.resume, None)
            self._ensure_programs()
            self._resume_interfaces(self._take_vips)

    def apply(self, wanted: rest.WantedState) -> rest.Receipt:
        """Bring the amphora to the wanted state. If that fails, what served before goes on serving.

        :raises StaleGeneration: a newer one runs.
        :raises Occupied: another load balancer is served here.
        :raises MissingCertificates: certificates have to be sent first.
        :raises InterfaceMissing: a NIC did not appear in time.
        :raises ConfigRefused: a program refused.
        :raises Malformed: something in it is not for an amphora.
        :raises SettingRefused: the kernel did not take an interface's settings.
        :raises OSError: something could not be written (the disk is full, for instance).
        """
        with self._lock:
            running, new_hash = self._wanted, wanted.hash
            if running is not None and running.load_balancer_id != wanted.load_balancer_id:
                raise errors.Occupied(running.load_balancer_id)
            if running is not None and wanted.generation < running.generation:
                raise errors.StaleGeneration(wanted.generation, running.generation)
            if running is not None and new_hash == self._hash and self._settled and self._programs_run(wanted):
                how = program.NONE
                for one in self._meant_to_run():  # whoever sends what runs already does so to have something mended
                    one.assert_again()
            else:
                self._settled, self._changes = False, self._changes + 1
                how = self._bring_to(wanted, changed=new_hash != self._hash)
            self._wanted, self._hash, self._settled = wanted, new_hash, True
            self._faults.forget()
            self._last_parts = []
            self._states = {one.name: programs.RUNS for one in self._meant_to_run()}
            self._remember()
            self._watch_closely()
            LOG.info("%s: generation %s applied (%s)", wanted.load_balancer_id, wanted.generation, how)
        self.on_change()
        return rest.Receipt(wanted.load_balancer_id, wanted.generation, new_hash, how)

    def remove(self, load_balancer_id: str) -> None:
        """Stop serving a load balancer and forget its files; unknown is fine. What was counted is still reported."""
        with self._lock:
            if self._wanted is not None and self._wanted.load_balancer_id != load_balancer_id:
                return
            self._changes += 1
            self._stop(brings_clients=True)
            self._nics.drop_vips(self._known_nics)  # before servers end: a client without an answer asks again, a refused one gives up
            if self._wanted is not None:
                self._last_parts = [self._last_part(one).ended() for one in self._meant_to_run()]
            self._stop(brings_clients=False)
            self._nics.drop(self._known_nics, ())
            self._nics.admit(())
            (self._state / configuration.SERVED).unlink(missing_ok=True)
            shutil.rmtree(self._state / "certificates", ignore_errors=True)
            self._wanted, self._hash, self._known_nics, self._settled, self._states = None, "", (), True, {}
            self._faults.forget()
        self.on_change()

    def receipt(self, load_balancer_id: str) -> rest.Receipt | None:
        """What runs; None if this load balancer does not."""
        wanted = self._wanted
        if wanted is None or wanted.load_balancer_id != load_balancer_id:
            return None
        return rest.Receipt(load_balancer_id, wanted.generation, self._hash, "none")

    def generations(self) -> dict[str, int]:
        """The generation that runs, by load balancer; none while a program should run and does not."""
        wanted = self._wanted
        return {} if wanted is None or not self._serves() else {wanted.load_balancer_id: wanted.generation}

    def store_certificates(self, pems: Mapping[str, bytes]) -> None:
        """Keep certificates for the next wanted state.

        :raises ValueError: a name is not its content's hash; then none is kept.
        """
        if not all(certificates.FILE(name) and certificates.file_name(pem) == name for name, pem in pems.items()):
            raise ValueError("the name of a certificate is the SHA-256 of its content, followed by .pem")
        system.write_files(self._certificates.directory, pems, system.FOR_PROGRAMS)

    def look(self) -> dict[str, Any] | None:
        """Start again what died or hangs, and return the report; None while a program that runs does not say how it fares.

        A change does not wait for the report: two thousand members take a while to be told of. A program whose error nobody expected is
        reported as down: told once, and then by silence, as if it had died.
        """
        if not self._lock.acquire(blocking=False):
            return self._report(self._served())  # a change is under way: it does its own starting
        try:
            self._ensure_programs()
            self._restore_interfaces()
            for one in self._meant_to_run():
                if self._states.get(one.name) == programs.RUNS:
                    self._faults.outlive(one.name, "tend", one.tend, None)
            if self._serves():
                self._announce_again()
            served, changes = self._served(), self._changes
        finally:
            self._watch_closely()
            self._lock.release()
        return self._report(served, changes)

    def live_by(self, config: boot.AgentConfig) -> None:
        """Take what a configuration of the agent says of the programs."""
        for one in self._programs:
            self._faults.outlive(one.name, "live_by", functools.partial(one.live_by, config), None, grave=False)

    def end(self) -> None:
        """The agent ends, as it was told to; the programs go on."""
        for one in self._programs:
            one.end()
        self._record.end()

    def save(self) -> None:
        """Write down what is about to be told to anyone, so that it is never taken back."""
        for one in self._programs:
            self._faults.outlive(one.name, "save", one.save, None)

    def _recall(self) -> None:
        """Read what was remembered. If it can't be read, what runs goes on running until the controller sends its wish again."""
        content = system.read_file(self._state / configuration.SERVED)
        if content is None:
            self._go_back()
            return
        try:
            data = json.loads(content)
            wanted = rest.WantedState.parse(json.dumps(data["wanted"]).encode())
            self._known_nics = tuple(rest.interface(item) for item in data["interfaces"])
        except (ValueError, TypeError, KeyError) as exc:
            LOG.error("What this amphora served before can't be read: %s", exc)
            return
        self._wanted, self._hash = wanted, wanted.hash
        self._go_back()
        # An agent that was killed half way may have left newer files than it remembers.
        self._settled = all(self._is_set_to(one, wanted) for one in self._programs)
        LOG.info("%s: going on with generation %s", wanted.load_balancer_id, wanted.generation)

    def _go_back(self) -> None:
        for one in self._programs:
            self._faults.outlive(one.name, "go_back_to", functools.partial(self._set_back, one), None)

    def _set_back(self, one: program.Program) -> None:
        try:
            one.go_back_to(self._wanted)
        except OSError as exc:
            LOG.error("%s can't be set back to what served last: %s", one.name, exc)

    def _is_set_to(self, one: program.Program, wanted: rest.WantedState) -> bool:
        return self._faults.outlive(one.name, "is_set_to", lambda: one.is_set_to(wanted), False, grave=False)

    def _resume_interfaces(self, step: Callable[[tuple[rest.Interface, ...]], None]) -> None:
        if self._wanted is None:
            return
        try:
            step(self._wanted.interfaces)
        except (errors.AgentError, system.CommandFailed) as exc:
            self._settled = False
            LOG.error("The interfaces are not as they were: %s", exc)

    def _restore_interfaces(self) -> None:
        """A card may have been unplugged after it was configured, for a service took its time, and plugged again."""
        wanted = self._wanted.interfaces if self._wanted is not None else ()
        try:
            if self._nics.restore(wanted):
                LOG.warning("A network card had gone, and its successor is configured")
                self._take_vips(wanted)
            self._cards.over()
        except (errors.AgentError, system.CommandFailed, OSError) as exc:
            self._cards.met(exc)

    def _bring_to(self, wanted: rest.WantedState, changed: bool) -> str:
        _refuse_malformed(wanted)
        if missing := self._certificates.missing(wanted.certificates):  # they are sent together with the same state again
            raise errors.MissingCertificates(missing)
        self._refuse_programs(wanted)
        new_interfaces = self._bring_interfaces(wanted)
        for one in self._programs:
            if (text := wanted.programs.get(one.name)) is not None:
                one.check(text, wanted)
        how = self._apply_programs(wanted)
        if new_interfaces:
            self._take_vips(wanted.interfaces)
        self._nics.drop(self._known_nics, wanted.interfaces)
        self._nics.admit(wanted.interfaces)
        self._known_nics = wanted.interfaces
        self._certificates.keep(wanted)
        return program.RUNTIME if how == program.NONE and changed else how

    def _bring_interfaces(self, wanted: rest.WantedState) -> bool:
        """Have NICs, addresses and routes; False if nothing of them, nor of the VIPs, has changed."""
        running = self._wanted
        if running is not None and running.interfaces == wanted.interfaces == self._known_nics:
            return False
        self._known_nics = interfaces.merged(self._known_nics, wanted.interfaces)
        self._nics.admit(self._known_nics)
        self._nics.ensure(wanted.interfaces)
        return True

    def _take_vips(self, wanted: tuple[rest.Interface, ...]) -> None:
        self._nics.take_vips(wanted)
        self._to_announce, self._announced_at = ANNOUNCEMENTS - 1, time.monotonic()

    def _announce_again(self) -> None:
        if self._wanted is not None and self._to_announce and time.monotonic() - self._announced_at >= ANNOUNCE_INTERVAL:
            self._to_announce, self._announced_at = self._to_announce - 1, time.monotonic()
            self._nics.announce(self._wanted.interfaces)

    def _refuse_programs(self, wanted: rest.WantedState) -> None:
        """:raises Malformed: a configuration is not one for an amphora, or for a program that this one has not."""
        known = {one.name: one for one in self._programs}
        for name, text in wanted.programs.items():
            if name not in known:
                raise rest.Malformed(f"this amphora has no program {name!r}: it is of an older image")
            known[name].refuse(text)

    def _apply_programs(self, wanted: rest.WantedState) -> str:
        """The most that any of them had to do."""
        done = [program.NONE]
        for one in self._programs:
            text = wanted.programs.get(one.name)
            if text is not None:
                done.append(one.apply(text, wanted))
            elif one.configured:
                one.stop()
                done.append(program.RELOAD)
        return max(done, key=(program.NONE, program.RUNTIME, program.RELOAD).index)

    def _stop(self, brings_clients: bool) -> None:
        for one in reversed(self._programs):
            if one.brings_clients is brings_clients:
                one.stop()
                one.forget()

    def _programs_run(self, wanted: rest.WantedState) -> bool:
        return all(one.name not in wanted.programs or one.runs(wanted.programs[one.name], wanted) for one in self._programs)

    def _meant_to_run(self) -> list[program.Program]:
        return [one for one in self._programs if self._is_configured(one)]

    def _is_configured(self, one: program.Program) -> bool:
        return self._faults.outlive(one.name, "configured", lambda: one.configured, True)

    def _ensure_programs(self) -> None:
        self._states = {
            one.name: self._faults.outlive(one.name, "ensure_running", one.ensure_running, programs.DOWN) for one in self._meant_to_run()
        }

    def _fares(self) -> dict[str, str]:
        """How each program fares that is meant to run: one with which something is wrong is down, whatever it says itself."""
        return {name: programs.DOWN if self._faults.has(name) else state for name, state in self._states.items()}

    def _serves(self) -> bool:
        """Whether every program runs that should."""
        return all(state == programs.RUNS for state in self._fares().values())

    def _served(self) -> tuple[rest.WantedState | None, str, dict[str, str]]:
        """What runs, its hash, and how each program fares."""
        return self._wanted, self._hash, dict(self._states)

    def _report(self, served: tuple[rest.WantedState | None, str, dict[str, str]], changes: int | None = None) -> dict[str, Any] | None:
        """What is to be reported. Programs are told of it if nothing has changed since there were so many changes."""
        wanted, hash_of_it, states = served
        parts = [(one, self._part(one, states.get(one.name) if wanted is not None else None)) for one in self._programs]
        if not all(part for _, part in parts):
            return None
        if changes is not None and self._lock.acquire(blocking=False):
            try:
                for one, part in parts if changes == self._changes else ():
                    self._faults.outlive(one.name, "told", functools.partial(one.told, part or program.Part()), None)
            finally:
                self._lock.release()
        made = report.make(wanted.generation if wanted else 0, hash_of_it, [*self._last_parts, *(part for _, part in parts if part)])
        return {**made, "programs": self._record.show(self._fares())}

    def _part(self, one: program.Program, state: str | None) -> program.Part | None:
        nothing: program.Part | None = program.Part()
        return self._faults.outlive(one.name, "report", lambda: one.report(state), nothing)

    def _last_part(self, one: program.Program) -> program.Part:
        return self._faults.outlive(one.name, "last_counts", one.last_counts, program.Part(), grave=False)

    def _watch_closely(self) -> None:
        """Have somebody look closely while a program awaits something: `look()` comes around each second only."""
        if any(self._awaits(one) for one in self._programs) and (self._watcher is None or not self._watcher.is_alive()):
            self._watcher = threading.Thread(target=self._await, name="close-watch", daemon=True)
            try:
                self._watcher.start()
            except RuntimeError as exc:
                LOG.warning("There is no thread to look closely, so it is done once a second: %s", exc)

    def _awaits(self, one: program.Program) -> bool:
        return self._faults.outlive(one.name, "awaits", lambda: one.awaits, False, grave=False)

    def _looks_closely(self, one: program.Program) -> bool:
        return self._faults.outlive(one.name, "look_closely", one.look_closely, False, grave=False)

    def _await(self) -> None:
        until = time.monotonic() + CLOSE_WATCH
        waiting = True
        while waiting and time.monotonic() < until:
            time.sleep(CLOSE_WATCH_INTERVAL)
            with self._lock:  # of those that hang: that is for `look()` to settle, which needs the lock
                looked_at = [one for one in self._programs if self._awaits(one) and self._looks_closely(one)]
                waiting = any(self._awaits(one) for one in looked_at)
        self.on_change()

    def _remember(self) -> None:
        assert self._wanted is not None
        nics = json.dumps([item.fields() for item in self._known_nics])
        system.write_file(self._state / configuration.SERVED, b'{"interfaces":%b,"wanted":%b}' % (nics.encode(), self._wanted.dump()))


def _is_address(word: str) -> bool:
    """Whether it is an address, or one with the length of a prefix."""
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?", word):
        return False
    try:
        ipaddress.ip_interface(word)
    except ValueError:
        return False
    return True


def _refuse_malformed(wanted: rest.WantedState) -> None:
    """Refuse whatever could become a line of its own in a batch of commands."""
    certificates.refuse_malformed(wanted)
    for interface in wanted.interfaces:
        routes = [part for route in interface.routes for part in (route.destination, route.gateway or "default", route.source or "default")]
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", interface.name):
            raise rest.Malformed(f"{interface.name!r} is not a name for an interface")
        for word in (*interface.addresses, *interface.vips, *routes):
            if word != "default" and not _is_address(word):
                raise rest.Malformed(f"{word!r} is not an address")
        for one in interface.admits or ():
            _refuse_admission(one)
        if not _MAC.fullmatch(interface.mac):
            raise rest.Malformed(f"{interface.mac!r} is not a MAC address")
        if not LOWEST_MTU <= interface.mtu <= HIGHEST_MTU:
            raise rest.Malformed(f"{interface.mtu} is no MTU: they are from {LOWEST_MTU} to {HIGHEST_MTU}")
    if wanted.peer_name is not None and not re.fullmatch(r"[A-Za-z0-9_.:+/=-]{1,128}", wanted.peer_name):
        raise rest.Malformed(f"{wanted.peer_name!r} is not the name of a peer")
    for name in wanted.certificates:
        if not certificates.FILE(name):
            raise rest.Malformed(f"{name!r} is not the name of a certificate")


def _refuse_admission(one: rest.Admission) -> None:
    if one.source is not None and not _is_address(one.source):
        raise rest.Malformed(f"{one.source!r} is not an address")
    if one.protocol == rest.VRRP and one.port is None:
        return
    if one.protocol not in rest.TRANSPORTS or one.port is None or not 1 <= one.port <= 65535:
        raise rest.Malformed(f"{one.protocol!r} {one.port} is neither a port of {', '.join(rest.TRANSPORTS)} nor vrrp")
