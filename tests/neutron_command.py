"""The real `neutron` command, in an environment of its own: the last version that speaks LBaaS v2."""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import subprocess
from typing import Any

_ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMAND = _ROOT / ".venv-neutronclient" / "bin" / "neutron"


class Neutron:
    """Runs commands against one address, as somebody who has nothing else."""

    def __init__(self, address: str, home: pathlib.Path) -> None:
        subprocess.run([_ROOT / "scripts" / "make-neutronclient-venv"], check=True, timeout=600, stdout=subprocess.DEVNULL)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self._environment = kept | {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": address, "HOME": str(home)}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """The finished command of a line without the word `neutron` at its beginning."""
        return subprocess.run(
            [str(COMMAND), *shlex.split(line)], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )

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
