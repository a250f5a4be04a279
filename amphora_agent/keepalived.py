"""keepalived of one load balancer of a pair: check, start or reload, ask, watch."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import logging
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import time

from amphora_agent import allowed, errors, keepalived_dump, program, programs, system
from amphora_agent.protocol import rest

LOG = logging.getLogger(__name__)
START_TIMEOUT = 20.0
STOP_TIMEOUT = 0.3
"""On SIGTERM keepalived tells its partner and lets go of the VIP at once, and then waits for a second, for which nobody has to wait."""
ANSWER_TIMEOUT = 0.3
"""Seconds for an answer; it comes after 1.5 ms (keepalived 2.2.7)."""
ELECTION_TIMEOUT = 15.0
"""Seconds that a push waits at most until one half has the VIP. It takes 3.65 advertisements (RFC 5798, section 6.1), 0.75 s by default,
and on a crowded host what keepalived needs before it takes part: after this push, the other half may be told to let go.
"""
_SHORTEST_GAP = 0.15
"""Seconds between two questions."""
_ELECTION_GAP = 0.03
"""Seconds between two looks at an election."""
_SETTLES_WITHIN = 1.0
"""Seconds after its start in which it is not asked: the question is a signal, and would end a process that does not expect it yet."""

_TAKES_PART = re.compile(rb"Entering \w+ STATE")
"""What it writes when it has begun to take part; from then on it expects signals (2.2.7, 2.3.3)."""
# The script says at once that HAProxy is gone. That it took long says only that no processor was free for it: keepalived would take it for
# failed after its time-out, and give the VIP away, also where nobody takes it.
_PREAMBLE = """\
global_defs {{
    router_id {router_id}
    script_user {user}
    enable_script_security
}}
vrrp_script haproxy_alive {{
    script "{script}"
    interval 1
    timeout 10
    fall 1
    rise 2
}}
track_file haproxy_hangs {{
    file "{flag}"
    weight 0
    init_file 0
}}
"""
_TRACKED = re.compile(r"^(?P<indent>[ \t]*)track_script[ \t]*\{", re.MULTILINE)
_TRACK_FILE = "{indent}track_file {{\n{indent}    haproxy_hangs\n{indent}}}\n"


@dataclasses.dataclass(slots=True)
class _Child:
    """The VRRP process. Its parent starts another one when it dies, so only a new process id tells of that."""

    parent: int
    pid: int


class Keepalived(program.Program):
    """One keepalived in the tenant namespace, which outlives the agent: a parent, and a child that speaks VRRP."""

    name = programs.KEEPALIVED
    brings_clients = True

    def __init__(
        self,
        state: pathlib.Path,
        run: pathlib.Path,
        command: str,
        namespace: str,
        router_id: str,
        record: programs.Record,
        alive_script: str,
        with_rights: tuple[str, ...] = (),
        script: pathlib.Path | None = None,
    ) -> None:
        self._alive_script = alive_script  # the text of what tells whether HAProxy runs
        self._with_rights = with_rights  # what comes before its command, if it may do less than we may
        self._config = state / "keepalived.conf"
        self._script = script or run / "haproxy-alive"  # keepalived runs none that anybody but root may change
        self._noted = run / "keepalived-read"  # which process has read which text
        self._files = [self._config, self._noted, run / "keepalived.pid", run / "keepalived-vrrp.pid", run / "haproxy-hangs"]
        self._files += [self._script] if script is None else []
        self.flag = run / "haproxy-hangs"
        self._pid_file = run / "keepalived.pid"
        self._child_file = run / "keepalived-vrrp.pid"
        self._log = run / "keepalived.log"
        self._command = command
        self._namespace = namespace
        self._router_id = router_id
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None
        self._child: _Child | None = None
        self._pulse = programs.Pulse()
        self._restarts = programs.Restarts()
        self._started_at = float("-inf")
        self._asked_at = float("-inf")
        self._ran = False  # since it was started last: a start that fails again is no further death
        self._differed = 0  # looks in a row in which the kernel did not hold what it said
        self._log_began = 0  # where in its log what it wrote since its last start begins
        self._dump = keepalived_dump.Dump(command, run)
        self.vrrp: keepalived_dump.Vrrp | None = None
        """What it said last; None if it was not asked, or did not answer."""

    @property
    def configured(self) -> bool:
        return self._config.exists()

    def is_set_to(self, wanted: rest.WantedState) -> bool:
        return self._holds(wanted.programs.get(self.name))

    def refuse(self, text: str) -> None:
        allowed.check_keepalived(text)

    def resume(self) -> None:
        """Put in place what tells keepalived whether HAProxy runs: the script, and the file that says that it hangs."""
        if system.read_file(self._script) != self._alive_script.encode():
            system.write_file(self._script, self._alive_script.encode(), mode=0o700, durable=False)
        if not self.flag.exists():
            self.flag.write_bytes(b"0\n")

    def check(self, text: str, wanted: rest.WantedState) -> None:
        self.resume()
        if self._goes_by(text):
            return
        beside = self._config.with_suffix(".new")
        system.write_file(beside, self._whole(text), durable=False)
        try:
            system.run(system.in_tenant_namespace(self._namespace, [self._command, "-t", "-f", str(beside)]))
        except system.NotRun as exc:
            raise errors.ProgramFailed("keepalived", exc.reason) from exc
        except system.CommandFailed as exc:
            if shutil.which(self._command) is None:  # then the words are those of the program that was to start it
                raise errors.ProgramFailed("keepalived", "can't be run: it is not installed") from exc
            raise errors.ConfigRefused("keepalived", exc.output.replace(f"{beside}: ", "")[:4000]) from exc
        finally:
            beside.unlink(missing_ok=True)

    def apply(self, text: str, wanted: rest.WantedState) -> str:
        if self._goes_by(text):
            return program.NONE
        before, pid = system.read_file(self._config), self.pid()
        self._put(self._whole(text))
        if pid is not None and self._reload(pid):
            return program.RUNTIME
        if pid is not None:  # a process that hangs takes no new configuration, whatever the signal says
            self._record.note(programs.KEEPALIVED, programs.HUNG)
        if not self._start():
            failure = self._why_not_started()
            if before is None:
                self.stop()
            else:  # the next look starts it with this one
                self._put(before)
            raise failure
        self._await_election()
        return program.RUNTIME

    def runs(self, text: str, wanted: rest.WantedState) -> bool:
        return self._goes_by(text)

    def go_back_to(self, wanted: rest.WantedState | None) -> None:
        content, pid = system.read_file(self._config), self.pid()
        if content is None or self._has_read(content, pid):
            return
        text = None if wanted is None else wanted.programs.get(self.name)
        if not self._holds(text):
            LOG.warning("An agent was killed while it tried a configuration that keepalived may not have read: it is forgotten")
        if text is None:
            self.stop()
            return
        self._put(self._whole(text))
        if pid is not None:
            self._reload(pid)

    def pid(self) -> int | None:
        """The parent process, whoever started it."""
        if self._process is not None:
            self._process.poll()
        return system.pid_from_file(self._pid_file, str(self._pid_file))

    def ensure_running(self) -> str:
        """Start keepalived again if it died or hangs; how it fares (a state of `programs`)."""
        system.trim(self._log)
        pid = self.pid()
        if pid is None:
            return self._start_again(programs.DIED)
        self._ran = True
        self._note_child(pid)
        if time.monotonic() - self._started_at < _SETTLES_WITHIN:
            return programs.RUNS
        asked_at = time.monotonic()
        if asked_at - self._asked_at < _SHORTEST_GAP and not self._pulse.is_in_doubt:
            return programs.RUNS  # whoever sends us datagrams makes us look: they do not make keepalived work
        self._asked_at = asked_at
        self.vrrp = self._dump.ask(pid, ANSWER_TIMEOUT)
        if self.vrrp is not None or not self._dump.is_possible(pid):
            self._pulse.answered()
            self._differed = self._differed + 1 if self._differs() else 0
            if self._differed > 1:  # twice seen, for keepalived may be on its way to another state
                self._make_agree()
            return programs.RUNS
        busy = system.is_busy([pid, *system.children(pid)])
        if not self._pulse.missed(asked_at, busy):
            return programs.RUNS if busy else programs.SILENT
        return self._start_again(programs.HUNG)

    def assert_again(self) -> None:
        """Somebody is not content with how it fares: it reads its file again, and the kernel is made to hold what it says.

        What a keepalived goes by may differ from its file (a signal was lost), and then both halves of a pair may be masters.
        """
        pid = self.pid()
        if pid is None or time.monotonic() - self._started_at < _SETTLES_WITHIN or not self._reload(pid):
            return  # it has just read its file, or the next look takes care of it
        for _ in range(2):
            self.vrrp = self._dump.ask(pid, ANSWER_TIMEOUT)
            if not self._differs():
                return
            time.sleep(_SHORTEST_GAP)
        self._make_agree()

    def holds_vip(self) -> bool:
        """Whether an address that keepalived is to hand over is on an interface here, as the kernel says."""
        held = system.local_addresses(self._namespace)
        return any(_plain(address) in held for address, _ in self._addresses())

    def report(self, state: str | None) -> program.Part:
        vrrp = None
        if self.configured:
            vrrp = {"state": keepalived_dump.UNKNOWN if self.vrrp is None else self.vrrp.state, "holds_vip": self.holds_vip()}
        return program.Part(others={"vrrp": vrrp})

    def say_hangs(self, hangs: bool) -> None:
        """Have it give the VIP away, because HAProxy hangs, or take part again.

        It watches the file (inotify), and reads it within milliseconds.

        :raises OSError: there is no keepalived to be told.
        """
        descriptor = os.open(self.flag, os.O_WRONLY)
        try:
            os.pwrite(descriptor, b"1\n" if hangs else b"0\n", 0)
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        self._end_all(STOP_TIMEOUT)
        for path in self._files:
            path.unlink(missing_ok=True)
        self.vrrp, self._child = None, None

    def _put(self, content: bytes) -> None:
        """Write its file, of which nobody knows from then on whether it was read."""
        self._noted.unlink(missing_ok=True)
        system.write_file(self._config, content)

    def _goes_by(self, text: str) -> bool:
        """Whether it runs, and this is what it has read last."""
        return self._holds(text) and self._has_read(self._whole(text), self.pid())

    def _has_read(self, content: bytes, pid: int | None) -> bool:
        return pid is not None and system.read_file(self._noted) == _note(pid, content)

    def _note_read(self, pid: int | None) -> None:
        """Write down that it reads what its file holds now."""
        if pid is None:
            return
        try:
            system.write_file(self._noted, _note(pid, system.read_file(self._config) or b""), durable=False)
        except OSError as exc:  # then the next push has it read its file again
            LOG.warning("What keepalived has read can't be written down: %s", exc)

    def _why_not_started(self) -> errors.AgentError:
        if shutil.which(self._command) is None:
            return errors.ProgramFailed("keepalived", "can't be run: it is not installed")
        if self._process is not None and self._process.poll() is None:
            return errors.ProgramFailed("keepalived", "did not start with the new configuration in time")
        return errors.ConfigRefused("keepalived", (system.read_file(self._log) or b"").decode(errors="replace")[-2000:])

    def _holds(self, text: str | None) -> bool:
        """Whether this is the text of its file (None: there is none)."""
        return system.read_file(self._config) == (None if text is None else self._whole(text))

    def _start_again(self, cause: str) -> str:
        if not self._restarts.may_start():
            return programs.DOWN
        if self._ran or self._pid_file.exists():
            self._record.note(programs.KEEPALIVED, cause)
        return programs.RUNS if self._start() else programs.DOWN

    def _start(self) -> bool:
        self._end_all(0.0)  # children whose parent was killed
        self._ran = False
        self._pid_file.unlink(missing_ok=True)
        self._child_file.unlink(missing_ok=True)
        files = ["-f", str(self._config), "-p", str(self._pid_file), "-r", str(self._child_file)]
        if self._with_rights:  # it would look for this one in /run, where it may not write
            files += ["-b", str(self._pid_file.with_name("keepalived-bfd.pid"))]
        command = [*self._with_rights, self._command, "-n", "-P", "-l", "-D", *files]
        self._log_began = self._log.stat().st_size if self._log.exists() else 0
        try:
            self._process = system.start(system.in_tenant_namespace(self._namespace, command), self._log, self._dump.environment)
        except system.CommandFailed as exc:
            LOG.error("keepalived can't be started: %s", exc)
            return False
        process = self._process
        system.wait_until(lambda: process.poll() is not None or self.pid() is not None, START_TIMEOUT)
        self._started_at = time.monotonic()
        self._pulse.answered()
        self._child, self.vrrp = None, None
        self._note_read(pid := self.pid())
        return pid is not None

    def _await_election(self) -> None:
        """Wait until a half has the VIP, this one or the one that it hears: whoever is told that a new pair runs connects at once.

        What can't be asked, and an election that takes too long, are not waited for: the half serves as soon as it has the VIP.
        """
        pid = self.pid()
        if pid is None or not self._dump.is_possible(pid):
            return
        until = time.monotonic() + ELECTION_TIMEOUT
        while not self._has_a_master(pid):
            if time.monotonic() > until or self.pid() != pid:
                LOG.warning("keepalived runs, and neither has the VIP nor hears who has it")
                return
            time.sleep(_ELECTION_GAP)

    def _has_a_master(self, pid: int) -> bool:
        if not _TAKES_PART.search(self._written()):
            return False
        self.vrrp = self._dump.ask(pid, ANSWER_TIMEOUT)
        return self.vrrp is not None and (self.vrrp.heard > 0 or (self.vrrp.state == keepalived_dump.MASTER and not self._differs()))

    def _written(self) -> bytes:
        """What it wrote since it was started last."""
        with self._log.open("rb") as log:
            log.seek(self._log_began)
            return log.read()

    def _reload(self, pid: int) -> bool:
        """Have the parent and its child read the configuration; whether they live to do it."""
        system.send_signal(pid, signal.SIGHUP)
        if not self._answers(pid):
            return False
        self._note_read(pid)
        return True

    def _answers(self, pid: int) -> bool:
        """Whether it answers after a signal, if it can be asked. One that waits for a processor is asked again: to start it anew for that
        would take the VIP away.
        """
        if not self._dump.is_possible(pid) or time.monotonic() - self._started_at < _SETTLES_WITHIN:
            return True
        pulse = programs.Pulse()
        while True:
            asked_at = time.monotonic()
            if self._dump.ask(pid, ANSWER_TIMEOUT) is not None:
                return True
            if pulse.missed(asked_at, system.is_busy([pid, *system.children(pid)])):
                return False

    def _note_child(self, parent: int) -> None:
        """Notice that the parent has started another child, because the former one died."""
        pid = system.number_in(self._child_file)
        if pid is None:
            return
        if self._child is not None and self._child.parent == parent and self._child.pid != pid:
            self._record.note(programs.KEEPALIVED, programs.DIED)
        self._child = _Child(parent, pid)

    def _end_all(self, grace: float) -> None:
        """End all processes. A killed one leaves its VIP on the interface, where it would answer beside the partner's: it is taken away."""
        pids = system.processes_with_argument(str(self._pid_file))
        if pids:
            system.end(pids, grace)
        if self._process is not None:
            self._process.poll()
        self._drop_vips()

    def _differs(self) -> bool:
        """Whether it is the master without one of its VIPs, or has one without being the master."""
        held = system.local_addresses(self._namespace)
        if self.vrrp is None or self.vrrp.state == keepalived_dump.UNKNOWN or not held:
            return False
        holds = [_plain(address) in held for address, _ in self._addresses()]
        return not all(holds) if self.vrrp.state == keepalived_dump.MASTER else any(holds)

    def _make_agree(self) -> None:
        """Have the kernel hold what keepalived says."""
        self._differed = 0
        if self.vrrp is None or self.vrrp.state != keepalived_dump.MASTER:
            LOG.warning("A VIP is here though keepalived is not the master: it is taken away")
            self._drop_vips()
        elif self._restarts.may_start():  # it puts back what somebody takes away (2.2.7), unless it did not hear of that
            LOG.warning("keepalived is the master and its VIP is not here: it is started again")
            self._end_all(STOP_TIMEOUT)
            self._start()

    def _drop_vips(self) -> None:
        held = system.local_addresses(self._namespace)
        lines = [f"address delete {address} dev {nic}" for address, nic in self._addresses() if _plain(address) in held]
        if not lines:
            return
        try:
            system.run(system.in_tenant_namespace(self._namespace, ["ip", "-force", "-batch", "-"]), stdin="\n".join(lines) + "\n")
        except system.CommandFailed as exc:  # keepalived may have been faster
            LOG.info("%s", exc)

    def _addresses(self) -> list[tuple[str, str]]:
        """The addresses that keepalived hands over, with their interfaces."""
        return keepalived_dump.addresses((system.read_file(self._config) or b"").decode(errors="replace"))

    def _whole(self, text: str) -> bytes:
        user = pwd.getpwuid(os.geteuid()).pw_name
        preamble = _PREAMBLE.format(router_id=self._router_id, script=self._script, flag=self.flag, user=user)
        tracking = _TRACKED.sub(lambda found: _TRACK_FILE.format(indent=found["indent"]) + found[0], text)
        return (preamble + tracking).encode()


def _note(pid: int, content: bytes) -> bytes:
    """What is written down of a process that has read a file."""
    return f"{pid} {hashlib.sha256(content).hexdigest()}\n".encode()


def _plain(address: str) -> str:
    """An address without its prefix, as the kernel writes it."""
    return str(ipaddress.ip_interface(address).ip)
