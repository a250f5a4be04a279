"""What an instance of `figlina dev` is told, and what its processes read."""

from __future__ import annotations

import configparser
import ipaddress
import pathlib

import pytest

from controller import conf as configuration
from controller.dev import settings

STATE = pathlib.Path("/some/where/.figlina")


def written(chosen: settings.Settings) -> configparser.ConfigParser:
    file = configparser.ConfigParser(interpolation=None)
    file.read_string(chosen.configuration(STATE))
    return file


def test_the_configuration_names_only_options_that_exist() -> None:
    known = {(group, option.name) for group, options in configuration.list_opts() for option in options}
    file = written(settings.Settings())
    assert {(section, key) for section in file.sections() for key in file[section]} <= known


def test_everything_of_an_instance_lies_in_its_folder_and_in_its_own_addresses() -> None:
    chosen = settings.Settings()
    paths = [value for section in written(chosen).values() for key, value in section.items() if key.endswith(("_path", "_directory"))]
    assert all(path.startswith(str(STATE)) for path in paths)
    ours = ipaddress.ip_network("198.19.0.0/16")
    for address in (chosen.controller_address, *chosen.tenants.values()):
        assert ipaddress.ip_address(address) in ours


def test_every_instance_has_a_heartbeat_key_of_its_own_that_its_description_hides() -> None:
    first, second = settings.Settings(), settings.Settings()
    assert first.heartbeat_key != second.heartbeat_key
    assert first.heartbeat_key not in repr(first)


def test_options_of_the_user_win() -> None:
    options = settings.parse_options(["health_manager.heartbeat_interval=0.25", "new_section.key=a = b", "DEFAULT.debug=true"])
    file = written(settings.Settings(options=options))
    assert file["health_manager"]["heartbeat_interval"] == "0.25"
    assert file["new_section"]["key"] == "a = b"
    assert file.defaults() == {"debug": "true"}


@pytest.mark.parametrize("text", ["no_section=1", "section.option", "a.b=1\n[database]"])
def test_an_option_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SECTION\.OPTION=VALUE"):
        settings.parse_options([text])


@pytest.mark.parametrize("prefix", ["", "a b", "../x", "Big", "a" * 61])
def test_a_prefix_that_can_name_nothing_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="a prefix has at most"):
        settings.Settings(prefix=prefix)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="is no TCP port"):
        settings.Settings(api_port=port)


def test_settings_are_kept_for_the_next_command(tmp_path: pathlib.Path) -> None:
    chosen = settings.Settings(prefix="figlina-x", api_port=1234, options={"a.b": "c"})
    assert settings.load(tmp_path) is None
    settings.save(tmp_path, chosen)
    assert settings.load(tmp_path) == chosen
    assert (tmp_path / "figlina.conf").stat().st_mode & 0o077 == 0
