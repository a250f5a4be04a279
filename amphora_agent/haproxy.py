"""HAProxy of one load balancer: check, swap, reload, or keep what served before."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from amphora_agent import (
    allowed,
    certificates,
    errors,
    former_logs,
    former_workers,
    haproxy_config,
    haproxy_drains,
    haproxy_first_checks,
    haproxy_introduction,
    haproxy_order,
    haproxy_reports,
    haproxy_runtime,
    haproxy_states,
    haproxy_tables,
    program,
    programs,
    system,
)
from amphora_agent.protocol import boot, rendered, rest

LOG = logging.getLogger(__name__)
_FAILED, _RELOADING = b"Loading failure", b"Reloading HAProxy"  # what a master says of a reload
START_TIMEOUT = 10.0
"""Seconds that a new worker may take to serve beside an old one; as long as the first one if it works on a processor or waits for one."""
FIRST_START_TIMEOUT = 30.0
"""Where nothing serves, waiting costs nobody anything: an emulated processor of a crowded host was seen to need more than ten seconds."""
_STILL_AT_IT = 2.0
"""Seconds for which a program that was busy a moment ago counts as busy."""
STOP_TIMEOUT = 2.0
_PAUSES = 10
"""So many times as long as the counters of a worker took to read they are left alone while its successor starts."""
_RESERVED = pathlib.Path("/proc/sys/net/ipv4/ip_local_reserved_ports")  # of IPv6, too
CONFIG = "haproxy.cfg"
"""The file of the configuration that is meant to run: while there is none, no HAProxy is."""

# HAProxy's own HTTP client is for Lua, which we do not use; to verify servers it would load all authorities of the system, which is three
# quarters of the time (44 of 54 ms) of each check and start.
_GLOBAL = """\
global
    stats socket {socket} mode 0660 level admin expose-fd listeners
    stats timeout 30s
    server-state-file {state}
    crt-base {certificates}
    ca-base {certificates}
    max-spread-checks 50ms
{limits}    maxconn {maxconn}
    no strict-limits
    httpclient.ssl.verify none
    log ring@figlina local0
{identity}
ring figlina
    format rfc3164
    maxlen 1200
    size 262144
"""


# The key of tickets is as old as the worker, and who has it reads every TLS 1.2 session of that time; clients resume from the worker's own
# memory instead (`tune.ssl.cachesize`). Mozilla's recommendations say so too, and to seal two tickets was a twentieth of a handshake's CPU.
_NO_TICKETS = "    ssl-default-bind-options no-tls-tickets"
_EXTERNAL_CHECKS = """\
    external-check
    insecure-fork-wanted
    setenv {variable} {directory}
"""
_DESCRIPTION = "global\n    description "
_PING = """\
#!/bin/sh
# HAProxy gives its own address and port, the server's address and port, and both names. It does not give the `addr` of a server.
address=$3
while read -r server own; do
    if [ "$server" = "$HAPROXY_PROXY_NAME/$HAPROXY_SERVER_NAME" ]; then address=$own; fi
done < "${0%/*}/addresses"
PATH=/usr/bin:/bin:/usr/sbin:/sbin exec ping -q -n -c 1 -W 2 "$address" > /dev/null 2>&1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Where the files of one load balancer lie: `state` survives a restart of the machine, `run` need not.

    `own` is where HAProxy itself writes, and `as_user` what comes before its command: if it is to be another user than we are.
    """

    state: pathlib.Path
    run: pathlib.Path
    own: pathlib.Path | None = None
    as_user: tuple[str, ...] = ()

    @property
    def certificates(self) -> pathlib.Path:
        """The PEM files of the listeners and pools."""
        return self.state / "certificates"


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """For how long, and in how many processes, connections of before a reload live on: 0 is for as long as they last. `memory_reserve` MiB
    are kept available at their cost."""

    hard_stop_after: int = 0  # seconds
    max_former_workers: int = 0
    memory_reserve: int = 64

    def lines(self) -> str:
        """The lines of the `global` section that say so."""
        stop = f"    hard-stop-after {self.hard_stop_after}s\n" if self.hard_stop_after else ""
        return stop + (f"    mworker-max-reloads {self.max_former_workers}\n" if self.max_former_workers else "")


class HAProxy(haproxy_reports.ReportingHAProxy):
    """One master with its workers, in the tenant namespace. Not thread-safe: its load balancer lets one in at a time."""

    def __init__(self, places: Places, command: str, namespace: str, record: programs.Record | None = None) -> None:
        own = places.own or places.run
        self._certificates = certificates.Certificates(places.certificates)
        reported = (own / "haproxy.sock", places.state / "counters.json", places.run / "drains.json")
        super().__init__(*reported, self._certificates, places.run / "metrics.sock", places.state / "metrics.json")
        self._exporter.expiries = lambda: self._certificates.ends(self.runtime, certificates.of(self.config or ""))
        self._command = command
        self._record = record or programs.Record(places.state / "programs.json")
        self._namespace = namespace
        self._config = places.state / CONFIG
        self._global = places.state / "haproxy-global.cfg"
        self._arranged = places.run / "haproxy.cfg"
        self._somebody_waits_until = 0.0  # for the tables of the worker before
        self._is_known = False  # whether the worker that was found at first was told that it has its tables
        self._server_state = places.run / "haproxy-servers"
        self._led = places.run / "haproxy-led"  # which text HAProxy was started with, and to which runtime commands have led it since
        self._as_user = places.as_user
        self._pid_file = own / "haproxy.pid"
        self._log = places.run / "haproxy.log"
        self._checks = places.run / "checks"
        self._process: subprocess.Popen[bytes] | None = None
        self._accepted = ("", "")  # preamble and configuration that HAProxy would take, by its own words
        self._last_preamble: tuple[tuple[str, str | None], str] | None = None  # of a large configuration it takes a while to make
        self._seen: tuple[str | None, Mapping[str, Mapping[str, str]]] = (None, {})  # a configuration, and what was reported under it
        self._texts: dict[str, str] = {}  # configurations by their marks: those that a running worker may have
        self._reserved: frozenset[int] = frozenset()  # ports that no connection to a member takes
        self._strangers = ""  # backends that the next worker is to check beside, for a configuration that is to come
        self._worker_pulse, self._master_pulse = programs.Pulse(), programs.Pulse()
        self._restarts = programs.Restarts()
        self._ended: list[subprocess.Popen[bytes]] = []  # to be reaped
        self._ran = False  # since it was started last: a start that fails again is no further death
        self._masters: list[int] | None = None  # that hung, and whose workers still finish connections; None: not known yet
        self._master_socket = own / "haproxy-master.sock"
        self._to_master = haproxy_runtime.RuntimeApi(self._master_socket, of_master=True)
        self.limits = Limits()
        self._former = former_workers.FormerWorkers()
        self._former_logs = former_logs.FormerLogs(namespace, lambda: self.config or "", places.certificates)

    @property
    def config(self) -> str | None:
        """The configuration that is meant to run; None if none is."""
        content = system.read_file(self._config)
        return None if content is None else content.decode()

    @property
    def configured(self) -> bool:
        return self._config.exists()

    def is_set_to(self, wanted: rest.WantedState) -> bool:
        text = wanted.programs.get(self.name)
        return self.config == (None if text is None else certificates.noted(text, wanted))

    def refuse(self, text: str) -> None:
        certificates.refuse_notes(text)
        allowed.check_haproxy(text, self.config or "")

    @property
    def alive_script(self) -> str:
        """The text of a shell script that succeeds while HAProxy runs; a zombie does not count."""
        return alive_script(self._config, self._pid_file)

    def master(self) -> int | None:
        """The process id of the master, whoever started it."""
        if self._process is not None:
            self._process.poll()  # reaps it if it has ended
        return system.pid_from_file(self._pid_file, str(self._pid_file))

    def check(self, text: str, wanted: rest.WantedState) -> None:
        """Ask HAProxy whether it takes a configuration (`haproxy -c`), but not where it runs nothing yet, for then its start is the answer,
        nor where what differs from what it runs is plain. A text that lies on disk and that no worker says it runs counts for nothing here.

        :raises ConfigRefused: HAProxy refuses it.
        :raises ProgramFailed: HAProxy could not be asked.
        """
        config, running = certificates.noted(text, wanted), self.config
        if running is None:
            return
        preamble = self._preamble(config, wanted.peer_name)
        if not haproxy_config.differ_plainly(running, config) or not self._is_run(running, preamble):
            self._ask(config, preamble)

    def _runs_what_is_written(self) -> bool:
        return self._is_run(self.config or "", _split_mark(system.read_file(self._global))[1])

    def _is_run(self, config: str, preamble: str) -> bool:
        """Whether a worker says that it runs this."""
        worker = self.runtime.worker()
        return worker is not None and self._text_of(worker) == _mark(config, preamble)

    def go_back_to(self, wanted: rest.WantedState | None) -> None:
        config, (_, preamble) = self.config, _split_mark(system.read_file(self._global))
        if config is None or (wanted is not None and self.is_set_to(wanted)) or self._is_run(config, preamble):
            return
        LOG.warning("An agent was killed while it tried a configuration that HAProxy does not run: it is forgotten")
        text = None if wanted is None else wanted.programs.get(self.name)
        if wanted is None or text is None:
            self.stop()
            return
        good = certificates.noted(text, wanted)
        self._write(good, self._preamble(good, wanted.peer_name))

    def _ask(self, config: str, preamble: str) -> None:
        """Ask HAProxy.

        :raises ConfigRefused: it would not take it.
        :raises ProgramFailed: it could not be asked.
        """
        if self._accepted == (preamble, config):
            return
        self._certificates.put(certificates.of(config))
        self._ensure_run_files()
        self._ensure_exporting(config)
        beside, beside_global = self._config.with_suffix(".new"), self._global.with_suffix(".new")
        system.write_file(beside, config.encode(), durable=False)
        system.write_file(beside_global, preamble.encode(), durable=False)
        try:
            system.run([self._command, "-c", "-f", str(beside_global), "-f", str(beside)])
        except system.NotRun as exc:
            raise errors.ProgramFailed("HAProxy", exc.reason) from exc
        except system.CommandFailed as exc:
            self._certificates.put(certificates.of(self.config or ""))
            raise errors.ConfigRefused("HAProxy", self._without_paths(exc.output)) from exc
        finally:
            beside.unlink(missing_ok=True)
            beside_global.unlink(missing_ok=True)
        self._accepted = (preamble, config)

    def apply(self, text: str, wanted: rest.WantedState) -> str:
        config = certificates.noted(text, wanted)
        self._reserve_ports(config)
        with self._replacing():
            how = self._bring_to(config, self._preamble(config, wanted.peer_name))
        if how != program.NONE:
            self.changes.first_checks.wait()
        return how

    def _reserve_ports(self, config: str) -> None:
        """Have no connection to a member take the port of peers: both are at one address, and HAProxy could not listen there."""
        ports = haproxy_tables.ports_of_peers(config)
        if not ports or ports == self._reserved:
            return

        def reserve() -> None:
            if _RESERVED.read_text().strip():  # in a tenant's namespace something is from the beginning (`interfaces`)
                _RESERVED.write_text(",".join(map(str, sorted(ports))))

        try:
            system.inside_namespace(self._namespace, reserve)
        except OSError as exc:
            LOG.warning("Connections to members may take the port of peers: %s", exc)
            return
        self._reserved = ports

    def _bring_to(self, config: str, preamble: str) -> str:
        running = self.config
        self.changes.drains.follow(running or "", config)
        worker = self.runtime.worker()
        if running is None or worker is None or self.master() is None:
            if running is not None:
                self._ask(config, preamble)
            self._ensure_exporting(config)
            self._replace(config, preamble, self._start_afresh)
            return program.RELOAD
        if self._text_of(worker) == _mark(running, preamble):
            if running == config and not self._differences():
                return program.NONE
            if running != config and self.changes.apply(running, config):
                self._note_led(worker, config, preamble)
                return program.RUNTIME
        try:
            self._ask(config, preamble)
        except errors.ConfigRefused:  # not asked before, so what differs is plain: what of it was carried out at run time is undone
            self._reload(self._count_quietly)
            raise
        self._introduce(worker, running, config)
        self._replace(config, preamble, lambda: self._reload(self._count_quietly))
        return program.RELOAD

    def _introduce(self, worker: haproxy_runtime.Worker, running: str, config: str) -> None:
        """Have members checked to whom `config` will lead clients that are served already: by another worker of the text that runs."""
        if self._text_of(worker) != _mark(running, _split_mark(system.read_file(self._global))[1]):
            return  # nobody knows what runs
        if not (strangers := haproxy_introduction.strangers(running, config)):
            return
        programs_of_checks = f"\nglobal\n{self._external_checks()}" if rendered.CHECKS_VARIABLE in strangers else ""
        self._strangers = f"{programs_of_checks}{strangers}"
        try:
            if self._reload(self._count_quietly):
                self.changes.first_checks.wait(patience=haproxy_first_checks.PATIENCE_BESIDE)
        finally:
            self._strangers = ""

    def live_by(self, config: boot.AgentConfig) -> None:
        """Take its limits: from the next reload on, and for memory at once."""
        self.limits = Limits(config.hard_stop_after, config.max_former_workers, config.memory_reserve)
        self._last_preamble = None

    def resume(self) -> None:
        if (config := self.config) is not None:
            self._reserve_ports(config)
            self._ensure_exporting(config)
            self.changes.find_lingering(config)
            self.changes.first_checks.find()
        self._former_counts.adopt(self._former_pids(), self._to_master)

    def tend(self) -> None:
        self.changes.drains.end_overdue(lambda: self.config or "", self._former_workers)
        self.changes.remove_lingering()
        self.relieve_memory()
        self.changes.first_checks.look()

    def relieve_memory(self) -> bool:
        """If memory is short, end a worker of before a reload; whether one was."""
        former = self._former_pids()
        ended = self._former.look(former, self.limits.memory_reserve) if former else None
        if ended is not None:
            self._record.note(programs.FORMER, programs.DIED)
        return ended is not None

    def _former_pids(self) -> list[int]:
        """Workers of before reloads; none if nobody knows which one is the present one."""
        master = self.master()
        workers = [] if master is None else system.children(master)
        if len(workers) < 2 or (present := self.runtime.worker()) is None:
            return []
        return [pid for pid in workers if pid != present.pid]

    def _former_workers(self) -> list[haproxy_drains.Ask]:
        """The same, as their master passes commands on to them."""
        return [lambda command, pid=pid: self._to_master.ask(f"@!{pid} {command}") for pid in self._former_pids()]  # type: ignore[misc]

    def told(self, part: program.Part) -> None:
        """Keep what is reported of servers: a HAProxy that is started again after it died is to know who is DOWN."""
        if not part.pools:
            return
        if not self._texts:
            self._remember_text()
        self._seen = (next(reversed(self._texts.values()), None), {pool: item["members"] for pool, item in part.pools.items()})

    def runs(self, text: str, wanted: rest.WantedState) -> bool:
        """Whether HAProxy itself says that it runs this configuration, and no server of it is otherwise."""
        config = certificates.noted(text, wanted)
        worker = self.runtime.worker()
        if worker is None or self.master() is None or self.config != config:
            return False
        return self._text_of(worker) == _mark(config, self._preamble(config, wanted.peer_name)) and not self._differences()

    def ensure_running(self) -> str:
        """Ask the worker and the master whether they live, and start them again if they died or hang; how HAProxy fares (`programs`)."""
        system.trim(self._log)
        self._bury_masters()
        master = self.master()
        if master is None:
            return self._start_again(programs.DIED)
        self._ran = True
        asked_at = time.monotonic()
        if self.runtime.answers(haproxy_reports.QUESTION_TIMEOUT):
            self._worker_pulse.answered()
            self._let_nobody_wait()
            return self._ask_master(master)
        busy = self.is_busy()
        if not self._worker_pulse.missed(asked_at, busy):
            return programs.RUNS if busy else programs.SILENT
        return self._start_again(programs.HUNG)

    def _let_nobody_wait(self) -> None:
        """An agent before this one may have ended while a new worker waited for its tables."""
        if not self._is_known:
            with contextlib.suppress(haproxy_runtime.RuntimeFailed):
                self.runtime.ask(haproxy_order.HAS_LEARNED)
                self._is_known = True

    def is_busy(self) -> bool:
        master = self.master()
        return master is not None and system.is_busy(system.children(master)[-1:])

    def _ask_master(self, master: int) -> str:
        """The worker serves. A master that hangs takes no reload and starts no worker: another one takes over, and no connection is cut."""
        asked_at = time.monotonic()
        older = not self._master_socket.exists()  # an older agent started it
        if older or self._to_master.answers(haproxy_reports.QUESTION_TIMEOUT):
            self._master_pulse.answered()
        elif self._master_pulse.missed(asked_at, system.is_busy([master])) and self._restarts.may_start():
            self._record.note(programs.HAPROXY, programs.HUNG)
            if not self._take_over(master):
                self._start_afresh()
        return programs.RUNS if self.runtime.answers(haproxy_reports.QUESTION_TIMEOUT) else programs.DOWN

    def _start_again(self, cause: str) -> str:
        if not self._restarts.may_start():
            return programs.DOWN
        if self._ran or self._pid_file.exists():
            self._record.note(programs.HAPROXY, cause)
        return programs.RUNS if self._start_afresh() else programs.DOWN

    def stop(self) -> None:
        if self.runtime.answers(haproxy_reports.QUESTION_TIMEOUT):
            self._count_quietly()
        with self._replacing():
            self._end_all(STOP_TIMEOUT)
        self._accepted = ("", "")
        for path in (self._config, self._global, self._arranged, self._server_state, self._led, self._pid_file):
            path.unlink(missing_ok=True)
        self.changes.forget()
        self.changes.drains.forget()
        self.changes.first_checks.begin(())
        self._seen = (None, {})

    def _replace(self, config: str, preamble: str, go: Callable[[], bool]) -> None:
        kept = (system.read_file(self._config), system.read_file(self._global))
        said_before = self._log.stat().st_size if self._log.exists() else 0
        with contextlib.ExitStack() as broken_off:  # when something can't be written: no worker is known to run it
            broken_off.callback(self._put_back, *kept)
            self._write(config, preamble)
            if go() and self._is_as_told():
                broken_off.pop_all()
                return
        words = self._said_since(said_before)
        LOG.error("HAProxy does not serve with the new configuration, the old one is put back: %s", words or "it says nothing")
        if kept[0] is None or kept[1] is None:
            self.stop()
            self._ask(config, preamble)  # it was not asked before: what is wrong is said best in its answer
        elif not self._reload() and not self._runs_what_is_written():  # who serves it is not ended because another one takes its time
            self._start_afresh()
        if program_path(self._command) is None:  # then the words are those of the program that was to start it
            raise errors.ProgramFailed("HAProxy", "can't be run: it is not installed")
        if not words:
            raise errors.ProgramFailed("HAProxy", "did not start with the new configuration in time")
        raise errors.ConfigRefused("HAProxy", words)

    def _write(self, config: str, preamble: str) -> None:
        system.write_file(self._global, _with_mark(config, preamble).encode(), system.FOR_PROGRAMS)
        system.write_file(self._config, config.encode())

    def _put_back(self, config: bytes | None, preamble: bytes | None) -> None:
        """Have the files as they were."""
        for path, content, mode in ((self._global, preamble, system.FOR_PROGRAMS), (self._config, config, 0o600)):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                system.write_file(path, content, mode)

    def _is_as_told(self) -> bool:
        """Whether a new worker's servers are the wanted ones; if not, another worker gets a try that knows nothing of those before."""
        for last in (False, True):
            if not (found := self._differences()):
                return True
            LOG.error("HAProxy runs otherwise than it was told: %s", "; ".join(found))
            if last or not self._reload(forget_health=True):
                break
        with self._log.open("ab") as log:
            log.write(f"it runs otherwise than it was told: {'; '.join(found)}\n"[:2000].encode())
        return False

    def _differences(self) -> list[str]:
        try:
            return self.changes.differences(self.config or "")
        except haproxy_runtime.RuntimeFailed as exc:
            return [str(exc)]

    def _reload(self, count: Callable[[], None] = lambda: None, forget_health: bool = False) -> bool:
        """Hand over to a new worker; old ones finish their connections."""
        time.sleep(max(0.0, self._somebody_waits_until - time.monotonic()))  # a worker that is to end forgets whom it should know
        count()
        master, before, expected = self.master(), self.runtime.worker(), self._set_mark()
        if master is None:
            return self._start_afresh()
        old = None if before is None else self._texts.get(self._text_of(before))
        with haproxy_tables.kept(self.runtime, old, self.config or "") as tables, self._beside(old) as succeeded:
            self._arrange(tables.names)
            counts_at = time.monotonic()

            def watch() -> None:
                nonlocal counts_at
                if (began := time.monotonic()) >= counts_at:
                    count()
                    counts_at = time.monotonic() + _PAUSES * (time.monotonic() - began)
                tables.read()

            if not self._hand_over(watch, master, before, expected, None if forget_health else old):
                return False
            self._bring(tables)
            succeeded()
            tables.introduce()
        return True

    def _bring(self, tables: haproxy_tables.Carrier) -> None:
        """Let a new worker have its tables."""
        tables.carry()
        if tables.names:
            self._somebody_waits_until = time.monotonic() + haproxy_order.PATIENCE

    @contextlib.contextmanager
    def _beside(self, old: str | None) -> Iterator[Callable[[], None]]:
        """Around a reload: what is yielded is to be called once there is a new worker."""
        former = self._former_counts.workers
        with self._former_logs.beside(self.runtime, old, former) as told, self._former_counts.beside(self.runtime) as counted:

            def succeeded() -> None:
                counted()
                told()

            yield succeeded

    def _hand_over(
        self, watch: Callable[[], None], master: int, before: haproxy_runtime.Worker | None, expected: str, old: str | None
    ) -> bool:
        self._write_check_addresses()
        start = self._beginnings(old)
        failures, begun = self._said(_FAILED), self._said(_RELOADING)
        outcome: list[bool] = []

        def decided() -> bool:
            watch()
            now = self.runtime.worker()
            if now is not None and (before is None or now.pid != before.pid) and now.description == expected:
                outcome.append(True)
            elif not system.is_running(master) or self._said(_FAILED) > failures:
                outcome.append(False)
            return bool(outcome)

        is_in_time = self._patience(master)
        while not outcome and is_in_time():
            # A master of HAProxy 2.6 that was started a moment ago may note the signal and go to sleep on it: another one wakes it up.
            if self._said(_RELOADING) == begun:
                system.send_signal(master, signal.SIGUSR2)  # it executes itself anew: for a moment it has no command line and no pid file
            system.wait_until(decided, 1.0)
        if outcome != [True]:
            return False
        self._begun(start)
        return True

    def _patience(self, master: int) -> Callable[[], bool]:
        """From now on: whether a new worker of this master may still come to serve."""
        began = busy_at = time.monotonic()

        def is_in_time() -> bool:
            nonlocal busy_at
            now = time.monotonic()
            if system.is_busy([master, *system.children(master)]):
                busy_at = now
            return now - began < (FIRST_START_TIMEOUT if now - busy_at < _STILL_AT_IT else START_TIMEOUT)

        return is_in_time

    def _begun(self, start: haproxy_states.Start) -> None:
        """A new worker serves."""
        self.changes.forget()
        self.changes.first_checks.begin(start.unchecked)
        self._remember_text()

    def _said(self, words: bytes) -> int:
        """How often the master has said something."""
        return (system.read_file(self._log) or b"").count(words)

    def _take_over(self, master: int) -> bool:
        """Have another master and worker take the listeners from the worker of a master that hangs, which then finishes its connections."""
        before = self.runtime.worker()
        workers = [pid for pid in system.children(master) if system.is_running(pid)]
        if before is None or not workers:
            return False
        system.send_signal(master, signal.SIGSTOP)  # it must not wake up while the other one works
        self._masters = [*(self._masters or ()), master]
        if self._process is not None and self._process.pid == master:
            self._ended.append(self._process)
        self._set_mark()
        self._write_check_addresses()
        old = self._texts.get(self._text_of(before))
        start = self._beginnings(old)

        def taken_over() -> bool:
            tables.read()
            now = self.runtime.worker()
            return now is not None and now.pid != before.pid and self.master() not in (None, master)

        with haproxy_tables.kept(self.runtime, old, self.config or "") as tables, self._beside(old) as succeeded:
            self._arrange(tables.names)
            if not self._start("-x", str(self._pid_file.with_name("haproxy.sock")), "-sf", *map(str, workers)):
                return False
            process = self._process
            assert process is not None
            is_in_time = self._patience(process.pid)
            system.wait_until(lambda: process.poll() is not None or taken_over() or not is_in_time(), FIRST_START_TIMEOUT)
            is_taken_over = taken_over()
            self._bring(tables)
            if is_taken_over:
                succeeded()
            tables.introduce()
        self._begun(start)
        return is_taken_over

    def _bury_masters(self) -> None:
        """End the masters that hung once their workers have finished: a worker ends with its master."""
        if self._masters is None:  # an agent before this one may have left some
            master = self.master()
            of_ours = system.processes_with_argument(str(self._pid_file))
            self._masters = [pid for pid in of_ours if pid != master and system.is_stopped(pid)]
        for pid in list(self._masters):
            if not any(system.is_running(child) for child in system.children(pid)):
                system.send_signal(pid, signal.SIGKILL)
                self._masters.remove(pid)
        self._ended = [process for process in self._ended if process.poll() is None]

    def _start(self, *how: str) -> bool:
        """Start a master; False if that is not even possible."""
        self._ran = False
        self._worker_pulse.answered()
        self._master_pulse.answered()
        files = ["-p", str(self._pid_file), "-S", f"{self._master_socket},mode,660", "-f", str(self._global), "-f", str(self._arranged)]
        try:
            self._process = system.start(
                system.in_tenant_namespace(self._namespace, [*self._as_user, self._command, "-W", *files, *how]), self._log
            )
        except system.CommandFailed as exc:
            LOG.error("HAProxy can't be started: %s", exc)
            return False
        return True

    def _start_afresh(self) -> bool:
        self._end_all(0.0)
        self._ensure_run_files()
        self._set_mark()
        self._write_check_addresses()
        self._pid_file.unlink(missing_ok=True)
        config, members = self._seen
        self._arrange()
        start = haproxy_states.start(haproxy_states.seen(members), config, self.config or "")
        self._write_server_states(start.text)
        if not self._start():
            return False
        process = self._process
        assert process is not None
        system.wait_until(
            lambda: process.poll() is not None or (self.runtime.worker() is not None and self.master() is not None), FIRST_START_TIMEOUT
        )
        self._begun(start)
        return process.poll() is None and self.runtime.worker() is not None

    def _end_all(self, grace: float) -> None:
        """A worker whose master was killed may go on with an old configuration: none is left behind."""
        pids = system.processes_with_argument(str(self._pid_file))
        if pids:
            system.end(pids, grace)
        if self._process is not None:
            self._process.poll()

    def _beginnings(self, old: str | None) -> haproxy_states.Start:
        """Write down what the next worker is to know of this one's health under the configuration `old`, and tell it."""
        try:
            dump = "" if old is None else self.runtime.server_states()
        except haproxy_runtime.RuntimeFailed as exc:
            LOG.warning("The new HAProxy starts without the old one's health: %s", exc)
            dump = ""
        start = haproxy_states.start(haproxy_states.rows(dump), old, self._text_to_read())
        self._write_server_states(start.text)
        return start

    def _text_of(self, worker: haproxy_runtime.Worker) -> str:
        """The mark of the text that a worker runs: the one it was started with, or the one to which runtime commands have led it since."""
        if not self._texts:
            self._remember_text()
        started, _, led = (system.read_file(self._led) or b"").decode(errors="replace").strip().partition(" ")
        return led if started == worker.description else worker.description

    def _note_led(self, worker: haproxy_runtime.Worker, config: str, preamble: str) -> None:
        """Write down that runtime commands have led a worker to a text. An agent that is killed between the two files reloads."""
        system.write_file(self._config, config.encode())
        system.write_file(self._led, f"{worker.description} {_mark(config, preamble)}\n".encode(), durable=False)
        self._remember_text()

    def _remember_text(self) -> None:
        """Keep the text on disk, and the one before: of these a running worker has one."""
        config, (_, preamble) = self.config, _split_mark(system.read_file(self._global))
        if config is not None:
            self._texts = {**dict(list(self._texts.items())[-1:]), _mark(config, preamble): self._text_to_read()}

    def _set_mark(self) -> str:
        """Have the text on disk bear its own mark, and tell it: runtime commands may have led the text away from the one it bears."""
        mark, preamble = _split_mark(system.read_file(self._global))
        config = self.config or ""
        if mark == _mark(config, preamble):
            return mark
        try:
            system.write_file(self._global, _with_mark(config, preamble).encode(), system.FOR_PROGRAMS)
        except OSError as exc:  # the disk is full: then the worker shows an older mark, and the next change is a reload
            LOG.warning("HAProxy starts with the mark of an older configuration: %s", exc)
            return mark
        return _mark(config, preamble)

    def _text_to_read(self) -> str:
        """What the next worker goes by."""
        return f"{self.config or ''}{self._strangers}"

    def _arrange(self, learned: Collection[str] = ()) -> None:
        """Write the text as the next worker reads it, which will be brought the stick tables of the backends `learned`. A master that an
        older agent has started reads the other one, which serves, too.
        """
        self._certificates.put(certificates.of(self.config or ""))
        arranged = haproxy_order.arranged(self._text_to_read(), secrets.randbelow, learned)
        system.write_file(self._arranged, arranged.encode(), system.FOR_PROGRAMS, durable=False)

    def _write_server_states(self, text: str) -> None:
        system.write_file(self._server_state, text.encode(), system.FOR_PROGRAMS, durable=False)

    def _ensure_run_files(self) -> None:
        for directory in (self._pid_file.parent, self._certificates.directory):
            directory.mkdir(parents=True, exist_ok=True)
        if not self._server_state.exists():
            self._write_server_states("1\n")
        _write_if_new(self._checks / "ping", _PING, mode=0o755)

    def _ensure_exporting(self, config: str) -> None:
        if rendered.METRICS_BACKEND in config:
            self._exporter.ensure_serving()

    def _write_check_addresses(self) -> None:
        """Tell external checks which servers are checked at an address of their own. A worker whose servers change is a new worker."""
        targets = haproxy_config.addresses_of_external_checks(self._text_to_read())
        text = "".join(f"{backend}/{name} {address}\n" for (backend, name), address in targets.items())
        _write_if_new(self._checks / "addresses", text, mode=0o644)

    def _preamble(self, config: str, peer_name: str | None) -> str:
        if self._last_preamble is None or self._last_preamble[0] != (config, peer_name):
            self._last_preamble = ((config, peer_name), self._make_preamble(config, peer_name))
        return self._last_preamble[1]

    def _make_preamble(self, config: str, peer_name: str | None) -> str:
        identity = [f"    localpeer {peer_name}"] if peer_name else []
        memory = system.memory().get("MemTotal", 0) << 10
        if rendered.CHECKS_VARIABLE in config:
            identity.append(self._external_checks().rstrip())
        if rendered.CERTIFICATES_VARIABLE in config:
            identity.append(f"    setenv {rendered.CERTIFICATES_VARIABLE} {self._certificates.directory}")
            identity.append(f"    tune.ssl.cachesize {haproxy_config.remembered_sessions(memory)}")
            identity.append(_NO_TICKETS)
        made = _GLOBAL.format(
            socket=self._pid_file.with_name("haproxy.sock"),
            state=self._server_state,
            certificates=self._certificates.directory,
            maxconn=haproxy_config.room_for_connections(config, memory),
            identity="\n".join(identity + _user_lines()),
            limits=self.limits.lines(),
        )
        return made + self._exporter.backend if rendered.METRICS_BACKEND in config else made

    def _external_checks(self) -> str:
        return _EXTERNAL_CHECKS.format(variable=rendered.CHECKS_VARIABLE, directory=self._checks)

    def _said_since(self, position: int) -> str:
        said = (system.read_file(self._log) or b"")[position:].decode(errors="replace")
        return self._without_paths(said)

    def _without_paths(self, said: str) -> str:
        said = said.replace(".new", ".cfg")
        for folder in (self._certificates.directory, self._config.parent, self._pid_file.parent, self._arranged.parent):
            said = said.replace(f"{folder}/", "")
        lines = [re.sub(r"^\[(ALERT|WARNING)\]\s*\(\d+\) : ", "", line) for line in said.splitlines() if not line.startswith("[NOTICE]")]
        alerts = [line for line in lines if "server state file" not in line and "from server-state after a reload" not in line]
        return "\n".join(alerts)[:4000]


def alive_script(config: pathlib.Path, pid_file: pathlib.Path) -> str:
    """The text of a shell script that succeeds while the HAProxy of a pid file runs, or none is meant to, for there is no configuration.

    A zombie does not count. The pid file is not there, or empty, while HAProxy starts or reloads: for a moment, or for seconds where no
    processor is free.
    """
    reads = f'read -r pid < "{pid_file}"'
    lives = '[ -n "$pid" ] && read -r _ _ state _ < "/proc/$pid/stat" && [ "$state" != Z ]'  # without a pid it would be the kernel's own
    return f'#!/bin/sh\n[ -e "{config}" ] || exit 0\nfor again in 1 2 3 4 5 6; do {reads} && break; sleep 0.7; done\n{lives}\n'


def program_path(command: str) -> str | None:
    """Where a program lies; None if it is not installed."""
    return shutil.which(command)


def _write_if_new(path: pathlib.Path, text: str, mode: int) -> None:
    if system.read_file(path) != text.encode():
        system.write_file(path, text.encode(), mode=mode, durable=False)


def _mark(config: str, preamble: str) -> str:
    """By this a worker shows which text it was started with (`description` in `show info`)."""
    return hashlib.sha256(f"{preamble}\0{config}".encode()).hexdigest()[:32]


def _with_mark(config: str, preamble: str) -> str:
    return f"{_DESCRIPTION}{_mark(config, preamble)}\n{preamble}"


def _split_mark(content: bytes | None) -> tuple[str, str]:
    """The mark and the preamble of what `_with_mark()` has made."""
    text = (content or b"").decode(errors="replace")
    if not text.startswith(_DESCRIPTION):
        return "", text
    mark, _, preamble = text.removeprefix(_DESCRIPTION).partition("\n")
    return mark, preamble


def _user_lines() -> list[str]:
    for name in ("haproxy", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return [f"    uid {entry.pw_uid}", f"    gid {entry.pw_gid}"]
    return []
