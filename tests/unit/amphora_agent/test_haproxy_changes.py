"""The order of runtime commands: what HAProxy has between two of them is what clients meet."""

from __future__ import annotations

import itertools
import pathlib

import pytest

from amphora_agent import certificates, haproxy_changes, haproxy_drains, haproxy_runtime

STATES = [(weight, disabled) for weight in (0, 1, 2) for disabled in (False, True)]


class _Servers(haproxy_runtime.RuntimeApi):
    """The servers of a backend as each command leaves them: who gets clients."""

    def __init__(self, states: list[tuple[int, bool]]) -> None:
        super().__init__(pathlib.Path("nowhere"))
        self.states = [list(state) for state in states]
        self.moments = [self._serving()]

    def order(self, command: str, expected: str = "") -> None:
        *_, target, what, value = command.split()
        state = self.states[int(target.rpartition("m")[2])]
        if what == "weight":
            state[0] = int(value)
        else:
            state[1] = value == "maint"
        self.moments.append(self._serving())

    def server_states(self, backends: object = None) -> str:
        raise haproxy_runtime.RuntimeFailed("only orders are looked at")

    def _serving(self) -> set[int]:
        return {place for place, (weight, disabled) in enumerate(self.states) if weight and not disabled}


def _text(states: list[tuple[int, bool]]) -> str:
    lines = (f"server m{place} 192.0.2.{place}:80 weight {weight}{' disabled' * off}" for place, (weight, off) in enumerate(states))
    return "\n    ".join(["backend p1:l1", *lines]) + "\n"


@pytest.mark.parametrize("before", list(itertools.product(STATES, STATES)))
def test_members_that_take_turns_leave_no_moment_without_one(before: tuple[tuple[int, bool], ...], tmp_path: pathlib.Path) -> None:
    for after in itertools.product(STATES, STATES):
        runtime = _Servers(list(before))
        changes = haproxy_changes.Changes(
            runtime, certificates.Certificates(tmp_path), haproxy_drains.Drains(tmp_path / "drains.json", runtime)
        )
        changes.apply(_text(list(before)), _text(list(after)))
        assert [tuple(state) for state in runtime.states] == list(after)
        first, last = runtime.moments[0], runtime.moments[-1]
        for moment in runtime.moments:
            assert moment or not (first and last), (before, after)
            assert moment <= first | last, "somebody got clients on the way who has none before nor after"
