"""A PostgreSQL server of our own for tests, on a Unix socket only; skipped where PostgreSQL or its driver is not installed."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

_OPTIONS = "-c listen_addresses= -c fsync=off -c synchronous_commit=off -c max_connections=200 -c unix_socket_directories={folder}"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The server's URL, without a database's name at its end."""
    programs = _programs()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL or psycopg is not installed")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-t-"))
    user = _user(folder)
    try:
        _run(user, [f"{programs}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "figlina", "-E", "UTF8", "--no-sync"])
        control = [f"{programs}/pg_ctl", "-D", f"{folder}/data", "-w", "-l", f"{folder}/log"]
        _run(user, [*control, "-o", _OPTIONS.format(folder=folder), "start"])
        try:
            yield f"postgresql+psycopg://figlina@/%s?host={folder}"
        finally:
            _run(user, [*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> str | None:
    found = shutil.which("initdb")
    folders = [os.path.dirname(found)] if found else sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return next((folder for folder in reversed(folders) if os.path.exists(f"{folder}/initdb")), None)


def _user(folder: pathlib.Path) -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return account.pw_name


def _run(user: str | None, command: list[str]) -> None:
    as_user = ["runuser", "-u", user, "--"] if user else []
    subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
