"""What the agent lives by: as it was booted, until it is told otherwise, and then also after a restart."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import socket

import pytest

from amphora_agent import configuration
from amphora_agent.protocol import boot, heartbeat
from tests.unit.amphora_agent.test_heartbeat import Told

BOOTED = boot.BootConfig(
    amphora_id="aaaaaaaa-0000-4000-8000-000000000001",
    management_address="192.0.2.1/24",
    management_mac="02:00:00:00:00:01",
    management_mtu=1500,
    health_managers=(("192.0.2.2", 5555),),
    heartbeat_key="00" * 32,
)
TOLD = boot.AgentConfig(health_managers=(("192.0.2.3", 5556), ("2001:db8::1", 5555)), heartbeat_key="11" * 32, heartbeat_interval=3.0)


def test_it_lives_as_it_was_booted_until_it_is_told_otherwise_and_remembers_that(tmp_path: pathlib.Path) -> None:
    kept = configuration.Kept(BOOTED, tmp_path)
    assert kept.current == BOOTED.agent
    heard: list[boot.AgentConfig] = []
    kept.on_change = heard.append
    kept.replace(TOLD)
    assert kept.current == TOLD == configuration.Kept(BOOTED, tmp_path).current
    assert heard == [TOLD]
    assert (tmp_path / "agent.json").stat().st_mode & 0o077 == 0  # the key is in it


def test_what_can_not_be_read_is_passed_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / "agent.json").write_text("{")
    assert configuration.Kept(BOOTED, tmp_path).current == BOOTED.agent


@pytest.mark.parametrize(
    "spoiled",
    [
        {"health_managers": []},
        {"health_managers": [["example.org", 5555]]},
        {"health_managers": [["192.0.2.1", 0]]},
        {"heartbeat_key": "00"},
        {"heartbeat_key": "xy" * 32},
        {"heartbeat_interval": 0},
        {"full_report_interval": float("inf")},
        {"heartbeat_interval": None},
    ],
    ids=str,
)
def test_what_no_agent_could_live_by_is_refused(spoiled: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not an agent's configuration"):
        boot.AgentConfig.parse(json.dumps(json.loads(TOLD.dump()) | spoiled).encode())


@pytest.mark.parametrize("name", ["health_managers", "heartbeat_key", "heartbeat_interval", "full_report_interval"])
def test_what_lacks_a_field_that_every_controller_names_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"not an agent's configuration: .*{name}"):
        boot.AgentConfig.parse(json.dumps({key: value for key, value in json.loads(TOLD.dump()).items() if key != name}).encode())


def test_a_boot_configuration_that_no_agent_could_live_by_is_refused_too() -> None:
    assert boot.BootConfig.parse(BOOTED.dump()) == BOOTED
    with pytest.raises(ValueError, match="not a boot configuration: health_managers is empty"):
        boot.BootConfig.parse(json.dumps(json.loads(BOOTED.dump()) | {"health_managers": []}).encode())


def test_fields_of_a_newer_controller_are_passed_over() -> None:
    assert boot.AgentConfig.parse(json.dumps(json.loads(TOLD.dump()) | {"colour": "red"}).encode()) == TOLD


def test_a_heart_tells_new_managers_everything_at_once_with_the_new_key() -> None:
    told = Told()
    told.heart.turn()
    told.receive()
    new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    new.bind(("127.0.0.1", 0))
    new.settimeout(5)
    told.heart.configure(dataclasses.replace(TOLD, health_managers=(new.getsockname(),)))
    told.heart.turn()
    header, _ = heartbeat.unpack(new.recv(65536), bytes.fromhex(TOLD.heartbeat_key))
    assert (header.kind, header.sequence) == (heartbeat.REPORT, 2)
    for manager in told.managers:
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)


def test_what_an_older_agent_does_not_know_is_told_only_where_it_says_something() -> None:
    booted = dataclasses.replace(BOOTED, counters_interval=2.0)
    assert b"counters_interval" not in BOOTED.dump()
    assert boot.BootConfig.parse(booted.dump()) == booted
    assert boot.BootConfig.parse(booted.dump().replace(b"counters_interval", b"of_a_later_version")) == BOOTED
