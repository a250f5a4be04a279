"""Options of the test run that more than one folder knows."""

from __future__ import annotations

import collections
import gc
import logging
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

_MEMORY, _ROOM = "/dev/shm", 4 << 30

LONGEST = (
    "tests/integration/test_tempest.py",
    "tests/integration/test_lbaas_guide.py",
    "tests/integration/test_killed_worker_single.py",
    "tests/vm/test_image.py",
    "tests/integration/test_dev.py",
    "tests/integration/test_certificate_site.py",
    "tests/integration/test_killed_worker_pair.py",
    "tests/integration/test_keystone.py",
    "tests/integration/test_netfilter.py",
    "tests/vm/test_image_build.py",
    "tests/clients/test_heat.py",
    "tests/clients/test_gophercloud.py",
    "tests/integration/test_statistics.py",
    "tests/integration/test_paused_worker.py",
    "tests/vm/test_data_plane.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_soak.py",
    "tests/integration/test_drains.py",
    "tests/integration/test_tenant_networking.py",
    "tests/integration/test_terminated_https.py",
    "tests/integration/test_additional_vips.py",
    "tests/integration/test_access_log.py",
    "tests/clients/test_python.py",
    "tests/vm/test_demo.py",
)
"""Files that take minutes, the longest first: begun last, one of them would keep one process busy when all others have ended."""

_ANY_MACHINE = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True)
"""A busy machine is slow, and that is no fault of what is tested."""
hypothesis.settings.register_profile("repeatable", _ANY_MACHINE, derandomize=True)
hypothesis.settings.register_profile("searching", _ANY_MACHINE)
hypothesis.settings.load_profile("searching" if os.environ.get("FIGLINA_FUZZ") else "repeatable")


def _keep_files_in_memory() -> None:
    """Let all temporary files, those of child processes too, lie in memory where there is room: no test then waits for a disk.

    Most tests have a database, and a disk that takes its time to write down what was committed made them several times as slow.
    """
    try:
        memory = os.statvfs(_MEMORY)
    except OSError:
        return
    if memory.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) or memory.f_bavail * memory.f_frsize < _ROOM or not os.access(_MEMORY, os.W_OK):
        return
    os.environ.setdefault("TMPDIR", _MEMORY)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)
    tempfile.tempdir = None  # look again


_keep_files_in_memory()


gc.set_threshold(20_000, 10, 20)
"""Seldom, for thousands of tests with their modules stay, and a look for garbage goes through them."""


def _run_the_chosen_haproxy() -> None:
    """Let the HAProxy that `FIGLINA_TEST_HAPROXY` names (`scripts/other-haproxy`) be the one that tests, agents, and masters that execute
    themselves anew find.

    :raises pytest.UsageError: there is no such program.
    """
    chosen = os.environ.get("FIGLINA_TEST_HAPROXY")
    if not chosen:
        return
    if os.path.basename(chosen) != "haproxy" or not os.access(chosen, os.X_OK):
        raise pytest.UsageError(f"FIGLINA_TEST_HAPROXY={chosen} is no program of the name haproxy: scripts/other-haproxy makes one")
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(chosen)), os.environ.get("PATH", os.defpath)])


_run_the_chosen_haproxy()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of the test's own, with less of its name than pytest gives: HAProxy takes 97 characters for the path of a socket."""
    return tmp_path_factory.mktemp(re.sub(r"\W", "_", request.node.name.removeprefix("test_"))[:12])


@pytest.fixture(autouse=True)
def _levels_of_logs_stay() -> Iterator[None]:
    """What a command sets for its process is over with its test."""
    loggers = [logging.getLogger(), logging.getLogger("controller")]
    before = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what was rendered over `tests/golden/`; the diff is for a person to read. `--cases` makes a run short."""
    parser.addoption("--update-golden", action="store_true", help="write rendered configurations over tests/golden/ instead of comparing")
    parser.addoption("--cases", type=int, metavar="N", help="run at most N cases of each parametrized test, evenly spread")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cases that `--cases` leaves, of those that other options (`-m`, `-k`) chose, and put the longest files first.

    :raises pytest.UsageError: it leaves none.
    """
    most = config.getoption("--cases")
    if most is not None:
        _keep(config, items, most)
    items.sort(key=_place)


def _keep(config: pytest.Config, items: list[pytest.Item], most: int) -> None:
    if most < 1:
        raise pytest.UsageError(f"--cases {most} leaves nothing to run: at least 1")
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.partition("[")[0]].append(item)
    kept = {item for cases in tests.values() for item in _spread(cases, most)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def _place(item: pytest.Item) -> int:
    """Where its file stands among the longest; all others come behind, in their order."""
    file = item.nodeid.partition("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected stays until the end: among that no garbage is looked for."""
    gc.collect()
    gc.freeze()


def _spread(cases: list[pytest.Item], most: int) -> list[pytest.Item]:
    """So many of them, evenly spread from the first to the last; the same ones each time, for processes that share a run have to agree."""
    if len(cases) <= most:
        return cases
    return [cases[number * (len(cases) - 1) // max(most - 1, 1)] for number in range(most)]
