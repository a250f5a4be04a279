"""A MariaDB server of our own for tests, on a Unix socket only; skipped where MariaDB or its driver is not installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

_OPTIONS = (
    "--no-defaults",
    "--skip-networking",
    "--skip-grant-tables",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--sync-binlog=0",
    "--max-connections=300",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The server's URL, with `%s` in the place of a database's name; there is one that is called `test`."""
    program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")
    install = shutil.which("mariadb-install-db")
    if program is None or install is None or importlib.util.find_spec("pymysql") is None:
        pytest.skip("MariaDB or pymysql is not installed")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-t-"))
    user = _user(folder)
    data = [f"--datadir={folder}/data", f"--tmpdir={folder}"]
    try:
        made = [install, "--no-defaults", *data, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*_as(user), *made], check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with (folder / "log").open("wb") as log:
            command = [*_as(user), program, *_OPTIONS, *data, f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
            running = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            url = f"mysql+pymysql://root@localhost/%s?unix_socket={folder}/socket&charset=utf8mb4"
            _make_database(folder, running)
            yield url
        finally:
            running.kill()  # nobody needs its data
            running.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_database(folder: pathlib.Path, running: subprocess.Popen[bytes]) -> None:
    import pymysql

    deadline = time.monotonic() + 60
    while True:
        try:
            with pymysql.connect(unix_socket=f"{folder}/socket", user="root") as connection:
                connection.cursor().execute("CREATE DATABASE test CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
            return
        except pymysql.err.OperationalError:
            if running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "log").read_text(errors="replace")[-3000:]) from None
            time.sleep(0.1)


def _user(folder: pathlib.Path) -> str | None:
    """MariaDB refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam("mysql")
    except KeyError:
        pytest.skip("MariaDB does not run as root, and there is no user mysql")
    os.chown(folder, account.pw_uid, account.pw_gid)
    folder.chmod(0o755)
    return account.pw_name


def _as(user: str | None) -> list[str]:
    # `setpriv` becomes the command, where `runuser` stays its parent, and would be killed in its place.
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
