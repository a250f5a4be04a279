"""keepalived of one load balancer of a pair: check, start or reload, watch."""

from __future__ import annotations

import logging
import pathlib
import signal
import subprocess

from amphora_agent import errors, system

LOG = logging.getLogger(__name__)
START_TIMEOUT = 5.0
STOP_TIMEOUT = 0.3
"""On SIGTERM keepalived tells its partner and lets go of the VIP at once, and then waits for a second, for which nobody has to wait."""

_PREAMBLE = """\
global_defs {{
    router_id {router_id}
    script_user root
    enable_script_security
}}
vrrp_script haproxy_alive {{
    script "{script}"
    interval 1
    timeout 1
    fall 1
    rise 2
}}
"""


class Keepalived:
    """One keepalived in the tenant namespace, which outlives the agent."""

    def __init__(self, state: pathlib.Path, run: pathlib.Path, command: str, namespace: str, router_id: str) -> None:
        self._config = state / "keepalived.conf"
        self._script = run / "haproxy-alive"
        self._pid_file = run / "keepalived.pid"
        self._log = run / "keepalived.log"
        self._command = command
        self._namespace = namespace
        self._router_id = router_id
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def configured(self) -> bool:
        """Whether it is meant to run."""
        return self._config.exists()

    def is_set_to(self, text: str | None) -> bool:
        """Whether this is what is meant to run (None: nothing)."""
        return system.read_file(self._config) == (None if text is None else self._whole(text))

    def prepare(self, alive_script: str) -> None:
        """Put the script in place that tells keepalived whether HAProxy runs."""
        if system.read_file(self._script) != alive_script.encode():
            system.write_file(self._script, alive_script.encode(), mode=0o700, durable=False)

    def check(self, text: str) -> None:
        """Ask keepalived whether it would take a configuration.

        :raises ConfigRefused: it would not.
        """
        if self.is_set_to(text):
            return  # asked before it was put there
        beside = self._config.with_suffix(".new")
        system.write_file(beside, self._whole(text), durable=False)
        try:
            system.run(system.in_tenant_namespace(self._namespace, [self._command, "-t", "-f", str(beside)]))
        except system.CommandFailed as exc:
            raise errors.ConfigRefused("keepalived", exc.output.replace(f"{beside}: ", "")[:4000]) from exc
        finally:
            beside.unlink(missing_ok=True)

    def apply(self, text: str) -> bool:
        """Run a checked configuration; whether anything was to do.

        :raises ConfigRefused: keepalived does not start with it.
        """
        wanted = self._whole(text)
        pid = self.pid()
        if pid is not None and self.is_set_to(text):
            return False
        system.write_file(self._config, wanted)
        if pid is not None:
            system.send_signal(pid, signal.SIGHUP)
        elif not self._start():
            raise errors.ConfigRefused("keepalived", (system.read_file(self._log) or b"").decode(errors="replace")[-2000:])
        return True

    def pid(self) -> int | None:
        """The process, whoever started it."""
        if self._process is not None:
            self._process.poll()
        return system.pid_from_file(self._pid_file, str(self._pid_file))

    def ensure_running(self) -> bool:
        """Start keepalived again if it died; whether it runs now."""
        system.trim(self._log)
        if self.pid() is not None:
            return True
        LOG.warning("keepalived is dead; starting it")
        return self._start()

    def stop(self) -> None:
        """End keepalived and forget its files; not running is fine."""
        self._end_all(STOP_TIMEOUT)
        for path in (self._config, self._pid_file, self._script):
            path.unlink(missing_ok=True)

    def _start(self) -> bool:
        self._end_all(0.0)  # children whose parent was killed
        self._pid_file.unlink(missing_ok=True)
        children = self._pid_file.with_name("keepalived-vrrp.pid")
        children.unlink(missing_ok=True)
        command = [self._command, "-n", "-P", "-l", "-D", "-f", str(self._config), "-p", str(self._pid_file), "-r", str(children)]
        try:
            self._process = system.start(system.in_tenant_namespace(self._namespace, command), self._log)
        except system.CommandFailed as exc:
            LOG.error("keepalived can't be started: %s", exc)
            return False
        process = self._process
        system.wait_until(lambda: process.poll() is not None or self.pid() is not None, START_TIMEOUT)
        return self.pid() is not None

    def _end_all(self, grace: float) -> None:
        pids = system.processes_with_argument(str(self._pid_file))
        if pids:
            system.end(pids, grace)
        if self._process is not None:
            self._process.poll()

    def _whole(self, text: str) -> bytes:
        return (_PREAMBLE.format(router_id=self._router_id, script=self._script) + text).encode()
