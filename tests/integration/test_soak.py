"""A minute of random writes while random processes die, sleep or lose their doorbells; then all is as the API says, and nothing is left.

Two of each process are at work. `FIGLINA_SOAK_SECONDS`, `FIGLINA_SOAK_SEED` and `FIGLINA_SOAK_TOPOLOGY` lengthen, repeat and vary it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import pathlib
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from controller.dev import client, processes
from controller.dev.client import eventually
from controller.dev.instance import MODULES
from tests.integration.killing import Killer
from tests.integration.site import Site, agent_pids

OPTIONS = {"health_manager.controller_ip_port_list": "198.19.0.2:5555,198.19.0.2:5556"}
SECONDS = float(os.environ.get("FIGLINA_SOAK_SECONDS", "70"))
TOPOLOGY = os.environ.get("FIGLINA_SOAK_TOPOLOGY", "SINGLE")
SEED = int(os.environ.get("FIGLINA_SOAK_SEED", "20"))
CALM = 90.0
MOST = 3

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(SECONDS + 4 * CALM)]

_UNCERTAIN = (OSError, http.client.HTTPException)
"""What a request ends with whose answer got lost: it was carried out, or it was not."""

_LOCKS = {
    "sqlite": (("PRAGMA busy_timeout = 30000", "BEGIN IMMEDIATE"), "ROLLBACK"),
    "postgresql": (("BEGIN", "LOCK TABLE jobs, load_balancers"), "ROLLBACK"),
    "mysql": (("LOCK TABLES jobs WRITE, load_balancers WRITE",), "UNLOCK TABLES"),
}
"""Statements, by SQLAlchemy's name of the database, that let nobody write for a while; and the one that ends it."""


@dataclasses.dataclass
class Kept:
    """A load balancer as the API has promised it. `doubtful` once an answer about its members was lost."""

    id: str
    vip: str
    pool_id: str
    members: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)  # id -> web server, weight
    going: bool = False
    doubtful: bool = False


class Writer:
    """Writes at random, and remembers what was promised."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._api = site.api
        self._chance = chance
        self._ports = iter(range(8000, 60000))
        self.kept: dict[str, Kept] = {}
        self.accepted = 0
        self.unexpected: list[str] = []

    def write(self) -> None:
        """One request."""
        living = [one for one in self.kept.values() if not one.going]
        if not living or (len(living) < MOST and self._chance.random() < 0.1):
            self._try(self._create, None)
            return
        one = self._chance.choice(living)
        kinds: list[tuple[Callable[[Kept], None], int]] = [
            (self._add_member, 30),
            (self._weigh_member, 30),
            (self._remove_member, 15),
            (self._add_listener, 8),
            (self._fail_over, 3),
            (self._delete, 2),
        ]
        act = self._chance.choices([kind for kind, _ in kinds], [share for _, share in kinds])[0]
        self._try(lambda: act(one), one)

    def _try(self, act: Callable[[], None], one: Kept | None) -> None:
        try:
            act()
            self.accepted += 1
        except client.ApiError as exc:
            # A failover under way or the like may refuse; a server's error may not happen, but 503 is honest of a busy database.
            if exc.status >= 500 and exc.status != 503:
                self.unexpected.append(str(exc))
        except _UNCERTAIN:
            if one is not None:
                one.doubtful = True
            time.sleep(0.2)

    def _create(self) -> None:
        listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}}
        listener["default_pool"]["name"] = "p"  # type: ignore[index]
        body = {"vip_subnet_id": self._site.subnet_id, "listeners": [listener]}
        made = self._api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        self.kept[made["id"]] = Kept(made["id"], made["vip_address"], made["pools"][0]["id"])

    def _add_member(self, one: Kept) -> None:
        if len(one.members) < 4 and (web := sorted(set(self._site.web) - {name for name, _ in one.members.values()})):
            name = self._chance.choice(web)
            body = {"name": name, "address": self._site.web[name], "protocol_port": 80, "weight": 1}
            made = self._api.post(f"/pools/{one.pool_id}/members", {"member": body})["member"]
            one.members[made["id"]] = (name, 1)

    def _weigh_member(self, one: Kept) -> None:
        if one.members:
            member_id = self._chance.choice(sorted(one.members))
            weight = self._chance.choice([0, 1, 10])
            self._api.put(f"/pools/{one.pool_id}/members/{member_id}", {"member": {"weight": weight}})
            one.members[member_id] = (one.members[member_id][0], weight)

    def _remove_member(self, one: Kept) -> None:
        if one.members:
            member_id = self._chance.choice(sorted(one.members))
            self._api.delete(f"/pools/{one.pool_id}/members/{member_id}")
            del one.members[member_id]

    def _add_listener(self, one: Kept) -> None:
        body = {"loadbalancer_id": one.id, "protocol": "HTTP", "protocol_port": next(self._ports), "default_pool_id": one.pool_id}
        self._api.post("/listeners", {"listener": body})

    def _fail_over(self, one: Kept) -> None:
        self._api.put(f"/loadbalancers/{one.id}/failover")

    def _delete(self, one: Kept) -> None:
        one.going = True  # whether the answer comes or not
        self._api.delete(f"/loadbalancers/{one.id}?cascade=true")


class Trouble:
    """Everything that may befall a site."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        self._machine = site.machine
        self._second = site.folder / "second.conf"
        self._second.write_text("[health_manager]\nbind_port = 5556\n")
        self._sleeping: list[int] = []
        self.done: list[str] = []

    def strike(self) -> None:
        """One blow."""
        kinds: list[tuple[Callable[[], str], int]] = [
            (self._kill_process, 10),
            (self._stop_worker, 3),
            (self._kill_amphora, 3),
            (self._kill_agent, 3),
            (self._freeze_amphora, 2),
            (self._clear_bells, 1),
            (self._lock_database, 1),
        ]
        self.done.append(self._chance.choices([kind for kind, _ in kinds], [share for _, share in kinds])[0]())

    def mend(self) -> None:
        """Have two of each process at work."""
        for pid in self._sleeping:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._sleeping.clear()
        for name in MODULES:
            self._machine.start(name)
            if name != "api":
                files = [str(self._site.folder / "figlina.conf"), str(self._second)]
                options = [word for file in files for word in ("--config-file", file)]
                command = processes.python(MODULES[name], *options)
                self._machine.processes.start(f"{name}-2", command, self._machine.settings.namespace("controller"))

    def _kill_process(self) -> str:
        name = self._chance.choice(
            ["api", "worker", "worker-2", "worker", "worker-2", "health_manager", "health_manager-2", "housekeeping"]
        )
        self._site.kill(self._machine.processes.pids(name))
        if self._chance.random() < 0.7:
            time.sleep(self._chance.random())
            self.mend()
        return f"kill {name}"

    def _stop_worker(self) -> str:
        """For longer than its lease: another one takes over, and when it wakes up it is a stranger."""
        for pid in self._machine.processes.pids(name := self._chance.choice(["worker", "worker-2"])):
            os.kill(pid, signal.SIGSTOP)
            self._sleeping.append(pid)
        time.sleep(self._chance.choice([2.0, 13.0]))
        self.mend()
        return f"stop {name}"

    def _kill_amphora(self) -> str:
        return self._kill_in_amphora("amphora", lambda amphora: amphora["pids"])

    def _kill_agent(self) -> str:
        return self._kill_in_amphora("agent", agent_pids)

    def _freeze_amphora(self) -> str:
        """It accepts connections and never answers again."""
        return self._kill_in_amphora("amphora", lambda amphora: amphora["pids"], signal.SIGSTOP)

    def _kill_in_amphora(self, what: str, victims: Callable[[dict[str, Any]], list[int]], how: signal.Signals = signal.SIGKILL) -> str:
        amphorae = self._machine.status()["amphorae"]
        for pid in victims(self._chance.choice(amphorae)) if amphorae else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        return f"{how.name} {what}"

    def _clear_bells(self) -> str:
        shutil.rmtree(self._site.folder / "wakeup", ignore_errors=True)
        return "clear bells"

    def _lock_database(self) -> str:
        engine = sa.create_engine(self._machine.database_url, isolation_level="AUTOCOMMIT")
        lock, unlock = _LOCKS[engine.dialect.name]
        try:
            with engine.connect() as connection:
                for statement in lock:
                    connection.exec_driver_sql(statement)
                time.sleep(4)
                connection.exec_driver_sql(unlock)
        finally:
            engine.dispose()
        return "lock database"


@pytest.fixture
def trouble(site: Site) -> Iterator[Trouble]:
    made = Trouble(site, random.Random(SEED))
    made.mend()
    yield made
    made.mend()


def _write_until(over: threading.Event, writer: Writer, chance: random.Random) -> None:
    while not over.wait(chance.random() * 0.3):
        writer.write()


def _at_rest(site: Site) -> list[str]:
    """What is not at rest yet, in words."""
    found = [
        f"load balancer {one['id']} is {one['provisioning_status']}: {one.get('fault')}"
        for one in site.api.get("/loadbalancers")["loadbalancers"]
        if one["provisioning_status"] != "ACTIVE"
    ]
    return found + Killer(site).unexplained()


def _broken_promises(site: Site, kept: Kept) -> list[str]:
    members = site.api.get(f"/pools/{kept.pool_id}/members")["members"]
    shown = {one["id"]: (one["name"], one["weight"]) for one in members}
    found = [f"member {one['id']} is {one['provisioning_status']}" for one in members if one["provisioning_status"] != "ACTIVE"]
    if not kept.doubtful and shown != kept.members:
        found.append(f"promised {kept.members}, and the API shows {shown}")
    return found


def _wrong_traffic(site: Site, vip: str, members: list[dict[str, Any]]) -> str:
    wanted = {one["name"] for one in members if one["weight"] > 0}
    answers = {site.fetch(vip) for _ in range(24 if wanted else 2)}
    expected = wanted or {answer for answer in answers if not answer.startswith("web-")}
    return "" if answers == expected else f"{vip}: {sorted(answers)} answer, not {sorted(wanted)}"


def test_a_minute_of_random_trouble_leaves_everything_as_the_api_says(site: Site, trouble: Trouble) -> None:
    writer = Writer(site, random.Random(SEED + 1))
    over = threading.Event()
    writing = threading.Thread(target=_write_until, args=(over, writer, random.Random(SEED + 2)))
    writing.start()
    chance, end = random.Random(SEED + 3), time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            time.sleep(1 + 3 * chance.random())
            trouble.strike()
            trouble.mend()
    finally:
        over.set()
        writing.join()
    print(f"{writer.accepted} writes accepted; {trouble.done}")
    assert writer.accepted > 20
    assert writer.unexpected == []
    calm = eventually(lambda: not _at_rest(site), CALM, lambda: "\n".join(_at_rest(site)))
    print(f"at rest after {calm:.1f} s")
    here = {one["id"]: one for one in site.api.get("/loadbalancers")["loadbalancers"]}
    for kept in writer.kept.values():
        if kept.id not in here:
            assert kept.going, f"load balancer {kept.id} is gone, though nobody deleted it"
            continue
        assert _broken_promises(site, kept) == []
        members = site.api.get(f"/pools/{kept.pool_id}/members")["members"]
        eventually(lambda: not _wrong_traffic(site, kept.vip, members), 60, lambda: _wrong_traffic(site, kept.vip, members))  # noqa: B023
    for load_balancer_id in here:
        with contextlib.suppress(client.ApiError):
            site.api.delete(f"/loadbalancers/{load_balancer_id}?cascade=true")
    for load_balancer_id in here:
        site.api.wait_gone(f"/loadbalancers/{load_balancer_id}", CALM)
    eventually(lambda: Killer(site).unexplained() == [], CALM, lambda: "\n".join(Killer(site).unexplained()))
    # Nothing was interrupted by a mistake of ours.
    for name in ("worker", "worker-2"):
        assert "failed outside its flow" not in site.log(name), site.log(name)[-4000:]


def test_the_second_configuration_is_read(site: Site, trouble: Trouble) -> None:
    del trouble
    listening = pathlib.Path("/proc") / str(site.machine.processes.pids("health_manager-2")[0]) / "net" / "udp"
    eventually(lambda: all(listening.read_text().count(f":{port:04X} ") == 1 for port in (5555, 5556)), 60, listening.read_text)
