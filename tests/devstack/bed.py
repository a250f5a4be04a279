"""A folder in which DevStack believes to be at home: a copy of its checkout, our plug-in by `enable_plugin`, and what the machine lacks."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
_CLOUDS = ("devstack-system-admin", "devstack-admin", "devstack")


class Bed:
    """One `local.conf`, and the phases that are run with it."""

    def __init__(self, folder: pathlib.Path, devstack: pathlib.Path) -> None:
        self.folder = folder
        self.figlina = folder / "dest" / "data" / "figlina"
        self.conf = folder / "etc" / "figlina"
        self.venv = folder / "dest" / "data" / "venv"
        # What git does not know of a checkout is not DevStack's.
        subprocess.run(["git", "clone", "-q", devstack, folder / "devstack"], check=True)
        shutil.copytree(HERE / "bin", folder / "bin")
        self._make_source()
        self._make_requirements()

    def configure(self, lines: Sequence[str], sections: str = "", **settings: object) -> None:
        """Write `local.conf`: DevStack's own settings, ours, then the lines as they are, then sections like `[[post-config|...]]`."""
        own = {
            "DEST": self.folder / "dest",
            "DATA_DIR": self.folder / "dest" / "data",
            "STACK_USER": "root",
            "USER_UNITS": True,  # systemd's folder is in HOME then
            "LOGFILE": "",
            "GIT_DEPTH": 0,
            "FIGLINA_CONF_DIR": self.conf,
        }
        written = [f"{name}={value}" for name, value in (own | settings).items()]
        text = "\n".join(["[[local|localrc]]", *written, f"enable_plugin figlina {self.folder / 'source'} main", *lines, sections, ""])
        (self.folder / "devstack" / "local.conf").write_text(text)

    def clouds(self, administrator: Mapping[str, object], tenant: Mapping[str, object]) -> None:
        """Write the `clouds.yaml` of DevStack: an administrator of the system, one of a project, and a tenant."""
        auth = dict(administrator["auth"])  # type: ignore[call-overload]
        system = {name: value for name, value in auth.items() if not name.startswith("project")} | {"system_scope": "all"}
        known = dict(zip(_CLOUDS, (dict(administrator) | {"auth": system}, administrator, tenant), strict=True))
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": known}))

    def run(self, mode: str, keystone: str, timeout: float = 900, **environment: str) -> str:
        """Run the phases of stack.sh, unstack.sh or clean.sh; what they say. They have to succeed."""
        words = {
            "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{pathlib.Path(sys.executable).parent}",
            "STANDIN_KEYSTONE": keystone,
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [HERE / "run_phases", self.folder, mode],
            env=words | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout,
        )
        (self.folder / f"{mode}.log").write_text(done.stdout)
        assert done.returncode == 0, f"{mode}: exit {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def openstack(self, cloud: str, *words: str, timeout: float = 180) -> str:
        """What the client of DevStack's environment says; it has to succeed."""
        done = subprocess.run(
            [self.venv / "bin" / "openstack", "--os-cloud", cloud, *words],
            env={"OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def processes(self) -> dict[str, int]:
        """The pids of what runs, by the name of its unit."""
        return {file.stem.removesuffix(".service"): int(file.read_text()) for file in (self.folder / "units").glob("*.pid")}

    def end(self) -> None:
        """End whatever runs still."""
        for unit in self.processes():
            words: list[str | pathlib.Path] = [self.folder / "bin" / "systemctl", "stop", f"{unit}.service"]
            subprocess.run(
                words, env={"STANDIN_UNITS": str(self.folder / "units"), "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}, check=False
            )

    def _make_source(self) -> None:
        """A repository with what is in this checkout now, committed or not: `enable_plugin` clones it."""
        source = self.folder / "source"
        names = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).exists():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
        author = ["-c", "user.name=tests", "-c", "user.email=tests@example.com"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-qm", "now"]):
            subprocess.run(["git", *words], cwd=source, check=True)

    def _make_requirements(self) -> None:
        """OpenStack's list of versions is for its newest release, so it is empty here; its environment has a client of DevStack's own."""
        requirements = self.folder / "dest" / "requirements"
        (requirements / ".venv" / "bin").mkdir(parents=True)
        (requirements / "upper-constraints.txt").touch()
        program = requirements / ".venv" / "bin" / "edit-constraints"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        venv.create(self.venv, with_pip=True)
        subprocess.run([self.venv / "bin" / "pip", "install", "-q", "python-openstackclient"], check=True)
