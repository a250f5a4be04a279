"""Owners of claims and leases: who is dead."""

from __future__ import annotations

import os
import subprocess
import sys

from controller.worker import owner


def test_this_process_lives() -> None:
    assert not owner.is_dead(owner.name("host"), "host")


def test_a_process_that_ended_is_dead_even_before_its_parent_noticed() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from controller.worker import owner; print(owner.name('host'), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert name.startswith(f"host:{child.pid}:")
    assert not owner.is_dead(name, "host")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner.is_dead(name, "host")
    child.communicate()
    assert owner.is_dead(name, "host")


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it() -> None:
    host, pid, start = owner.name("host").rsplit(":", 2)
    ticks, _, space = start.partition("-")
    assert owner.is_dead(f"{host}:{pid}:{int(ticks) - 1}-{space}", "host")


def test_of_other_hosts_number_spaces_and_strangers_nothing_is_said() -> None:
    host, pid, start = owner.name("host").rsplit(":", 2)
    assert not owner.is_dead(f"{host}:{pid}:1-1", "host")
    assert not owner.is_dead(f"other:{pid}:1-{start.partition('-')[2]}", "host")
    assert not owner.is_dead("somebody", "host")
    assert not owner.is_dead("host:x:y", "host")
