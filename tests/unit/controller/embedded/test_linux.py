"""Small facts about Linux that the embedded drivers rely on."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence

import pytest

from controller.embedded import linux
from controller.model.network import Port

STAT = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 18446744073709551615"


def test_a_process_is_known_by_its_id_and_start_even_if_its_name_has_brackets() -> None:
    assert linux.ProcessMark.parse(STAT) == linux.ProcessMark(4242, 987654)


@pytest.mark.parametrize("text", ["", "4242", "4242 (name) S 1", "x (name) " + STAT.rpartition(") ")[2]])
def test_what_is_not_a_processs_stat_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        linux.ProcessMark.parse(text)


def test_a_cables_name_fits_the_kernel_and_follows_from_the_port() -> None:
    name = linux.cable_name("6f2b8c54-9a0e-4f3a-8f0e-0c5d3c1a7f11")
    assert name == "tap6f2b8c549a0"
    assert len(name) <= 15


def test_a_port_without_a_bridge_can_not_be_plugged_here() -> None:
    port = Port(id="p", name="", network_id="n", mac_address="02:00:00:00:00:01", mtu=1500, fixed_ips=())
    with pytest.raises(Exception, match="no bridge"):
        linux.cable_lines(port, "somewhere")


class Refusing(linux.Host):
    """A machine whose `ip` says these words and fails, as the real one was heard to say them."""

    def __init__(self, words: str, before: Callable[[], object] = lambda: None) -> None:
        self.words = words
        self.before = before

    def run(self, argv: Sequence[str], text: str = "") -> str:
        self.before()
        raise linux.CommandFailed(argv, self.words)


@pytest.fixture
def namespace(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The file of a namespace that is there: this process's own, under another name."""
    monkeypatch.setattr(linux, "NAMESPACES", tmp_path)
    (tmp_path / "here").symlink_to(f"/proc/{os.getpid()}/ns/net")
    return tmp_path / "here"


TAKEN_DOWN: dict[str, Callable[[linux.Host], object]] = {
    "cables": lambda host: linux.cut_cables(host, "here", ["6f2b8c54-9a0e", "7f2b8c54-9a0e"]),
    "lines": lambda host: linux.take_away(host, "here", ["address delete 10.0.0.1/24 dev eth0", "route delete default"]),
}


@pytest.mark.parametrize("act", TAKEN_DOWN.values(), ids=TAKEN_DOWN)
@pytest.mark.parametrize(
    "words",
    [
        'Cannot find device "tap6f2b8c549a0"\nCommand failed -:1',
        "RTNETLINK answers: No such device\nCommand failed -:2",
        'Cannot find device "tap6f2b8c549a0"\nCommand failed -:1\nRTNETLINK answers: No such device\nCommand failed -:2',
        "RTNETLINK answers: Cannot assign requested address\nCommand failed -:1\nRTNETLINK answers: No such process\nCommand failed -:2",
        'Cannot open network namespace "here": No such file or directory',
    ],
)
def test_what_the_kernel_removed_in_the_middle_of_our_command_is_gone(
    namespace: pathlib.Path, words: str, act: Callable[[linux.Host], object]
) -> None:
    act(Refusing(words))


@pytest.mark.parametrize("act", TAKEN_DOWN.values(), ids=TAKEN_DOWN)
@pytest.mark.parametrize(
    "words",
    [
        "RTNETLINK answers: Operation not permitted\nCommand failed -:1",
        "RTNETLINK answers: No such device\nCommand failed -:1\nRTNETLINK answers: Device or resource busy\nCommand failed -:2",
        "exit code 255",
        "",
    ],
)
def test_what_is_there_and_stays_is_told(namespace: pathlib.Path, words: str, act: Callable[[linux.Host], object]) -> None:
    with pytest.raises(linux.CommandFailed):
        act(Refusing(words))


def test_nothing_is_killed_in_a_namespace_that_goes_meanwhile(namespace: pathlib.Path) -> None:
    linux.kill_inside(Refusing("Cannot open network namespace: No such file or directory", namespace.unlink), "here")
