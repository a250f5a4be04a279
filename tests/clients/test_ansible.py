"""The modules of Ansible's `openstack.cloud`, unmodified: a playbook that has run has nothing to do when it runs again."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from openstack.load_balancer.v2 import health_monitor, listener, load_balancer, member, pool

from tests.clients import shapes
from tests.clients.conftest import Cloud
from tests.clients.days import PARENTS, differences
from tests.clients.python import told
from tests.clients.shapes import Stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # the first run installs Ansible, maybe on a busy machine

_ROOT = pathlib.Path(__file__).parents[2]
_BIN = _ROOT / ".venv-ansible" / "bin"
_KINDS = {
    "loadbalancer": ("load_balancer", load_balancer.LoadBalancer),
    "listener": ("listener", listener.Listener),
    "pool": ("pool", pool.Pool),
    "member": ("member", member.Member),
    "healthmonitor": ("health_monitor", health_monitor.HealthMonitor),
}
"""By the API's noun: where a module returns the object, and the class of openstacksdk whose names it uses."""
_MODULES = {
    "loadbalancer": "loadbalancer",
    "listener": "lb_listener",
    "pool": "lb_pool",
    "member": "lb_member",
    "healthmonitor": "lb_health_monitor",
}
_NAMES = {noun: {"name": f"ansible-{noun}"} for noun in _MODULES}
_BELOW = {
    "listener": {"load_balancer": "ansible-loadbalancer"},
    "pool": {"listener": "ansible-listener"},
    "member": {"pool": "ansible-pool"},
    "healthmonitor": {"pool": "ansible-pool"},
}


class Playbook:
    """Runs tasks on this machine against the cloud, each a module with its arguments."""

    def __init__(self, cloud: Cloud, folder: pathlib.Path) -> None:
        self._environment = cloud.environment() | {
            "ANSIBLE_COLLECTIONS_PATH": str(_ROOT / ".venv-ansible" / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
            "ANSIBLE_REMOTE_TMP": str(folder / "remote"),
            "HOME": str(folder),
        }
        self._folder = folder

    def run(self, tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What each task returned, by its noun."""
        results = self._folder / "results.json"
        steps: list[dict[str, Any]] = [
            {f"openstack.cloud.{_MODULES[noun]}": arguments, "register": f"result_{noun}"} for noun, arguments in tasks.items()
        ]
        whole = ", ".join(f"'{noun}': result_{noun}" for noun in tasks)
        steps.append({"ansible.builtin.copy": {"content": f"{{{{ {{{whole}}} | to_json }}}}", "dest": str(results), "mode": "0600"}})
        variables = {"ansible_python_interpreter": str(_BIN / "python")}
        play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": steps}]
        file = self._folder / "playbook.yaml"
        file.write_text(json.dumps(play))  # JSON is YAML, too
        command: list[str | pathlib.Path] = [_BIN / "ansible-playbook", "-i", "localhost,", file]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        found: dict[str, dict[str, Any]] = json.loads(results.read_text())
        return found


@pytest.fixture
def playbook(cloud: Cloud, tmp_path: pathlib.Path) -> Iterator[Playbook]:
    """Nothing is left behind, whatever happens."""
    made = subprocess.run([_ROOT / "scripts" / "make-tool-venv", "ansible"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"Ansible can't be installed here: {made.stderr.strip().splitlines()[-1:]}")
    runs = Playbook(cloud, tmp_path)
    yield runs
    runs.run({"loadbalancer": _NAMES["loadbalancer"] | {"state": "absent"}})


def test_a_playbook_makes_changes_and_removes_everything_and_repeats_nothing(cloud: Cloud, playbook: Playbook) -> None:
    wanted = _wanted(cloud)
    cloud.recorder.forget()
    first = playbook.run(wanted)
    assert {noun: result["changed"] for noun, result in first.items()} == dict.fromkeys(wanted, True)
    _compare(cloud, first)
    again = playbook.run(wanted)
    assert {noun: result["changed"] for noun, result in again.items()} == dict.fromkeys(wanted, False)
    _compare(cloud, again)
    changed: dict[str, dict[str, Any]] = {
        "loadbalancer": {"description": "evening"},
        "listener": {"timeout_client_data": 2000},
        "pool": {"description": "evening"},
        "member": {"weight": 7},
        "healthmonitor": {"delay": 7, "max_retries_down": 5},
    }
    later = {noun: arguments | changed[noun] for noun, arguments in wanted.items()}
    assert {noun: result["changed"] for noun, result in playbook.run(later).items()} == dict.fromkeys(wanted, True)
    _compare(cloud, settled := playbook.run(later))
    assert {noun: result["changed"] for noun, result in settled.items()} == dict.fromkeys(wanted, False)
    gone = {noun: _NAMES[noun] | ({"pool": "ansible-pool"} if noun == "member" else {}) | {"state": "absent"} for noun in reversed(wanted)}
    removed = playbook.run(gone)
    assert {noun: result["changed"] for noun, result in removed.items()} == dict.fromkeys(wanted, True)


def _wanted(cloud: Cloud) -> dict[str, dict[str, Any]]:
    address = cloud.site.web["web-1"]
    more: dict[str, dict[str, Any]] = {
        "loadbalancer": {"vip_subnet": "private-subnet", "description": "morning"},
        "listener": {"protocol": "HTTP", "protocol_port": 80, "timeout_client_data": 1000},
        "pool": {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "description": "morning"},
        "member": {"address": address, "protocol_port": 80, "weight": 3, "monitor_address": address, "monitor_port": 80},
        "healthmonitor": {
            "type": "HTTP", "delay": 5, "health_monitor_timeout": 3, "max_retries": 2, "max_retries_down": 4, "http_method": "GET",
            "url_path": "/health", "expected_codes": "200",
        },
    }  # fmt: skip
    return {noun: _NAMES[noun] | _BELOW.get(noun, {}) | more[noun] for noun in _MODULES}


def _compare(cloud: Cloud, results: dict[str, dict[str, Any]]) -> None:
    """What each module returned is an answer of the API, field by field; and that answer is as clients expect it."""
    wrong = []
    for noun, result in results.items():
        key, kind = _KINDS[noun]
        # The modules show what they sent beside what they were told, and their openstacksdk may be older than the one that reads it here.
        shown = {name: value for name, value in told(kind.existing(**result[key])).items() if value is not None and name not in PARENTS}
        answers = [found for found in _answers(cloud, noun) if found["id"] == shown["id"]]
        nearest = min((differences(shown, answer) for answer in answers), key=len)
        wrong += [f"{noun}: {words}" for words in nearest]
        settled = [answer for answer in answers if answer["provisioning_status"] == "ACTIVE"]
        wrong += [words for answer in settled for words in shapes.faults(noun, Stage.ACTIVE, answer)]
        assert settled, f"nobody saw {noun} ACTIVE"
    assert not wrong, "\n".join(wrong)


def _answers(cloud: Cloud, noun: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for answer in cloud.recorder.answers:
        body = answer.body if isinstance(answer.body, dict) else {}
        found += [body[noun]] if noun in body else body.get(f"{noun}s", [])
    return found
