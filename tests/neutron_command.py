"""The real `neutron` command, in an environment of its own: the last version that speaks LBaaS v2."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
from typing import Any

_LOOP = """
import contextlib, io, json, sys
from neutronclient import shell
for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.NeutronShell("2.0").run(json.loads(line))
        except SystemExit as left:
            code = left.code
        except Exception as error:
            code = error
    print(json.dumps([code if isinstance(code, int) else 1, out.getvalue(), err.getvalue() + str(code or "")]), flush=True)
"""
"""The client's own shell, command after command in one process: it takes half a second to start."""

_ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMAND = _ROOT / ".venv-neutronclient" / "bin" / "neutron"


class Neutron:
    """Runs commands against one address, as somebody who has nothing else but a token perhaps.

    Each has a process of its own or, if `hurry`, all have one.
    """

    def __init__(self, address: str, home: pathlib.Path, *, hurry: bool = False, token: str | None = None) -> None:
        subprocess.run([_ROOT / "scripts" / "make-tool-venv", "neutronclient"], check=True, timeout=600, stdout=subprocess.DEVNULL)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        login = {"OS_AUTH_TYPE": "none"} if token is None else {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": token}
        self._environment = kept | login | {"OS_ENDPOINT": address, "HOME": str(home)}
        self._shell: subprocess.Popen[str] | None = None
        if hurry:
            command = [str(COMMAND.with_name("python")), "-W", "ignore", "-c", _LOOP]
            self._shell = subprocess.Popen(command, env=self._environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._shell is not None:
            self._shell.communicate(timeout=30)

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """The finished command of a line without the word `neutron` at its beginning."""
        words = shlex.split(line)
        if self._shell is not None:
            return self._tell(self._shell, words)
        command = [str(COMMAND), *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)

    def _tell(self, shell: subprocess.Popen[str], words: list[str]) -> subprocess.CompletedProcess[str]:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(json.dumps(words) + "\n")
        shell.stdin.flush()
        code, out, err = json.loads(shell.stdout.readline())
        return subprocess.CompletedProcess(words, code, out, err)

    def __call__(self, line: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(line)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def shown(self, line: str) -> Any:
        """What a command that shows something shows."""
        return json.loads(self(f"{line} -f json"))

    def refused(self, line: str) -> str:
        """What a command that must fail says."""
        done = self.run(line)
        assert done.returncode != 0, (line, done.stdout)
        return done.stderr
