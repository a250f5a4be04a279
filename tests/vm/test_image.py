"""The image, in QEMU: it boots from every firmware, is configured by its drive, serves, survives a reboot, and obeys the power button."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from amphora_agent import privileges, system
from amphora_agent.protocol import rest
from tests import builders
from tests.integration.agent_amphora import AGENT, config, eventually
from tests.integration.test_agent_life import PAIR
from tests.unit.amphora_agent.test_metrics import samples
from tests.vm import machine as vm
from tests.vm.secured import METRICS_PORT, NAMES, Secured, der

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]
FIGLINA = 990
SYSCTLS = pathlib.Path(__file__).parents[2] / "images/root/etc/sysctl.d/amphora.conf"
GUEST_SCRIPTS = pathlib.Path(__file__).with_name("guest")
SECOND_MAC, SECOND, SECOND_OUTSIDE = "02:f1:00:00:00:03", "198.19.252.2/24", "198.19.252.1/24"


@pytest.fixture(scope="module")
def machine(image_folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vm.Machine]:
    with vm.running(tmp_path_factory.mktemp("vm"), image_folder, vm.Hardware(ssh=True, besides=True)) as made:
        yield made


def test_it_serves_in_256_mib_and_beats(machine: vm.Machine) -> None:
    beats = machine.beats()
    server = machine.web(8001)
    assert machine.apply(1, config(f"m1 {server} weight 1")) in ("reload", "restart", "start")
    assert eventually(lambda: machine.fetch(), within=120) == "8001"
    report = beats.report(lambda found: bool(found.get("listeners")), within=60)
    assert report["listeners"]
    status, about = machine.call("GET", rest.INFO_PATH)
    assert status == 200
    assert b"haproxy" in about.lower()


def test_each_program_is_a_user_of_its_own_with_few_rights(machine: vm.Machine) -> None:
    """What the kernel says of them: only the watchers of a few lines, which are busybox's, are root's."""
    agent, haproxy = machine.rights("python3"), machine.rights("haproxy")
    assert [(one.user, one.capabilities, one.no_new_privileges) for one in agent] == [(FIGLINA, frozenset(privileges.KEPT.values()), True)]
    assert len(haproxy) >= 2
    assert {one.user for one in haproxy} == {agent_user(machine, "haproxy")}
    assert {one.capabilities for one in haproxy} == {frozenset({privileges.KEPT["net_bind_service"]})}
    assert all(one.no_new_privileges for one in haproxy)
    assert machine.ssh("for pid in $(busybox pidof haproxy); do readlink /proc/$pid/ns/net; done | sort -u | wc -l").strip() == "1"
    roots = machine.ssh("busybox ps -o user,comm | busybox awk '$1 == \"root\" {print $2}' | sort -u").split()
    assert {"haproxy", "keepalived", "python3"}.isdisjoint(roots), roots


def agent_user(machine: vm.Machine, name: str) -> int:
    return int(machine.ssh(f"busybox id -u {name}"))


def test_what_haproxy_is_may_not_read_what_the_agent_knows(machine: vm.Machine) -> None:
    look = "setpriv --reuid=haproxy --regid=haproxy --clear-groups cat"
    for path in ("/etc/figlina/agent.json", "/etc/figlina/certs/server.pem", "/root/.ssh/host_key", "/var/lib/figlina/state.json"):
        assert machine.ssh(f"test -s {path} && {look} {path} 2>&1 || true").strip().endswith("Permission denied")
    assert machine.ssh(f"{look} /var/lib/figlina/haproxy-global.cfg")


def test_settings_of_the_kernel_are_those_of_a_load_balancer(machine: vm.Machine) -> None:
    wanted = dict(line.split(" = ") for line in SYSCTLS.read_text().splitlines() if line and not line.startswith("#"))
    held = machine.ssh(f"busybox sysctl {' '.join(wanted)}")
    assert {name: " ".join(value.split()) for name, _, value in (line.partition(" = ") for line in held.splitlines())} == wanted


def test_cards_and_the_network_namespace_of_the_tenants_have_them_too(machine: vm.Machine) -> None:
    """Cards are found after boot has begun; a namespace has settings of its own, and cards take its `default` when they come to it."""
    asked = "cat /proc/sys/net/ipv4/conf/{0}/accept_redirects /proc/sys/net/ipv6/conf/{0}/accept_redirects"
    inside = "ip netns exec haproxy busybox"
    assert set(machine.ssh(asked.format("eth*")).split()) == {"0"}
    assert machine.ssh(f"{inside} {asked.format('default')}").split() == ["0", "0"]
    wanted = dict(line.split(" = ") for line in SYSCTLS.read_text().splitlines() if line.startswith("net.ipv4.tcp_"))
    del wanted["net.ipv4.tcp_max_orphans"], wanted["net.ipv4.tcp_max_syn_backlog"]  # the machine's; as somaxconn lets it
    held = machine.ssh(f"{inside} sysctl {' '.join(wanted)}")
    assert {name: " ".join(value.split()) for name, _, value in (line.partition(" = ") for line in held.splitlines())} == wanted


def test_a_second_network_of_the_operators_has_its_address_and_routes_but_no_default_route(machine: vm.Machine) -> None:
    addresses, routes = machine.ssh("busybox ip address"), machine.ssh("busybox ip route").splitlines()
    assert f"inet {vm.BESIDES}/24" in addresses
    assert [line for line in routes if line.startswith(f"{vm.BESIDES_ROUTE}/24 via {vm.BESIDES_OUTSIDE} ")]
    assert not [line for line in routes if line.startswith("default") and vm.BESIDES_OUTSIDE in line]
    assert system.run(["ip", "netns", "exec", machine.outside, "ping", "-c", "1", "-W", "20", vm.BESIDES])


def test_a_third_network_gives_its_address_by_dhcp_and_has_the_other_one_of_the_drive(machine: vm.Machine) -> None:
    addresses, routes = machine.ssh("busybox ip address"), machine.ssh("busybox ip route").splitlines()
    assert f"inet {vm.LEASED}/24" in addresses
    assert f"inet6 {vm.LEASED_6}/64" in addresses
    assert [line for line in routes if line.startswith(f"{vm.LEASED_ROUTE}/24 via {vm.LEASED_OUTSIDE} ")]
    assert not [line for line in routes if line.startswith("default") and vm.LEASED_OUTSIDE in line]
    assert system.run(["ip", "netns", "exec", machine.outside, "ping", "-c", "1", "-W", "20", vm.LEASED])


def test_as_many_flows_are_known_as_an_eighth_of_the_memory_holds(machine: vm.Machine) -> None:
    """The kernel's own choice is 2,048 of them here."""
    memory, most = machine.ssh(
        "modprobe nf_conntrack; grep MemTotal /proc/meminfo; cat /proc/sys/net/netfilter/nf_conntrack_max"
    ).splitlines()
    kibibytes = int(memory.split()[1])
    assert kibibytes / 8 <= int(most) / 2 * 1.01 <= kibibytes / 8 * 1.1


def test_three_thousand_members_beside_it_are_known_at_once(machine: vm.Machine) -> None:
    """Of its own the kernel knows 1,024 neighbours, and drops what is for others."""
    assert _told(machine, "neighbours.sh", between=()) == {"answered": 3000, "known": 3000}


def test_ipvs_takes_datagrams_to_a_member_with_the_rights_of_keepalived(machine: vm.Machine) -> None:
    """Of UDP and SCTP, through every scheduler that keepalived may be told, counted by what the agent may run."""
    told = _told(machine, "ipvs.sh")
    assert told["answers"] == {"udp": True, "sctp": True}
    assert set(told["schedulers"].split()) == {"rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq"}
    assert told["packets"] == {"udp": 3, "sctp": told["packets"]["sctp"]}
    assert told["packets"]["sctp"] > 3


def test_nftables_takes_datagrams_to_members_by_their_hashes(machine: vm.Machine) -> None:
    """What spreads flows where a kernel has no IPVS: jhash, symhash, numgen, and a map of who was where, which forgets."""
    assert _told(machine, "nftables.sh") == {"one client": 1, "in turns": 2, "remembered": 1}


def test_an_association_whose_flow_was_ended_is_aborted(machine: vm.Machine) -> None:
    """By the kernel's SCTP, which is loaded once the agent runs. Clients on Linux heed nothing else."""
    waits = "for try in $(busybox seq 60); do grep -q '^sctp ' /proc/modules && break; sleep 0.5; done; cut -d ' ' -f 1 /proc/modules"
    assert "sctp" in machine.ssh(waits).split()
    assert _told(machine, "sctp.sh") == {"served": True, "ended": True, "heard": "ECONNRESET"}


def _told(machine: vm.Machine, name: str, between: tuple[str, ...] = ("routed.sh",)) -> dict[str, Any]:
    """What one of the scripts of `guest/` has seen, by itself or between a client and a member."""
    script = "".join((GUEST_SCRIPTS / part).read_text() for part in (*between, name))
    found: dict[str, Any] = json.loads(machine.ssh("sh -s", script=script).splitlines()[-1])
    return found


def test_who_has_no_key_is_not_let_in(machine: vm.Machine) -> None:
    assert machine.ssh("busybox id -u").strip() == "0"
    for key, method in (("other_key", "publickey"), ("user_key", "password"), ("user_key", "keyboard-interactive")):
        with pytest.raises(system.CommandFailed, match=r"Permission denied \(publickey\)"):
            machine.ssh("true", key, method)


def test_nothing_secret_is_on_the_console(machine: vm.Machine) -> None:
    said = machine.log()
    assert "Serving on" in said
    assert machine.key.hex() not in said
    assert "PRIVATE KEY" not in said
    assert "login" not in said
    assert "OPENSSH" not in said


def test_a_card_that_is_plugged_later_is_found_by_its_mac(machine: vm.Machine) -> None:
    machine.hot_plug("ten2", SECOND_MAC, SECOND_OUTSIDE)
    usual = machine.wanted(2, None).interfaces[0]
    second = rest.Interface(mac=SECOND_MAC, name="eth2", mtu=1400, addresses=(SECOND,))
    server = machine.web(8002)
    machine.apply(2, config(f"m1 {server} weight 1"), interfaces=(usual, second))
    assert eventually(lambda: machine.fetch(), within=120) == "8002"
    assert _answers(machine, SECOND.partition("/")[0])


def _answers(machine: vm.Machine, address: str) -> bool:
    system.run(["ip", "netns", "exec", machine.outside, "ping", "-c", "1", "-W", "5", address])
    return True


def test_it_serves_again_after_a_reset_without_anybody_telling_it(machine: vm.Machine) -> None:
    machine.tell("system_reset")
    eventually(lambda: machine.call("GET", "/")[0] == 200, within=480)
    assert eventually(lambda: machine.fetch(), within=120) == "8002"
    status, held = machine.call("GET", rest.load_balancer_path(machine.load_balancer_id))
    assert status == 200
    assert rest.Receipt.parse(held).generation == 2


@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_after_a_power_cut_in_the_middle_of_a_push_it_serves_one_state_or_the_other(machine: vm.Machine, seconds: float) -> None:
    path = rest.load_balancer_path(machine.load_balancer_id)
    before = rest.Receipt.parse(machine.call("GET", path)[1])
    ports = {before.generation: machine.fetch(), before.generation + 1: str(8100 + int(100 * seconds))}
    backend = machine.web(int(ports[before.generation + 1]))
    wanted = machine.wanted(before.generation + 1, config(f"m1 {backend} weight 1", f"m2 {backend} weight 1 backup"))
    push = threading.Thread(target=_try, args=(machine, wanted))
    push.start()
    time.sleep(seconds)
    machine.cut_power()
    push.join()
    machine.start()
    eventually(lambda: machine.call("GET", "/")[0] == 200, within=480)
    held = rest.Receipt.parse(machine.call("GET", path)[1])
    assert (held.generation, held.hash) in {(before.generation, before.hash), (wanted.generation, wanted.hash)}
    assert eventually(lambda: machine.fetch(), within=120) == ports[held.generation]


def _try(machine: vm.Machine, wanted: rest.WantedState) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        machine.put(wanted)


def test_keepalived_takes_the_vip_with_the_rights_that_it_needs(machine: vm.Machine) -> None:
    generation = _held(machine).generation + 1
    nic = dataclasses.replace(machine.wanted(1, None).interfaces[0], vips=())
    machine.apply(generation, config(f"m1 {machine.web(8003)} weight 1"), keepalived_config=PAIR, interfaces=(nic,))
    assert eventually(lambda: machine.fetch(), within=120) == "8003"
    rights = machine.rights("keepalived")
    assert len(rights) >= 2
    assert {(one.user, one.no_new_privileges) for one in rights} == {(FIGLINA, True)}
    assert {one.capabilities for one in rights} == {frozenset({privileges.KEPT["net_admin"], privileges.KEPT["net_raw"]})}
    assert "setting the network namespace" not in machine.log()  # nobody names one where all lives in it


def _held(machine: vm.Machine) -> rest.Receipt:
    return rest.Receipt.parse(machine.call("GET", rest.load_balancer_path(machine.load_balancer_id))[1])


def test_a_member_that_begins_to_answer_pings_is_up(machine: vm.Machine) -> None:
    """By a program that HAProxy may start with its few rights: without it, all members would be down."""
    beats, address = machine.beats(), "198.19.251.77"
    machine.web(8004)
    check = '    timeout check 20s\n    option external-check\n    external-check command "${FIGLINA_CHECKS}/ping"'
    machine.apply(_held(machine).generation + 1, config(f"m1 {address}:8004 weight 1 check inter 2s fall 1 rise 1", extra=check))

    def told(status: str) -> None:
        beats.report(lambda found: found["pools"].get("p1:l1", {}).get("members") == {"m1": status}, within=240)

    told("DOWN")
    system.run(["ip", "-n", machine.outside, "address", "add", f"{address}/32", "dev", "ten"])
    told("UP")


@pytest.fixture(scope="module")
def secured(machine: vm.Machine) -> Secured:
    made = Secured(machine, _held(machine).generation)
    assert made.apply() == "reload"
    return made


def test_tls_is_ended_by_the_name_that_is_asked_for_and_for_clients_with_a_certificate(secured: Secured) -> None:
    assert {name: secured.shown(name) for name in NAMES} == {name: der(pem) for name, pem in secured.certificates.items()}
    assert [secured.fetch(name) for name in NAMES] == ["8201", "8201"]
    with pytest.raises((OSError, http.client.HTTPException)):
        secured.fetch(shows_certificate=False)


def test_a_certificate_is_changed_without_a_reload(secured: Secured) -> None:
    before, kept = secured.workers(), secured.connect(NAMES[1])
    for name in NAMES:
        secured.certificates[name] = secured.authority.issue(name)
        assert secured.apply() == "runtime"
        assert {one: secured.shown(one) for one in NAMES} == {one: der(pem) for one, pem in secured.certificates.items()}
    assert secured.fetch(on=kept) == "8201"
    assert secured.workers() == before


def test_members_come_and_go_without_a_reload(secured: Secured) -> None:
    before = secured.workers()
    for members in ([8201, 8202], [8202], [8201, 8202], [8201]):
        secured.members = members
        assert secured.apply() == "runtime"
        assert {secured.fetch() for _ in range(2 * len(members))} == {str(port) for port in members}
    assert secured.workers() == before


def test_prometheus_is_told_of_listeners_and_members(secured: Secured) -> None:
    told = secured.machine.fetch("/metrics", port=METRICS_PORT)
    assert samples(told)
    assert builders.an_id("secured") in told
    assert builders.an_id("8201") in told


def test_the_power_button_switches_it_off(machine: vm.Machine) -> None:
    machine.tell("system_powerdown")
    assert machine.ended(300), machine.log()[-2000:]


@pytest.mark.parametrize(
    "hardware",
    [
        vm.Hardware(firmware="uefi"),
        vm.Hardware(firmware="kernel"),
        vm.Hardware(disk="scsi"),
        vm.Hardware(drive="vfat"),
        vm.Hardware(drive="ide"),
    ],
    ids=lambda hardware: f"{hardware.firmware}-{hardware.disk}-{hardware.drive}",
)
def test_it_boots_on_other_hardware(image_folder: pathlib.Path, tmp_path: pathlib.Path, hardware: vm.Hardware) -> None:
    with vm.running(tmp_path / "vm", image_folder, hardware) as made:
        assert made.call("GET", "/")[0] == 200
        with pytest.raises(ConnectionRefusedError):  # nobody may log in: the drive says nothing of it
            made.outdoors(lambda: socket.create_connection((AGENT, 22), 10))
