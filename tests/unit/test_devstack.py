"""The DevStack plug-in and what it speaks of: options that exist, settings that are explained, entry points in their order."""

from __future__ import annotations

import pathlib
import re

import pytest
from oslo_config import cfg

from controller import conf as configuration
from controller.api import keystone, policy

ROOT = pathlib.Path(__file__).resolve().parents[2] / "devstack"
SCRIPTS = [ROOT / "plugin.sh", *sorted((ROOT / "lib").iterdir())]
SETTINGS = (ROOT / "settings").read_text()
PAGE = (ROOT / "README.md").read_text()
_OTHERS = {"oslo_middleware": {"enable_proxy_headers_parsing"}}
"""Options of libraries that read the file by themselves."""
_FOLLOW = {
    "OCTAVIA_DIR",
    "OCTAVIA_CONF_DIR",
    "OCTAVIA_CONF",
    "FIGLINA_CONF",
    "OCTAVIA_SSH_KEY_TYPE",
    "OCTAVIA_SSH_KEY_BITS",
    "OCTAVIA_ADMIN_USER",
}
"""Names that follow from others, and older names of some."""


def _options() -> dict[str, set[str]]:
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    known = {"DEFAULT": set(conf)}
    for list_opts in (configuration.list_opts, keystone.list_opts, policy.list_opts):
        for group, options in list_opts():
            known.setdefault(str(group), set()).update(option.dest for option in options)
    return known


def _written() -> list[tuple[str, str, str]]:
    """File, section and option of every `iniset` of our configuration; a section that is a variable of a loop is each of its words."""
    found = []
    for script in SCRIPTS:
        text = script.read_text()
        for section, option in re.findall(r'iniset "\$FIGLINA_CONF" (\S+) (\w+) ', text):
            sections = [section]
            if section == '"$section"':
                sections = re.search(r"for section in ([\w ]+);", text)[1].split()  # type: ignore[index]
            found += [(script.name, one, option) for one in sections]
    return found


def test_there_is_something_to_check() -> None:
    assert len(_written()) > 40


@pytest.mark.parametrize(("script", "section", "option"), _written())
def test_an_option_that_is_written_is_one_of_ours(script: str, section: str, option: str) -> None:
    known = _options()
    assert option in known.get(section, set()) | _OTHERS.get(section, set()), f"{script} writes [{section}] {option}, which nobody reads"


def _settings() -> set[str]:
    return set(re.findall(r"^((?:OCTAVIA|FIGLINA|DISABLE)_\w+)=", SETTINGS, re.MULTILINE))


def test_every_setting_is_explained_and_every_explained_one_is_there() -> None:
    explained = set(re.findall(r"\b((?:OCTAVIA|FIGLINA|DISABLE)_[A-Z0-9_]+)\b", PAGE)) - _FOLLOW
    assert explained - {"FIGLINA_AMP_IMAGE_FILE"} == _settings() - _FOLLOW


def test_every_setting_is_used_and_every_used_one_is_a_setting() -> None:
    used = set()
    for script in SCRIPTS:
        used |= set(re.findall(r"\b((?:OCTAVIA|FIGLINA|DISABLE)_[A-Z0-9_]+)\b", script.read_text()))
    assert used - _settings() == set(), "used, and set nowhere"
    assert _settings() - used - _FOLLOW == set(), "set, and used nowhere"


@pytest.mark.parametrize("library", [path for path in SCRIPTS if path.parent.name == "lib"], ids=lambda path: path.name)
def test_the_head_of_a_library_lists_its_entry_points_in_order(library: pathlib.Path) -> None:
    """As DevStack's own libraries do."""
    text = library.read_text()
    listed = re.findall(r"^# - (\w*figlina\w*)$", text, re.MULTILINE)
    assert listed == re.findall(r"^function ([a-z]\w*) {$", text, re.MULTILINE)
