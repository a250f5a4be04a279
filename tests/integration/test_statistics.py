"""Statistics are what clients sent and got, to the byte, and never fall: over changes, reloads, restarts and failovers."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amphora_agent import system
from controller.dev.client import eventually
from tests.integration.site import Site, agent_pids, haproxy_workers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]
_PORTS = (9000, 9001)  # of the listeners, and of their members
_GROWING = ("bytes_in", "bytes_out", "total_connections", "request_errors")


class Connection:
    """A client's, through one listener; what it sends comes back."""

    def __init__(self, bed: Bed, port: int) -> None:
        self._socket = system.inside_namespace(bed.client, lambda: socket.create_connection((bed.vip, port), 30))
        self._socket.sendall(b"?")
        letter = self._socket.recv(1)  # a member has it now
        assert letter, "the connection was cut"
        pool = bed.pool_ports[port]
        self._ledgers = [bed.ledger[port], bed.of_pool[pool], bed.of_member[bed.members[pool, letter.decode()]]]
        self._write(1, connections=1)

    def say(self, count: int) -> None:
        self._socket.sendall(content := secrets.token_bytes(count))
        heard = b""
        while len(heard) < count:
            part = self._socket.recv(65536)
            assert part, "the connection was cut"
            heard += part
        assert heard == content
        self._write(count)

    def _write(self, count: int, connections: int = 0) -> None:
        for ledger in self._ledgers:
            ledger["bytes_in"] += count
            ledger["bytes_out"] += count
            ledger["total_connections"] += connections

    def close(self) -> None:
        self._socket.close()


class Bed:
    """A load balancer with two listeners of TCP, of which each has a pool of two members, and what clients did to it."""

    def __init__(self, site: Site, flavor_id: str) -> None:
        self.site = site
        self.client = site.machine.settings.namespace("client")
        listeners = []
        for port in _PORTS:
            members = [{"name": name, "address": site.web[name], "protocol_port": port} for name in ("web-1", "web-2")]
            pool = {"name": f"echo-{port}", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": members}
            listeners.append({"name": f"echo-{port}", "protocol": "TCP", "protocol_port": port, "default_pool": pool})
        body = {"name": "counted", "vip_subnet_id": site.subnet_id, "flavor_id": flavor_id, "listeners": listeners}
        made = site.api.post("/loadbalancers", {"loadbalancer": body})["loadbalancer"]
        self.id, self.vip = made["id"], made["vip_address"]
        self.listeners = {one["protocol_port"]: one["id"] for one in made["listeners"]}
        self.pools = {int(one["name"].rpartition("-")[2]): one["id"] for one in made["pools"]}
        self.ledger = {port: dict.fromkeys(_GROWING, 0) for port in _PORTS}
        self.pool_ports = {port: port for port in _PORTS}  # by those of listeners
        self.of_pool = {port: dict.fromkeys(_GROWING, 0) for port in _PORTS}
        self.of_member: dict[str, dict[str, int]] = {}  # by id
        self.members: dict[tuple[int, str], str] = {}  # by port of the pool, and last letter of the name
        self.deleted: list[dict[str, int]] = []  # the same of listeners that are
        self.left_open: list[Connection] = []
        site.api.wait_active(self.id)
        for port, pool in self.pools.items():
            for one in site.api.get(f"/pools/{pool}/members")["members"]:
                self.has_member(port, one)
        eventually(self.answers, 60, "nobody answers")

    def has_member(self, port: int, member: dict[str, Any]) -> None:
        self.members[port, member["name"][-1]] = member["id"]
        self.of_member[member["id"]] = dict.fromkeys(_GROWING, 0)

    def answers(self) -> bool:
        """Whether a connection is served; it counts."""
        try:
            for port in _PORTS:
                Connection(self, port).close()
        except (OSError, AssertionError):
            return False
        return True

    def stats(self, path: str) -> dict[str, int]:
        found: dict[str, int] = self.site.api.get(f"{path}/stats")["stats"]
        return {name: found[name] for name in _GROWING}

    def seen(self) -> dict[int, dict[str, int]]:
        return {port: self.stats(f"/listeners/{key}") for port, key in self.listeners.items()}

    def seen_of_pools(self) -> dict[str, dict[str, int]]:
        """By the ids of pools and members."""
        of_members = {
            member: self.stats(f"/pools/{self.pools[port]}/members/{member}")
            for (port, _), member in self.members.items()
            if member in self.of_member
        }
        return {pool: self.stats(f"/pools/{pool}") for pool in self.pools.values()} | of_members

    @property
    def done_to_pools(self) -> dict[str, dict[str, int]]:
        return {self.pools[port]: ledger for port, ledger in self.of_pool.items()} | self.of_member

    def use(self, count: int = 5) -> None:
        for port in _PORTS:
            for _ in range(count):
                connection = Connection(self, port)
                connection.say(1 + secrets.randbelow(50_000))
                connection.close()

    def agree(self) -> None:
        """Wait until all views tell what clients did, and see that they go on telling it."""
        eventually(lambda: self.seen() == self.ledger, 60, lambda: f"{self.seen()} is told, {self.ledger} was done")
        eventually(lambda: self.seen_of_pools() == self.done_to_pools, 60, lambda: f"{self.seen_of_pools()}, {self.done_to_pools} was done")
        time.sleep(1.5)
        assert self.seen() == self.ledger
        assert self.seen_of_pools() == self.done_to_pools
        of_all = {name: sum(one[name] for one in (*self.ledger.values(), *self.deleted)) for name in _GROWING}
        assert self.stats(f"/loadbalancers/{self.id}") == of_all

    def amphorae(self) -> list[dict[str, Any]]:
        return [one for one in self.site.machine.status()["amphorae"] if one["load_balancer_id"] == self.id]

    def reload(self) -> None:
        """A change that takes a new worker."""
        before = [haproxy_workers(one) for one in self.amphorae()]
        timeout = 50_000 + secrets.randbelow(10_000)
        self.site.api.put(f"/listeners/{self.listeners[_PORTS[0]]}", {"listener": {"timeout_client_data": timeout}})
        self.site.api.wait_active(self.id)
        assert all(now - then for now, then in zip([haproxy_workers(one) for one in self.amphorae()], before, strict=True))

    @contextlib.contextmanager
    def never_falling(self) -> Iterator[None]:
        """All views are looked at all the time."""
        paths = [f"/loadbalancers/{self.id}", *(f"/listeners/{key}" for key in self.listeners.values())]
        paths += [f"/pools/{pool}" for pool in self.pools.values()]
        paths += [f"/pools/{self.pools[port]}/members/{self.members[port, '2']}" for port in _PORTS]  # nobody deletes these
        fallen: list[tuple[str, dict[str, int], dict[str, int]]] = []
        ended = threading.Event()

        def watch() -> None:
            before = {path: self.stats(path) for path in paths}
            while not ended.wait(0.2):
                for path in paths:
                    now = self.stats(path)
                    if any(now[name] < before[path][name] for name in _GROWING):
                        fallen.append((path, before[path], now))
                    before[path] = now

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert fallen == []


@pytest.fixture(scope="module", params=["SINGLE", "ACTIVE_STANDBY"])
def bed(site: Site, request: pytest.FixtureRequest) -> Iterator[Bed]:
    with contextlib.ExitStack() as ends:
        for name in ("web-1", "web-2"):
            for port in _PORTS:
                program = [sys.executable, "-m", "tests.integration.echoing", site.web[name], str(port), name[-1]]
                running = subprocess.Popen([*site.machine.entrance(name), *program], stdout=subprocess.PIPE)
                ends.callback(running.wait)
                ends.callback(running.kill)
                assert running.stdout is not None
                assert running.stdout.readline() == b"ready\n"
        profile = {"name": request.param, "provider_name": "amphora", "flavor_data": f'{{"loadbalancer_topology": "{request.param}"}}'}
        profile_id = site.api.post("/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]["id"]
        flavor = site.api.post("/flavors", {"flavor": {"name": request.param, "flavor_profile_id": profile_id}})["flavor"]
        made = Bed(site, flavor["id"])
        with made.never_falling():
            yield made
        site.api.delete(f"/loadbalancers/{made.id}?cascade=true")
        site.api.wait_gone(f"/loadbalancers/{made.id}")


def test_what_clients_did_is_told(bed: Bed) -> None:
    bed.use()
    bed.agree()


def test_changes_of_members_take_nothing_away(bed: Bed) -> None:
    first = Connection(bed, _PORTS[0])
    path = f"/pools/{bed.pools[_PORTS[0]]}/members"
    member = next(one for one in bed.site.api.get(path)["members"] if one["name"] == "web-1")
    bed.site.api.put(f"{path}/{member['id']}", {"member": {"weight": 7}})
    bed.use()
    bed.site.api.delete(f"{path}/{member['id']}")
    bed.of_member.pop(member["id"])
    bed.site.api.wait_active(bed.id)
    first.say(3000)
    bed.use()
    again = {"name": "web-1", "address": bed.site.web["web-1"], "protocol_port": _PORTS[0]}
    bed.has_member(_PORTS[0], bed.site.api.post(path, {"member": again})["member"])
    bed.site.api.wait_active(bed.id)
    first.say(3000)
    first.close()
    bed.use()
    bed.agree()


def test_a_member_that_was_switched_off_goes_on_from_where_it_was(bed: Bed) -> None:
    """HAProxy has a new server of its name then, which begins at zero."""
    path = f"/pools/{bed.pools[_PORTS[0]]}/members/{bed.members[_PORTS[0], '2']}"
    bed.use()
    for state in (False, True):
        bed.site.api.put(path, {"member": {"admin_state_up": state}})
        bed.site.api.wait_active(bed.id)
        bed.use(8)
    bed.agree()


def test_connections_that_outlive_a_reload_are_told_to_be_open(bed: Bed) -> None:
    paths = [f"/listeners/{bed.listeners[_PORTS[0]]}", f"/pools/{bed.pools[_PORTS[0]]}", f"/loadbalancers/{bed.id}"]

    def are_open(count: int) -> bool:
        return all(bed.site.api.get(f"{path}/stats")["stats"]["active_connections"] == count for path in paths)

    bed.agree()
    eventually(lambda: are_open(0), 60)
    held = []
    for _ in range(2):
        held += [Connection(bed, _PORTS[0]) for _ in range(2)]
        bed.reload()
    bed.agree()
    eventually(lambda: are_open(4), 60, "connections of before reloads are forgotten")
    time.sleep(3)
    assert are_open(4)
    for one in held:
        one.close()
    eventually(lambda: are_open(0), 60, "connections that have ended are told to be open")
    bed.agree()


def test_what_former_workers_finish_is_counted(bed: Bed) -> None:
    held = []
    for count in (1000, 2000, 3000):
        held.append(Connection(bed, _PORTS[0]))
        held[-1].say(count)
        bed.reload()
        bed.use(1)
    for connection in held:  # of each the last connection of its worker
        connection.say(40_000)
        connection.close()
    bed.agree()
    eventually(lambda: all(len(haproxy_workers(one)) == 2 for one in bed.amphorae()), 60, "a former worker does not end")
    bed.agree()


def test_a_listener_that_was_switched_off_goes_on_from_where_it_was(bed: Bed) -> None:
    bed.use()
    bed.agree()
    path = f"/listeners/{bed.listeners[_PORTS[1]]}"
    for state in (False, True):
        bed.site.api.put(path, {"listener": {"admin_state_up": state}})
        bed.site.api.wait_active(bed.id)
    bed.use()
    bed.agree()


def test_a_listener_that_is_deleted_takes_nothing_from_its_load_balancer(bed: Bed) -> None:
    for port in (9002, 9003):
        own = {"protocol": "TCP", "protocol_port": port, "loadbalancer_id": bed.id, "default_pool_id": bed.pools[_PORTS[0]]}
        bed.listeners[port] = bed.site.api.post("/listeners", {"listener": own})["listener"]["id"]
        bed.site.api.wait_active(bed.id)
        bed.ledger[port], bed.pool_ports[port] = dict.fromkeys(_GROWING, 0), _PORTS[0]
        connection = Connection(bed, port)
        connection.say(20_000)
        connection.close()
        bed.use()
        bed.agree()
        bed.site.api.delete(f"/listeners/{bed.listeners.pop(port)}")
        bed.deleted.append(bed.ledger.pop(port))
        bed.site.api.wait_active(bed.id)
        bed.use()
        bed.agree()


def test_a_haproxy_that_dies_takes_with_it_nothing_that_was_told(bed: Bed) -> None:
    """Nor what a connection has carried that goes on at that moment."""
    held = Connection(bed, _PORTS[1])
    held.say(30_000)
    bed.use()
    bed.agree()
    bed.site.kill(pid for one in bed.amphorae() for pid in haproxy_workers(one))
    held.close()
    eventually(bed.answers, 60, "nobody answers")
    bed.use()
    bed.agree()


def test_an_agent_that_dies_takes_nothing_with_it(bed: Bed) -> None:
    held = Connection(bed, _PORTS[0])
    bed.use()
    bed.site.kill(pid for one in bed.amphorae() for pid in agent_pids(one))
    held.say(5000)
    bed.use()
    held.close()
    bed.agree()
    bed.reload()
    bed.use()
    bed.agree()


def test_an_agent_that_comes_after_a_reload_counts_what_former_workers_finish(bed: Bed) -> None:
    held = [Connection(bed, _PORTS[1]) for _ in range(2)]
    bed.reload()
    before = {pid for one in bed.amphorae() for pid in agent_pids(one)}
    bed.site.kill(before)
    eventually(lambda: all(set(agent_pids(one)) - before for one in bed.amphorae()), 60)
    bed.reload()  # another agent answers, and has looked at what there is
    held[0].say(7000)
    held[0].close()
    bed.agree()
    bed.left_open.append(held[1])  # of the last bytes of the last connection of such a worker nobody hears


def test_a_failover_takes_nothing_away(bed: Bed) -> None:
    bed.use()
    bed.agree()
    before = {one["id"] for one in bed.amphorae()}
    bed.site.api.put(f"/loadbalancers/{bed.id}/failover")
    bed.site.api.wait_active(bed.id, 120)
    assert not before & {one["id"] for one in bed.amphorae()}
    eventually(bed.answers, 60, "nobody answers")
    bed.use()
    bed.agree()


def test_amphorae_that_die_take_with_them_nothing_that_was_told(bed: Bed) -> None:
    bed.use()
    bed.agree()
    victims = {one["id"] for one in bed.amphorae()}
    for victim in victims:
        bed.site.kill(next(one for one in bed.amphorae() if one["id"] == victim)["pids"])
        eventually(lambda victim=victim: victim not in {one["id"] for one in bed.amphorae()}, 60)  # type: ignore[misc]
        bed.site.api.wait_active(bed.id, 120)
    eventually(bed.answers, 60, "nobody answers")
    bed.use()
    bed.agree()


def test_requests_are_counted_on_the_members_that_answered_them(site: Site) -> None:
    """Of HTTP, over a reload: on each member its requests, on the pool those of both listeners, and bytes as on the listeners."""
    balancer = site.balancer(name="counted-http")
    second = {
        "name": "second",
        "protocol": "HTTP",
        "protocol_port": 81,
        "loadbalancer_id": balancer.id,
        "default_pool_id": balancer.pool_id,
    }
    listeners = [balancer.listener_id, site.api.post("/listeners", {"listener": second})["listener"]["id"]]
    balancer.wait_active()
    heard = {"web-1": 0, "web-2": 0}

    def stats(path: str) -> dict[str, int]:
        found: dict[str, int] = site.api.get(f"{path}/stats")["stats"]
        return {name: found[name] for name in _GROWING}

    def seen() -> dict[str, dict[str, int]]:
        return {name: stats(f"{balancer.members_path}/{one['id']}") for name, one in balancer.members().items()}

    def use(count: int) -> None:
        for number in range(count):
            heard[site.fetch(balancer.vip, 80 + number % 2).strip()] += 1

    before = _settled(seen)
    use(20)
    site.api.put(f"/listeners/{listeners[0]}", {"listener": {"timeout_client_data": 51_000}})
    balancer.wait_active()
    use(21)
    assert all(heard.values())

    def since() -> dict[str, int]:
        return {name: one["total_connections"] - before[name]["total_connections"] for name, one in seen().items()}

    def carried() -> list[tuple[int, int]]:
        """Bytes on both members, on the pool, and on both listeners."""
        of_listeners = [stats(f"/listeners/{one}") for one in listeners]
        views = (seen().values(), [stats(f"/pools/{balancer.pool_id}")], of_listeners)
        return [(sum(one["bytes_in"] for one in view), sum(one["bytes_out"] for one in view)) for view in views]

    eventually(lambda: since() == heard, 60, lambda: f"{since()} is told, {heard} was done")
    eventually(lambda: len(set(carried())) == 1, 60, lambda: str(carried()))
    balancer.delete()


def _settled(look: Callable[[], Any]) -> Any:
    """What is told when nothing is on its way any more."""
    found = look()
    for _ in range(100):
        time.sleep(3.0)
        if (again := look()) == found:
            return found
        found = again
    raise AssertionError("it changes all the time")
