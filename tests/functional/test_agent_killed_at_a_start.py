"""What no HAProxy ever ran is neither gone back to nor built upon, whatever an agent left that was killed while it tried it."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from amphora_agent import configuration, errors, load_balancer, programs, system
from amphora_agent import haproxy as haproxy_module
from amphora_agent.protocol import rest
from tests import recorded
from tests.functional.test_agent_takes_anything import BOOTED, WANTED, Nics

TEXT = WANTED.programs["haproxy"]
ALONE = dataclasses.replace(WANTED, certificates=(), programs={"haproxy": TEXT})
REFUSES = f"cat <<'E'\n{recorded.haproxy('refused').strip()}\nE\nexit 1"


def _command(folder: pathlib.Path, *lines: str) -> str:
    path = folder / "haproxy"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def _weighed(wanted: rest.WantedState, generation: int) -> rest.WantedState:
    """With another weight: a plain change."""
    text = wanted.programs["haproxy"]
    assert " weight 1 " in text
    return dataclasses.replace(wanted, generation=generation, programs={"haproxy": text.replace(" weight 1 ", f" weight {generation} ")})


def _agent(folder: pathlib.Path, command: str) -> load_balancer.LoadBalancer:
    booted = dataclasses.replace(BOOTED, haproxy_command=command)
    return load_balancer.LoadBalancer(booted, folder / "state", folder / "run", Nics(""))


def test_a_first_configuration_that_was_refused_while_the_agent_was_killed_is_forgotten(tmp_path: pathlib.Path) -> None:
    state, left = tmp_path / "state", tmp_path / "left" / "state"
    left.parent.mkdir()
    command = _command(tmp_path, f'case " $* " in *" -W "*) [ -e {left} ] || cp -r {state} {left};; esac', REFUSES)
    with pytest.raises(errors.ConfigRefused):
        _agent(tmp_path, command).apply(ALONE)
    assert (left / "haproxy.cfg").read_text() == TEXT, "what lies there while HAProxy starts"
    successor = _agent(left.parent, command)
    successor.resume()
    assert not (left / "haproxy.cfg").exists()
    with pytest.raises(errors.ConfigRefused) as refused:
        successor.apply(_weighed(ALONE, 2))
    assert refused.value.details == recorded.refusal()
    assert not (left / "haproxy.cfg").exists()


@pytest.mark.parametrize("remembered", [True, False])
def test_what_was_tried_beside_one_that_served_gives_way_to_it(tmp_path: pathlib.Path, remembered: bool) -> None:
    kept, served = tmp_path / "state" / "haproxy.cfg", tmp_path / "state" / configuration.SERVED
    system.write_file(served, b'{"interfaces":[],"wanted":%b}' % ALONE.dump() if remembered else b"{")
    kept.write_text(_weighed(ALONE, 7).programs["haproxy"])
    _agent(tmp_path, _command(tmp_path, "exit 1")).resume()
    assert kept.read_text() == (TEXT if remembered else _weighed(ALONE, 7).programs["haproxy"]), "if nobody knows what served, it stays"


def test_a_start_that_breaks_off_leaves_the_files_of_before(tmp_path: pathlib.Path) -> None:
    places = haproxy_module.Places(tmp_path / "state", tmp_path / "run")
    (places.run / "haproxy.cfg").mkdir(parents=True)  # can't be written
    one = haproxy_module.HAProxy(places, "true", "", programs.Record(tmp_path / "programs.json"))
    system.write_file(places.state / "haproxy.cfg", TEXT.encode())
    system.write_file(places.state / "haproxy-global.cfg", b"global\n")
    with pytest.raises(OSError, match="directory"):
        one.apply(_weighed(ALONE, 2).programs["haproxy"], _weighed(ALONE, 2))
    assert one.config == TEXT
    assert (places.state / "haproxy-global.cfg").read_text() == "global\n"
