"""The load balancers of Heat, unmodified: a stack is created, updated and deleted by Heat's engine, and shows what the API said."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import shapes
from tests.clients.conftest import Cloud
from tests.clients.days import differences
from tests.clients.shapes import Stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]  # the first run installs Heat, maybe on a busy machine

_ROOT = pathlib.Path(__file__).parents[2]
_NOUNS = {
    "balancer": "loadbalancer",
    "listener": "listener",
    "pool": "pool",
    "member": "member",
    "monitor": "healthmonitor",
    "policy": "l7policy",
    "rule": "rule",
}


class Heat:
    """Heat's engine in a process of its own."""

    def __init__(self, cloud: Cloud, folder: pathlib.Path) -> None:
        engine = pathlib.Path(__file__).with_name("heat_stack.py")
        command: list[str | pathlib.Path] = [_ROOT / ".venv-heat" / "bin" / "python", "-W", "ignore", engine, folder]
        self._said = folder / "said"
        with self._said.open("w") as said:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
            self._process = subprocess.Popen(command, env=cloud.environment(), text=True, **pipes)

    def bring(self, template: dict[str, Any] | None) -> dict[str, Any]:
        """Create or update the stack, or delete it; its status and the attributes of its resources."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(template) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._said.read_text(errors="replace")[-4000:]
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


@pytest.fixture
def heat(cloud: Cloud, tmp_path: pathlib.Path) -> Iterator[Heat]:
    made = subprocess.run([_ROOT / "scripts" / "make-tool-venv", "heat"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"Heat can't be installed here: {made.stderr.strip().splitlines()[-1:]}")
    engine = Heat(cloud, tmp_path)
    yield engine
    engine.close()


def test_a_stack_is_created_updated_and_deleted(cloud: Cloud, heat: Heat) -> None:
    cloud.recorder.forget()
    for word, changes in (("CREATE", {}), ("UPDATE", _CHANGES)):
        found = heat.bring(_template(cloud, changes))
        assert found["status"] == f"{word}_COMPLETE", found["reason"]
        _compare(cloud, found["resources"])
    for name, changed in _CHANGES.items():
        shown = found["resources"][name]["show"]
        assert {key: shown[key] for key in changed} == changed
    assert heat.bring(None)["status"] == "DELETE_COMPLETE"
    gone = f"/loadbalancers/{found['resources']['balancer']['show']['id']}"
    assert cloud.keystone.status("lb-admin", "GET", gone) == 404


_CHANGES: dict[str, dict[str, Any]] = {
    "balancer": {"name": "evening", "description": "evening"},
    "listener": {"connection_limit": 200, "name": "evening"},
    "pool": {"lb_algorithm": "LEAST_CONNECTIONS"},
    "member": {"weight": 7},
    "monitor": {"delay": 7, "url_path": "/other"},
    "policy": {"redirect_url": "http://evening.example/"},
    "rule": {"value": "/other"},
}


def _template(cloud: Cloud, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    def octavia(word: str, resource: str, /, **properties: Any) -> dict[str, Any]:
        return {"type": f"OS::Octavia::{word}", "properties": properties | changes.get(resource, {})}

    def of(name: str) -> dict[str, str]:
        return {"get_resource": name}

    http = {"protocol": "HTTP"}
    return {
        "heat_template_version": "2018-08-31",
        "resources": {
            "balancer": octavia("LoadBalancer", "balancer", vip_subnet=cloud.subnet_id, name="morning", description="morning"),
            "listener": octavia("Listener", "listener", loadbalancer=of("balancer"), protocol_port=80, connection_limit=100, **http),
            "pool": octavia(
                "Pool", "pool", listener=of("listener"), lb_algorithm="ROUND_ROBIN",
                session_persistence={"type": "APP_COOKIE", "cookie_name": "session"}, **http,
            ),
            "member": octavia("PoolMember", "member", pool=of("pool"), address=cloud.site.web["web-1"], protocol_port=80, weight=3),
            "monitor": octavia(
                "HealthMonitor", "monitor", pool=of("pool"), type="HTTP", delay=5, timeout=3, max_retries=2, http_method="GET",
                url_path="/health", expected_codes="200",
            ),
            "policy": octavia("L7Policy", "policy", listener=of("listener"), action="REDIRECT_TO_URL", redirect_url="http://morning.example/"),
            "rule": octavia("L7Rule", "rule", l7policy=of("policy"), type="PATH", compare_type="EQUAL_TO", value="/no"),
        },
    }  # fmt: skip


def _compare(cloud: Cloud, resources: dict[str, dict[str, Any]]) -> None:
    """Each attribute, and the whole object, is what the API said last; and that is as clients expect it."""
    wrong = []
    for name, noun in _NOUNS.items():
        shown = resources[name].pop("show")
        told = cloud.recorder.last("GET", shown["id"])[noun]
        wrong += [f"{name}: {words}" for words in differences(shown, told) + differences(resources[name], told)]
        wrong += shapes.faults(noun, Stage.ACTIVE, told)
        resources[name]["show"] = shown
    assert not wrong, "\n".join(wrong)
