"""What a fresh machine says before its agent is loaded is what the agent says, in what it needs for that."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import zlib

import pytest

from amphora_agent import first_word, programs, report
from amphora_agent.protocol import boot
from amphora_agent.protocol import heartbeat as protocol
from tests.unit.amphora_agent.test_config_drive import a_drive, cloud_config
from tests.unit.amphora_agent.test_start import CONFIG

MOST_MODULES = 16
"""Beside what an interpreter has begun with; the whole agent loads a hundred more."""


def said() -> bytes:
    return first_word.datagram(json.loads(CONFIG.dump()))


def test_it_says_what_the_agent_says(tmp_path: pathlib.Path) -> None:
    header, body = protocol.unpack(said(), bytes.fromhex(CONFIG.heartbeat_key))
    idle = report.idle(programs.Record(tmp_path / "programs.json"))
    assert json.loads(zlib.decompress(body)) == report.without_counts(idle)
    assert (protocol.id_text(header.amphora_id), header.digest) == (CONFIG.amphora_id, report.digest(idle))
    assert (header.kind, header.sequence, header.part, header.parts) == (protocol.REPORT, 1, 0, 1)


def test_each_boot_has_an_id_of_its_own() -> None:
    first, second = (protocol.unpack(said(), bytes.fromhex(CONFIG.heartbeat_key))[0].boot_id for _ in range(2))
    assert first != second


@pytest.mark.parametrize("way", ["user data", "personality"])
def test_it_finds_what_a_controller_wrote_either_way(tmp_path: pathlib.Path, way: str) -> None:
    content = CONFIG.dump()
    about = {"name": "amphora-1", "files": [{"path": boot.CONFIG_PATH, "content_path": "/content/0000"}]}
    drive = a_drive(tmp_path, about, cloud_config(path=boot.CONFIG_PATH, content=content.decode()) if way == "user data" else None)
    if way == "personality":
        (drive / "openstack/content/0000").write_bytes(content)
    assert first_word.boot_configuration(str(drive)) == json.loads(content)


@pytest.mark.parametrize(
    ("about", "user_data"),
    [
        ({"name": "amphora-1"}, None),
        ({"name": "amphora-1"}, "#!/bin/sh\n"),
        ({"name": "amphora-1"}, "#cloud-config\n{}"),
        ({"name": "amphora-1", "files": [{"path": boot.CONFIG_PATH, "content_path": "/../../secret"}]}, None),
    ],
)
def test_what_is_not_as_usual_is_left_to_the_agent(tmp_path: pathlib.Path, about: object, user_data: str | None) -> None:
    with pytest.raises(LookupError):
        first_word.boot_configuration(str(a_drive(tmp_path, about, user_data)))


def test_it_says_nothing_where_no_machine_is_configured() -> None:
    """Here, for instance: no drive, or no folder of an agent's state. It ends, and does not fail."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from amphora_agent import first_word; first_word.say()"], capture_output=True, check=True
    )
    assert b"the first heartbeat is on its way" not in done.stderr


def test_it_loads_next_to_nothing() -> None:
    start = (
        "import sys; before = {*sys.modules}; from amphora_agent import first_word; first_word._parse('1'); print(*{*sys.modules} - before)"
    )
    loaded = subprocess.run([sys.executable, "-S", "-c", start], capture_output=True, text=True, check=True).stdout.split()
    assert len(loaded) <= MOST_MODULES, sorted(loaded)
    assert {"json", "re", "socket", "subprocess", "logging", "dataclasses"}.isdisjoint(loaded)
