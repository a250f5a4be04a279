"""What keepalived and the packet filter may never have gone by gives way to what served last, like a configuration that no HAProxy ran."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
from collections.abc import Iterator

import pytest

from amphora_agent import configuration, errors, keepalived, load_balancer, system
from amphora_agent.protocol import datagrams, rest
from tests.functional.test_agent_takes_anything import BOOTED, GOLDEN, WANTED, Nics

TEXT = WANTED.programs["keepalived"]
ALONE = dataclasses.replace(WANTED, certificates=(), programs={"keepalived": TEXT})
DATAGRAMS = (GOLDEN / "udp.json").read_text()
_PROGRAM = """#!/usr/bin/env -S --default-signal=HUP sh
# keepalived, as far as the agent knows it: notes the priority of each file that it reads. It refuses to start while there is `broken`.
case " $* " in *" --signum=JSON "*) exit 1;; *" -t "*) exit 0;; esac
[ ! -e "{folder}/broken" ] || { echo "no such interface"; exit 1; }
reads() { sed -n 's/^ *priority //p' "$file" >> "{folder}/read"; }
trap reads HUP
while [ $# -gt 0 ]; do case "$1" in -f) file=$2;; -p) pid_file=$2;; esac; shift; done
reads
echo $$ > "$pid_file"
while :; do sleep 0.02; done
"""


class Killed(BaseException):
    """The agent is gone at once: nothing of it is done any more."""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    program = tmp_path / "keepalived"
    program.write_text(_PROGRAM.replace("{folder}", str(tmp_path)))
    program.chmod(0o755)
    yield tmp_path
    for pid in system.processes_with_argument(str(tmp_path / "run" / "keepalived.pid")):
        os.kill(pid, signal.SIGKILL)


def _agent(folder: pathlib.Path) -> load_balancer.LoadBalancer:
    booted = dataclasses.replace(BOOTED, keepalived_command=str(folder / "keepalived"))
    return load_balancer.LoadBalancer(booted, folder / "state", folder / "run", Nics(""))


def _with(priority: int) -> rest.WantedState:
    assert " priority 100\n" in TEXT
    text = TEXT.replace(" priority 100\n", f" priority {priority}\n")
    return dataclasses.replace(ALONE, generation=priority, programs={"keepalived": text})


def _read(folder: pathlib.Path, *priorities: int) -> bool:
    """Whether keepalived has read these, in this order."""
    return system.wait_until(lambda: (folder / "read").exists() and (folder / "read").read_text().split() == list(map(str, priorities)), 10)


def _kept(folder: pathlib.Path) -> str:
    return (folder / "state" / "keepalived.conf").read_text()


def _dies(*_: object, **__: object) -> None:
    raise Killed


def test_a_first_text_with_which_keepalived_was_not_started_is_forgotten(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalived.Keepalived, "_start", _dies)
    with pytest.raises(Killed):
        _agent(folder).apply(_with(1))
    monkeypatch.undo()
    assert " priority 1\n" in _kept(folder), "what the dead agent has left"
    _agent(folder).resume()
    assert not (folder / "state" / "keepalived.conf").exists()
    assert not (folder / "read").exists(), "it was started, and would hold VIPs that nothing serves"


@pytest.mark.parametrize("told", [True, False], ids=["after the signal", "before the signal"])
def test_a_text_that_keepalived_may_not_have_read_gives_way_and_is_read_when_it_comes_again(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    _agent(folder).apply(_with(1))
    with monkeypatch.context() as dying:
        dying.setattr(keepalived.Keepalived, "_answers" if told else "_reload", _dies)
        with pytest.raises(Killed):
            _agent(folder).apply(_with(2))
    read = [1, 2] if told else [1]
    assert _read(folder, *read)
    successor = _agent(folder)
    successor.resume()
    assert " priority 1\n" in _kept(folder)
    assert _read(folder, *read, 1)
    assert successor.apply(_with(2)).applied == "runtime"
    assert _read(folder, *read, 1, 2)
    assert successor.apply(_with(2)).applied == "none"


def test_what_keepalived_has_read_goes_on_though_nobody_remembers_it(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _agent(folder).apply(_with(1))
    with monkeypatch.context() as dying:
        dying.setattr(load_balancer.LoadBalancer, "_remember", _dies)
        with pytest.raises(Killed):
            _agent(folder).apply(_with(2))
    assert _read(folder, 1, 2)
    _agent(folder).resume()
    assert " priority 2\n" in _kept(folder)
    assert _read(folder, 1, 2)


def test_a_start_that_fails_leaves_the_text_of_before_and_no_first_one(folder: pathlib.Path) -> None:
    broken, pid_file = folder / "broken", folder / "run" / "keepalived.pid"
    broken.touch()
    agent = _agent(folder)
    with pytest.raises(errors.ConfigRefused) as refused:
        agent.apply(_with(1))
    assert refused.value.details == "no such interface\n"
    assert not (folder / "state" / "keepalived.conf").exists()
    broken.unlink()
    agent.apply(_with(2))
    assert _read(folder, 2)
    os.kill(killed := int(pid_file.read_text()), signal.SIGKILL)
    assert system.wait_until(lambda: not system.is_running(killed), 30)
    broken.touch()
    with pytest.raises(errors.ConfigRefused):
        agent.apply(_with(3))
    assert " priority 2\n" in _kept(folder)
    broken.unlink()
    agent.look()
    assert _read(folder, 2, 2)


@pytest.mark.parametrize("remembered", [True, False])
def test_rules_that_were_tried_when_the_agent_was_killed_give_way(tmp_path: pathlib.Path, remembered: bool) -> None:
    served = dataclasses.replace(WANTED, certificates=(), programs={"datagrams": DATAGRAMS})
    kept = tmp_path / "state" / "datagrams.json"
    system.write_file(kept, datagrams.dump(datagrams.parse(DATAGRAMS)[:0]).encode())
    if remembered:
        system.write_file(tmp_path / "state" / configuration.SERVED, b'{"interfaces":[],"wanted":%b}' % served.dump())
    agent = load_balancer.LoadBalancer(BOOTED, tmp_path / "state", tmp_path / "run", Nics("figlina-t-nowhere"))
    agent._recall()
    assert (kept.read_text() if kept.exists() else None) == (DATAGRAMS if remembered else None)
    if not remembered:
        assert (agent.look() or {})["programs"].keys() == {"agent"}, "after a restart of the machine there is no namespace either"
