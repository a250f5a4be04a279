"""What this amphora serves: takes a wanted state to HAProxy, keepalived and the NICs, and remembers it over restarts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import ipaddress
import json
import logging
import pathlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from amphora_agent import (
    allowed,
    counters,
    errors,
    haproxy,
    haproxy_runtime,
    interfaces,
    keepalived,
    keepalived_dump,
    privileges,
    programs,
    report,
    system,
    watch,
)
from amphora_agent.protocol import boot, rest

LOG = logging.getLogger(__name__)
ANNOUNCEMENTS, ANNOUNCE_INTERVAL = 3, 0.9
"""So often is a VIP announced, and the seconds between: a packet may be lost, and a predecessor may have answered meanwhile."""
HANDOVER_POLLS = 5
"""So often HAProxy is asked again while a worker answers that has a successor already: the two share a socket for a moment."""
CLOSE_WATCH, CLOSE_WATCH_INTERVAL = 10.0, 0.1
"""Seconds for which first checks are watched closely, and the seconds between two looks."""
LOWEST_MTU, HIGHEST_MTU = 68, 65535
"""By RFC 791: what each module must be able to send, and the length of the longest datagram."""
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
CERTIFICATE_NAME = re.compile(r"[0-9a-f]{64}\.pem")


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
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._wanted: rest.WantedState | None = None
        self._hash = ""  # of the state above: made of the whole of it, so not made twice
        self._known_nics: tuple[rest.Interface, ...] = ()
        self._to_announce = 0  # times that the VIPs are still to be announced
        self._announced_at = 0.0
        self._states: dict[str, str] = {}  # of the programs that are meant to run, by their names (`programs`)
        self._watcher: threading.Thread | None = None  # of first checks
        self._is_replacing = False  # True while HAProxy is being replaced because somebody wants another state
        self._settled = True  # False while a change is half done: a second try may not be answered with `none`
        self.on_change: Callable[[], None] = lambda: None
        run.mkdir(parents=True, exist_ok=True)  # HAProxy's user runs its checks from there
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o2750 if rights.as_haproxy else 0o700)  # tenants' keys will lie there
        for directory in (state, state / "certificates", run):
            system.remove_unfinished(directory)
        self._record = programs.Record(state / "programs.json")
        self._haproxy = haproxy.HAProxy(
            haproxy.Places(state, run, rights.own, rights.as_haproxy), config.haproxy_command, nics.namespace, self._record
        )
        self._keepalived = keepalived.Keepalived(
            state,
            run,
            config.keepalived_command,
            nics.namespace,
            config.amphora_id,
            self._record,
            rights.as_keepalived,
            rights.alive_script,
        )
        self._counters = counters.Counters(state / "counters.json")

    def resume(self) -> None:
        """Go on with what an earlier agent was told; a NIC or a program that is missing is reported by silence, not by dying."""
        self._record.begin()
        with self._lock:
            self._recall()
            self._resume_interfaces(self._nics.ensure)
            self._keepalived.prepare(self._haproxy.alive_script)
            self._ensure_programs()
            self._resume_interfaces(self._take_vips)
            config = self._haproxy.config
            if config is not None:
                self._haproxy.changes.find_lingering(config)
                self._haproxy.changes.first_checks.find()

    def apply(self, wanted: rest.WantedState) -> rest.Receipt:
        """Bring the amphora to the wanted state. If that fails, what served before goes on serving.

        :raises StaleGeneration: a newer one runs.
        :raises Occupied: another load balancer is served here.
        :raises MissingCertificates: certificates have to be sent first.
        :raises InterfaceMissing: a NIC did not appear in time.
        :raises ConfigRefused: HAProxy or keepalived refused.
        :raises SettingRefused: the kernel did not take an interface's settings.
        :raises OSError: something could not be written (the disk is full, for instance).
        """
        with self._lock, self._replacing():
            running, new_hash = self._wanted, wanted.hash
            if running is not None and running.load_balancer_id != wanted.load_balancer_id:
                raise errors.Occupied(running.load_balancer_id)
            if running is not None and wanted.generation < running.generation:
                raise errors.StaleGeneration(wanted.generation, running.generation)
            if running is not None and new_hash == self._hash and self._settled and self._programs_run(wanted):
                how = "none"
                if wanted.keepalived_config is not None:  # whoever sends what runs already does so to have something mended
                    self._keepalived.assert_again()
            else:
                self._settled = False
                how = self._bring_to(wanted, changed=new_hash != self._hash)
            self._wanted, self._hash, self._settled = wanted, new_hash, True
            self._states = dict.fromkeys(self._meant_to_run(), programs.RUNS)
            self._remember()
            self._watch_first_checks()
            LOG.info("%s: generation %s applied (%s)", wanted.load_balancer_id, wanted.generation, how)
        self.on_change()
        return rest.Receipt(wanted.load_balancer_id, wanted.generation, new_hash, how)

    def remove(self, load_balancer_id: str) -> None:
        """Stop serving a load balancer and forget its files; unknown is fine."""
        with self._lock, self._replacing():
            if self._wanted is not None and self._wanted.load_balancer_id != load_balancer_id:
                return
            self._keepalived.stop()
            self._nics.drop_vips(self._known_nics)  # before HAProxy ends: a client without an answer asks again, a refused one gives up
            self._haproxy.stop()
            self._nics.drop(self._known_nics, ())
            self._counters.forget()
            (self._state / "state.json").unlink(missing_ok=True)
            shutil.rmtree(self._state / "certificates", ignore_errors=True)
            self._wanted, self._hash, self._known_nics, self._settled, self._states = None, "", (), True, {}
        self.on_change()

    def receipt(self, load_balancer_id: str) -> rest.Receipt | None:
        """What runs; None if this load balancer does not."""
        wanted = self._wanted
        if wanted is None or wanted.load_balancer_id != load_balancer_id:
            return None
        return rest.Receipt(load_balancer_id, wanted.generation, self._hash, "none")

    def generations(self) -> dict[str, int]:
        """The generation that runs, by load balancer; none while HAProxy or keepalived should run and does not."""
        wanted = self._wanted
        return {} if wanted is None or not self._serves() else {wanted.load_balancer_id: wanted.generation}

    def store_certificate(self, name: str, pem: bytes) -> None:
        """Keep a certificate for the next wanted state.

        :raises ValueError: the name is not the content's hash.
        """
        if not CERTIFICATE_NAME.fullmatch(name) or hashlib.sha256(pem).hexdigest() != name.removesuffix(".pem"):
            raise ValueError("the name of a certificate is the SHA-256 of its content, followed by .pem")
        system.write_file(self._state / "certificates" / name, pem, system.FOR_PROGRAMS)

    def look(self) -> dict[str, Any] | None:
        """Start again what died or hangs, and return the report; None while HAProxy, though it runs, does not say how it fares."""
        if not self._lock.acquire(blocking=False):
            return self._report()  # a change is under way: it does its own starting
        try:
            self._ensure_programs()
            if self._states.get(programs.HAPROXY, programs.RUNS) != programs.RUNS:
                return self._report()
            self._haproxy.changes.remove_lingering()
            self._haproxy.relieve_memory()
            self._haproxy.changes.first_checks.look()
            if self._serves():
                self._announce_again()
            made = self._report()
            if made is not None:
                self._haproxy.remember({pool: item["members"] for pool, item in made["pools"].items()})
            return made
        finally:
            self._watch_first_checks()
            self._lock.release()

    def live_by(self, config: boot.AgentConfig) -> None:
        """Take the limits of a configuration: from the next reload on."""
        self._haproxy.live_by(haproxy.Limits(config.hard_stop_after, config.max_former_workers, config.memory_reserve))

    def end(self) -> None:
        """The agent ends, as it was told to; the programs go on."""
        self._counters.save()
        self._record.end()

    def watches(self) -> bool:
        """Whether somebody is to be told at once when HAProxy stops to answer: in a pair the partner takes over."""
        return self._haproxy.configured and self._keepalived.configured

    def haproxy_hangs(self) -> bool | None:
        """Ask HAProxy's worker whether it lives; None if it may answer yet, for it has work to do or is being replaced by us."""
        if self._haproxy.runtime.answers(watch.PATIENCE):
            return False
        if self._is_replacing or self._haproxy.is_busy():  # not the lock: whoever waits for a HAProxy that hangs holds it, too
            return None
        return True

    @contextlib.contextmanager
    def _replacing(self) -> Iterator[None]:
        self._is_replacing = True
        try:
            yield
        finally:
            self._is_replacing = False

    def tell_keepalived(self, hangs: bool) -> None:
        """Have keepalived give the VIP away, or take part again.

        :raises OSError: there is no keepalived to be told.
        """
        keepalived.say_hangs(self._keepalived.flag, hangs)

    def save_counters(self) -> None:
        """Write the counters down before they are told to anyone."""
        self._counters.save()

    def _recall(self) -> None:
        """Read what was remembered. If it can't be read, what runs goes on running until the controller sends its wish again."""
        content = system.read_file(self._state / "state.json")
        if content is None:
            return
        try:
            data = json.loads(content)
            wanted = rest.WantedState.parse(json.dumps(data["wanted"]).encode())
            self._known_nics = tuple(rest.interface(item) for item in data["interfaces"])
        except (ValueError, TypeError, KeyError) as exc:
            LOG.error("What ran before is not known: %s", exc)
            return
        self._wanted, self._hash = wanted, wanted.hash
        # An agent that was killed half way may have left newer files than it remembers.
        self._settled = self._haproxy.config == wanted.haproxy_config and self._keepalived.is_set_to(wanted.keepalived_config)
        LOG.info("%s: going on with generation %s", wanted.load_balancer_id, wanted.generation)

    def _resume_interfaces(self, step: Callable[[tuple[rest.Interface, ...]], None]) -> None:
        if self._wanted is None:
            return
        try:
            step(self._wanted.interfaces)
        except (errors.AgentError, system.CommandFailed) as exc:
            self._settled = False
            LOG.error("The interfaces are not as they were: %s", exc)

    def _bring_to(self, wanted: rest.WantedState, changed: bool) -> str:
        _refuse_malformed(wanted, self._haproxy.config or "")
        missing = [name for name in wanted.certificates if not (self._state / "certificates" / name).is_file()]
        if missing:
            raise errors.MissingCertificates(missing)
        new_interfaces = self._bring_interfaces(wanted)
        if wanted.haproxy_config is not None:
            self._haproxy.check(wanted.haproxy_config, wanted.peer_name)
        self._keepalived.prepare(self._haproxy.alive_script)
        if wanted.keepalived_config is not None:
            self._keepalived.check(wanted.keepalived_config)
        how = self._apply_haproxy(wanted)
        changed = self._apply_keepalived(wanted) or changed
        if new_interfaces:
            self._take_vips(wanted.interfaces)
        self._nics.drop(self._known_nics, wanted.interfaces)
        self._known_nics = wanted.interfaces
        self._drop_certificates(wanted)
        return "runtime" if how == "none" and changed else how

    def _bring_interfaces(self, wanted: rest.WantedState) -> bool:
        """Have NICs, addresses and routes; False if nothing of them, nor of the VIPs, has changed."""
        running = self._wanted
        if running is not None and running.interfaces == wanted.interfaces == self._known_nics:
            return False
        self._known_nics = interfaces.merged(self._known_nics, wanted.interfaces)
        self._nics.ensure(wanted.interfaces)
        return True

    def _take_vips(self, wanted: tuple[rest.Interface, ...]) -> None:
        self._nics.take_vips(wanted)
        self._to_announce, self._announced_at = ANNOUNCEMENTS - 1, time.monotonic()

    def _announce_again(self) -> None:
        if self._wanted is not None and self._to_announce and time.monotonic() - self._announced_at >= ANNOUNCE_INTERVAL:
            self._to_announce, self._announced_at = self._to_announce - 1, time.monotonic()
            self._nics.announce(self._wanted.interfaces)

    def _apply_haproxy(self, wanted: rest.WantedState) -> str:
        if wanted.haproxy_config is not None:
            return self._haproxy.apply(wanted.haproxy_config, wanted.peer_name, self._report_quietly)
        if not self._haproxy.configured:
            return "none"
        self._report_quietly()
        self._haproxy.stop()
        return "reload"

    def _apply_keepalived(self, wanted: rest.WantedState) -> bool:
        if wanted.keepalived_config is not None:
            return self._keepalived.apply(wanted.keepalived_config)
        if not self._keepalived.configured:
            return False
        self._keepalived.stop()
        return True

    def _programs_run(self, wanted: rest.WantedState) -> bool:
        serves = wanted.haproxy_config is None or self._haproxy.runs(wanted.haproxy_config, wanted.peer_name)
        return serves and (wanted.keepalived_config is None or self._keepalived.pid() is not None)

    def _meant_to_run(self) -> list[str]:
        meant = ((programs.HAPROXY, self._haproxy.configured), (programs.KEEPALIVED, self._keepalived.configured))
        return [program for program, configured in meant if configured]

    def _ensure_programs(self) -> None:
        ensure = {programs.HAPROXY: self._haproxy.ensure_running, programs.KEEPALIVED: self._keepalived.ensure_running}
        self._states = {program: ensure[program]() for program in self._meant_to_run()}

    def _serves(self) -> bool:
        """Whether every program runs that should."""
        return all(state == programs.RUNS for state in self._states.values())

    def _report(self) -> dict[str, Any] | None:
        wanted, states = self._wanted, dict(self._states)
        shown = {"programs": self._record.show(states), "vrrp": self._vrrp()}
        if wanted is None:
            return {**report.EMPTY, **shown}
        if states.get(programs.HAPROXY) != programs.RUNS:
            return report.make(wanted.generation, self._hash, report.Statistics(), {}) | shown
        with self._counting:  # asked and taken in one go, so that an old worker is never counted after a new one
            try:
                answer = self._ask_present_worker("show info;show stat -1 7 -1")
            except haproxy_runtime.RuntimeFailed as exc:
                LOG.warning("No report: %s", exc)
                return None
            statistics = report.read_statistics(answer, self._haproxy.changes.lingering)
            totals = self._counters.take(haproxy_runtime.worker_in(answer) or 0, statistics.raw)
        return report.make(wanted.generation, self._hash, statistics, totals) | shown

    def _vrrp(self) -> dict[str, Any] | None:
        if not self._keepalived.configured:
            return None
        said = self._keepalived.vrrp
        return {"state": keepalived_dump.UNKNOWN if said is None else said.state, "holds_vip": self._keepalived.holds_vip()}

    def _ask_present_worker(self, question: str) -> str:
        """:raises RuntimeFailed: HAProxy does not answer."""
        for _ in range(HANDOVER_POLLS):
            answer = self._haproxy.runtime.ask(question)
            if haproxy_runtime.worker_in(answer) != self._counters.former_worker:
                break
            time.sleep(0.02)
        return answer

    def _watch_first_checks(self) -> None:
        """Have somebody look closely while first checks are under way: `look()` comes around each second only."""
        if self._haproxy.changes.first_checks.waiting and (self._watcher is None or not self._watcher.is_alive()):
            self._watcher = threading.Thread(target=self._await_first_checks, name="first-checks", daemon=True)
            self._watcher.start()

    def _await_first_checks(self) -> None:
        until = time.monotonic() + CLOSE_WATCH
        waiting = True
        while waiting and time.monotonic() < until:
            time.sleep(CLOSE_WATCH_INTERVAL)
            with self._lock:
                if not self._haproxy.runtime.answers(haproxy.QUESTION_TIMEOUT):
                    break  # it hangs: that is for `look()` to settle, which needs the lock
                self._haproxy.changes.first_checks.look()
                waiting = self._haproxy.changes.first_checks.waiting
        self.on_change()

    def _report_quietly(self) -> None:
        """Take in the counters of a worker that is about to go."""
        if self._wanted is not None:
            self._report()

    def _drop_certificates(self, wanted: rest.WantedState) -> None:
        for path in (self._state / "certificates").glob("*.pem"):
            if path.name not in wanted.certificates:
                path.unlink(missing_ok=True)

    def _remember(self) -> None:
        assert self._wanted is not None
        data = {
            "wanted": {**dataclasses.asdict(self._wanted), "hash": self._hash},
            "interfaces": [dataclasses.asdict(item) for item in self._known_nics],
        }
        system.write_file(self._state / "state.json", json.dumps(data).encode())


def _is_address(word: str) -> bool:
    """Whether it is an address, or one with the length of a prefix."""
    if not re.fullmatch(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?", word):
        return False
    try:
        ipaddress.ip_interface(word)
    except ValueError:
        return False
    return True


def _refuse_malformed(wanted: rest.WantedState, taken: str = "") -> None:
    """Refuse whatever could become a line of its own in a file or a batch of commands, and lines that nobody has to send."""
    allowed.check_haproxy(wanted.haproxy_config or "", taken)
    allowed.check_keepalived(wanted.keepalived_config or "")
    for interface in wanted.interfaces:
        routes = [part for route in interface.routes for part in (route.destination, route.gateway or "default")]
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", interface.name):
            raise rest.Malformed(f"{interface.name!r} is not a name for an interface")
        for word in (*interface.addresses, *interface.vips, *routes):
            if word != "default" and not _is_address(word):
                raise rest.Malformed(f"{word!r} is not an address")
        if not _MAC.fullmatch(interface.mac):
            raise rest.Malformed(f"{interface.mac!r} is not a MAC address")
        if not LOWEST_MTU <= interface.mtu <= HIGHEST_MTU:
            raise rest.Malformed(f"{interface.mtu} is no MTU: they are from {LOWEST_MTU} to {HIGHEST_MTU}")
    if wanted.peer_name is not None and not re.fullmatch(r"[A-Za-z0-9_.:+/=-]{1,128}", wanted.peer_name):
        raise rest.Malformed(f"{wanted.peer_name!r} is not the name of a peer")
    for name in wanted.certificates:
        if not CERTIFICATE_NAME.fullmatch(name):
            raise rest.Malformed(f"{name!r} is not the name of a certificate")
