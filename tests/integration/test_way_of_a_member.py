"""The way of a new member, from the URL that names its pool to the command by which HAProxy takes it: real code, in one process."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import sqlalchemy as sa

from amphora_agent import configuration, identity, load_balancer, orders, system
from amphora_agent.api import app
from amphora_agent.protocol import rest
from controller.db import tables
from controller.drivers.amphora import rest as rest_driver
from controller.drivers.ca import fake as fake_ca
from controller.model.status import ProvisioningStatus
from tests.contract import agent_stand_in
from tests.functional import flow_site
from tests.functional.api.worked_site import Worked
from tests.functional.test_agent_takes_anything import BOOTED, Nics
from tests.functional.test_conductor_real_flows import eventually, working
from tests.integration import agent_amphora

pytestmark = pytest.mark.integration

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
ADDRESS = "198.51.100.77"
MOST = 16

BORDERS = {
    "the row is written": ("call", "controller/db/repositories/resources", "add"),
    "the rows are read": ("return", "controller/db/repositories/snapshots", "advance"),
    "the text is made": ("return", "controller/render/haproxy", "config"),
    "the state is sent": ("call", "controller/drivers/amphora/rest", "_ask_once"),
    "HAProxy is told": ("call", "amphora_agent/haproxy_runtime", "ask"),
}
"""Where the member goes on to something else than the next function: an event, a module and a function that has its address in hand."""


class Stations:
    """The modules that stand between: those on the stack, from the first of ours that is called, whenever the member crosses a border."""

    def __init__(self) -> None:
        self.on = False
        self.passed: dict[str, list[str]] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """Look at one call or return; set as a profiler."""
        if self.on and (name := _module(frame)) is not None:
            for border, place in BORDERS.items():
                if place == (event, name, frame.f_code.co_name) and _holds([result, *frame.f_locals.values()], 6):
                    self.passed.setdefault(border, list(dict.fromkeys(_stack(frame))))

    @property
    def all(self) -> list[str]:
        """Each once, in their order, from the route on: what stands before every URL hands the request on unread."""
        found = dict.fromkeys(name for border in BORDERS for name in self.passed[border])
        return [name for name in found if name != "controller/api/gate"]


def _module(frame: FrameType) -> str | None:
    path = frame.f_code.co_filename
    found = re.fullmatch(rf"{re.escape(str(ROOT))}/((?:controller|amphora_agent)/.*)\.py", path)
    return None if found is None else found[1].removesuffix("/__init__")


def _stack(frame: FrameType) -> list[str]:
    outer = [] if frame.f_back is None else _stack(frame.f_back)
    name = _module(frame)
    return outer if name is None else [*outer, name]


def _holds(value: Any, depth: int) -> bool:
    """Whether the member's address is in it."""
    if isinstance(value, (str, bytes)):
        return ADDRESS in (value if isinstance(value, str) else value.decode(errors="replace"))
    if depth == 0 or value is None:
        return False
    if isinstance(value, dict):
        return any(_holds(one, depth - 1) for one in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_holds(one, depth - 1) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(_holds(getattr(value, field.name, None), depth - 1) for field in dataclasses.fields(value))
    return False


class Agent(agent_stand_in.AgentStandIn):
    """A TLS server with the real agent's application behind it."""

    client: Any

    def answer(self, method: str, path: str, body: bytes, token: int | None = None) -> tuple[int, bytes]:
        """As the agent does."""
        headers = {} if token is None else {rest.LEASE_HEADER: str(token)}
        answer = self.client.open(path, method=method, data=body, headers=headers)
        return answer.status_code, answer.data


@pytest.fixture
def stations() -> Iterator[Stations]:
    """A profiler of this thread, and of all that begin from now on."""
    made = Stations()
    threading.setprofile(made)
    sys.setprofile(made)
    yield made
    sys.setprofile(None)
    threading.setprofile(None)


@pytest.fixture
def machine(stations: Stations) -> Iterator[tuple[Any, load_balancer.LoadBalancer, str]]:
    """An agent with a real HAProxy in a network namespace: a client of its application, what it serves, and the namespace."""
    namespace = f"figlina-t-{uuid.uuid4().hex[:8]}"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="figlina-t-"))
    folder.chmod(0o755)  # HAProxy's user runs its checks from there
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        system.run(["ip", "netns", "add", namespace])
        stack.callback(system.run, ["ip", "netns", "delete", namespace])
        system.run(["ip", "-n", namespace, "link", "set", "lo", "up"])
        booted = dataclasses.replace(BOOTED, haproxy_command="haproxy")
        balancer = load_balancer.LoadBalancer(booted, folder / "state", folder / "run", Nics(namespace))
        stack.callback(balancer.roster.haproxy.stop)
        certificates = folder / "certificates"
        certificates.mkdir()
        authority = agent_amphora.Authority("anybody")
        (certificates / "server.pem").write_bytes(authority.issue("agent"))
        (certificates / "client_roots.pem").write_bytes(authority.root)
        own = identity.Identity(certificates, folder / "state", folder / "run")
        kept = configuration.Kept(booted, folder / "state")
        made = app.create_app(booted, kept, own, balancer, 0.0, orders.Orders(folder / "state"))
        yield made.test_client(), balancer, namespace


@pytest.fixture
def served(stations: Stations, machine: tuple[Any, Any, str], tmp_path: pathlib.Path) -> Iterator[tuple[Worked, str]]:
    """An API and a worker; a load balancer of theirs is served by the agent, over TLS. Gives the API and the id of its pool."""
    client, _, namespace = machine
    site = flow_site.Site()
    with contextlib.ExitStack() as stack:
        stack.callback(site.close)
        api = Worked(site)
        made = api.load_balancer()
        api.work()  # by a fake
        with site.db.read() as tx:
            (amphora,) = tx.amphorae.of_load_balancer(made["id"])
        authority = fake_ca.FakeCertificateAuthority()
        agent = Agent(authority, dataclasses.replace(amphora, management_address="127.0.0.1"), site.amphora, tmp_path)
        agent.client = client
        agent.start()
        stack.callback(agent.stop)
        here = tables.amphorae.c.id == amphora.id
        api.write(sa.update(tables.amphorae).where(here).values(management_address="127.0.0.1"))
        site.services.made["amphora"] = rest_driver.RestAmphora(authority, port=agent.port)
        system.run(["ip", "-n", namespace, "address", "add", f"{made['vip_address']}/32", "dev", "lo"])
        pool = api.pool(listener_id=api.listener(made["id"])["id"])["id"]
        api.member(pool, "198.51.100.1")
        api.work()
        yield api, pool


def test_a_member_passes_few_modules_on_its_way_and_the_page_lists_them(
    stations: Stations, machine: tuple[Any, Any, str], served: tuple[Worked, str], tmp_path: pathlib.Path
) -> None:
    api, pool = served
    worker = machine[1].roster.haproxy.runtime.worker()
    with working(api.site, tmp_path):
        stations.on = True
        made = api.member(pool, ADDRESS)["id"]
        path = f"/pools/{pool}/members/{made}"
        eventually(lambda: api.get("member", path)["provisioning_status"] == ProvisioningStatus.ACTIVE)
        stations.on = False
    assert machine[1].roster.haproxy.runtime.worker() == worker, "HAProxy took it without a reload"
    assert set(stations.passed) == set(BORDERS)
    assert len(stations.all) <= MOST, stations.all
    listed = re.findall(
        r"^\d+\. `([^`]+)\.py`", PAGE.read_text().partition("### The way of a member")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert [name.removesuffix("/__init__") for name in listed] == stations.all
