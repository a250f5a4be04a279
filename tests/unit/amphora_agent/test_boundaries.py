"""What the agent must not need, and what it must not accept."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from amphora_agent import interfaces, load_balancer
from amphora_agent.protocol import rest


def test_the_first_heartbeat_needs_the_standard_library_only() -> None:
    foreign = "('flask', 'werkzeug', 'jinja2', 'controller')"
    code = f"import sys, amphora_agent.main; print([name for name in sys.modules if name.split('.')[0] in {foreign}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_agent_imports_nothing_of_the_controller() -> None:
    package = pathlib.Path(load_balancer.__file__).parent
    assert [
        str(path) for path in package.rglob("*.py") if "import controller" in path.read_text() or "from controller" in path.read_text()
    ] == []


def wanted(**changes: object) -> rest.WantedState:
    nic = {"mac": "02:00:00:00:00:01", "name": "eth1", "mtu": 1500, "addresses": ("10.0.0.1/24",), **changes}
    return rest.WantedState(load_balancer_id="x", generation=1, interfaces=(rest.Interface(**nic),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "eth1 down\nlink delete lo"},
        {"name": ""},
        {"addresses": ("10.0.0.1/24 dev lo",)},
        {"vips": ("10.0.0.1\n",)},
        {"routes": (rest.Route("default", "10.0.0.1 dev lo"),)},
        {"routes": (rest.Route("default", "10.0.0.1", "10.0.0.9 lookup main"),)},
    ],
)
def test_nothing_becomes_a_command_of_its_own(changes: dict[str, object]) -> None:
    with pytest.raises(rest.Malformed):
        load_balancer._refuse_malformed(wanted(**changes))


def test_ordinary_interfaces_are_accepted() -> None:
    load_balancer._refuse_malformed(wanted(vips=("fd00::1/128",), routes=(rest.Route("default", "10.0.0.254"), rest.Route("10.1.0.0/16"))))


def test_what_may_have_been_set_is_the_union_of_what_ran_and_what_was_tried() -> None:
    known = wanted(addresses=("10.0.0.1/24", "10.0.0.2/24")).interfaces
    tried = wanted(addresses=("10.0.0.2/24", "10.0.0.3/24"), name="eth2").interfaces
    (merged,) = interfaces.merged(known, tried)
    assert merged.name == "eth2"
    assert merged.addresses == ("10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24")
