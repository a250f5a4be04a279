"""Who drains, since when, and what is given to HAProxy when the time is over."""

from __future__ import annotations

import errno
import pathlib
import time
from typing import Any

import pytest

from amphora_agent import haproxy_drains, haproxy_runtime, system

LIMITED, FREE = "\n    # drain-timeout 10", ""

_SESSIONS = """\
0x55aa: proto=tcpv4 src=127.0.0.1:47318 fe=f be=b srv=one ts=00 epoch=0 age=3s calls=3 rate=1
0x55ab: proto=tcpv4 src=127.0.0.1:47319 fe=f be=b srv=two ts=00 epoch=0 age=3s calls=3 rate=1
0x55ac: proto=tcpv4 src=127.0.0.1:47320 fe=f be=c srv=one ts=00 epoch=0 age=3s calls=3 rate=1
0x7fe8: proto=sockpair src=unix:2 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s calls=1 rate=1
"""


class Worker:
    """One that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.fails = False

    def ask(self, command: str) -> str:
        if self.fails:
            raise haproxy_runtime.RuntimeFailed("no answer")
        if command == "show sess":
            return _SESSIONS
        self.told.append(command)
        return ""

    order = ask


class Site:
    def __init__(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.now = path, 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.worker, self.former = Worker(), Worker()
        self.begin()

    def begin(self) -> None:
        """Another agent."""
        self.drains = haproxy_drains.Drains(self.path, self.worker)  # type: ignore[arg-type]

    def after(self, seconds: float, config: str) -> tuple[list[str], list[str]]:
        """What both workers are told so much later."""
        self.now += seconds
        self.worker.told, self.former.told = [], []
        self.drains.end_overdue(lambda: config, lambda: [self.former.ask])
        return self.worker.told, self.former.told


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path / "drains.json", monkeypatch)


def _config(*servers: str, limit: str = LIMITED, backend: str = "b") -> str:
    lines = "".join(f"    server {server}\n" for server in servers)
    return f"defaults\n    retries 3\n\nbackend {backend}\n    mode http{limit}\n{lines}\n"


ONE, TWO = "one 10.0.0.1:80 weight 1 check", "two 10.0.0.2:80 weight 1"
FIRST, SECOND = "0x55aa", "0x55ab"
SHUT, CUT = "shutdown sessions server b/one", f"shutdown session {FIRST}"


def test_limits_are_read_of_the_backends_that_have_one() -> None:
    assert haproxy_drains.timeouts(_config(ONE) + _config(TWO, backend="c", limit=FREE)) == {"b": 10}
    assert haproxy_drains.timeouts(_config(ONE, limit="\n    # drain-timeout 0")) == {}


@pytest.mark.parametrize("limit", [LIMITED, FREE])
def test_one_that_is_gone_is_told_once_everywhere(site: Site, limit: str) -> None:
    new = _config(TWO) if limit else "defaults\n    retries 3\n"  # with its pool, too
    site.drains.follow(_config(ONE, TWO), new)
    assert site.after(9.9, new) == ([], [])
    told, cut = ([SHUT], [CUT]) if limit else ([SHUT, SHUT.replace("one", "two")], [CUT, f"shutdown session {SECOND}"])
    assert tuple(map(sorted, site.after(0.1, new))) == (told, cut)
    assert site.after(100, new) == ([], [])
    assert site.path.read_bytes() == b"[]"


@pytest.mark.parametrize("out", ["one 10.0.0.1:80 weight 0 check", f"{ONE} disabled"])
def test_one_that_stays_is_taken_out_until_it_comes_back(site: Site, out: str) -> None:
    old, new = _config(ONE, TWO), _config(out, TWO)
    site.drains.follow(old, new)
    taken_out = [] if "disabled" in out else ["set server b/one state maint"]
    assert site.after(10, new) == ([*taken_out, SHUT], [CUT])
    assert site.after(100, new) == ([], [])
    disabled = out if "disabled" in out else f"{out} disabled"
    assert site.drains.as_run(new) == _config(disabled, TWO)
    site.drains.forget_worker()
    assert site.drains.as_run(new) == new
    assert site.after(0, new) == ([*taken_out, SHUT], [CUT]), "another worker has it as its configuration says"
    assert site.drains.as_run(old) == old
    site.drains.follow(new, old)
    assert site.drains.as_run(new) == _config(disabled, TWO), "it is still out when runtime commands are to bring it back"
    site.drains.settle()
    assert site.after(100, old) == ([], [])
    site.drains.follow(old, new)
    assert site.after(9, new) == ([], [])
    assert site.after(1, new) == ([*taken_out, SHUT], [CUT]), "it drains for a second time"


def test_another_agent_goes_on_counting(site: Site) -> None:
    new = _config(TWO)
    site.drains.follow(_config(ONE, TWO), new)
    site.after(9, new)
    site.begin()
    assert site.after(0.9, new) == ([], [])
    assert site.after(0.1, new) == ([SHUT], [CUT])


@pytest.mark.parametrize("content", [b"", b"{", b'[["b"]]', b'{"a": 1}', b"[1]", b"null"])
def test_a_record_that_can_not_be_read_is_none(site: Site, content: bytes) -> None:
    site.path.write_bytes(content)
    site.begin()
    assert site.after(100, _config(ONE)) == ([], [])


def test_other_changes_neither_begin_nor_prolong_one(site: Site) -> None:
    old, new = _config(ONE, TWO), _config(TWO)
    site.drains.follow(old, new)
    site.after(5, new)
    site.drains.follow(new, new.replace("mode http", "mode http\n    http-reuse safe"))
    site.drains.follow(new, _config(TWO.replace("weight 1", "weight 7")))
    assert site.after(5, new) == ([SHUT], [CUT])


def test_another_limit_counts_from_when_the_drain_began_and_none_ends_it(site: Site) -> None:
    new, longer = _config(TWO), _config(TWO, limit="\n    # drain-timeout 20")
    site.drains.follow(_config(ONE, TWO), new)
    site.drains.follow(new, longer)
    assert site.after(19, longer) == ([], [])
    assert site.after(1, longer)[0] == [SHUT]
    site.drains.follow(_config(ONE, TWO), new)
    site.drains.follow(new, _config(TWO, limit=FREE))
    assert site.after(100, new) == ([], [])


def test_one_that_serves_after_all_is_left_alone(site: Site) -> None:
    old = _config(ONE, TWO)
    site.drains.follow(old, _config(TWO))  # which was then refused
    assert site.after(100, old) == ([], [])
    assert site.path.read_bytes() == b"[]"


def test_a_worker_that_does_not_answer_is_told_later(site: Site) -> None:
    new = _config(TWO)
    site.drains.follow(_config(ONE, TWO), new)
    site.worker.fails = True
    assert site.after(10, new) == ([], [CUT])
    site.worker.fails, site.former.fails = False, True
    assert site.after(1, new) == ([SHUT], []), "a worker of before that has ended keeps nobody from going on"
    assert site.after(1, new) == ([], [])


def test_many_at_once_take_several_seconds_and_all_are_told(site: Site) -> None:
    servers = [f"s{number} 10.0.0.1:{number} weight 1" for number in range(1, 451)]
    new = _config(TWO)
    site.drains.follow(_config(*servers, TWO), new)
    told = [command for seconds in (10, 1, 1, 1, 1, 1) for command in site.after(seconds, new)[0]]
    assert sorted(told) == sorted(f"shutdown sessions server b/s{number}" for number in range(1, 451))


def test_a_full_disk_keeps_nobody_from_being_cut_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it make the agent take HAProxy for one with which something is wrong."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system, "write_file", full)
    site.drains.follow(_config(ONE, TWO), _config(TWO))
    assert site.after(9, _config(TWO)) == ([], [])
    assert site.after(2, _config(TWO)) == ([SHUT], [CUT])
    assert site.after(9, _config(TWO)) == ([], [])
