"""The interface `o-hm0` by which a host of DevStack is on the management network, made by the plug-in's own functions in a namespace."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PORT, NETWORK, MAC = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "fa:16:3e:00:00:09"

pytestmark = pytest.mark.integration

_SHOWN = {
    "port show": {"mac_address": MAC, "network_id": NETWORK, "fixed_ips": [{"ip_address": "198.18.9.9", "subnet_id": "s"}]},
    "port create": PORT,
    "subnet show": "198.18.9.0/24",
    "network show": "1442",
    "port list": "",
}

_OPENSTACK = """#!/usr/bin/env python3
import json, sys
words = sys.argv[1:]
while words[0].startswith("--"):  # who asks
    words = words[2:]
shown = json.loads({shown!r})[" ".join(words[:2])]
print(shown if isinstance(shown, str) else json.dumps(shown))
"""

# What the functions need of DevStack, and a host that takes nothing in unless somebody lets it.
_HOST = r"""
set -o errexit
mount -t sysfs sysfs /sys
ip link set lo up
iptables -P INPUT DROP
PYTHON=python3 FIGLINA_DIR={root} FIGLINA_CONF=conf FIGLINA_DATA_DIR=$PWD FIGLINA_PREFIX=p OCTAVIA_HM_LISTEN_PORT=5555
OCTAVIA_MGMT_PORT_IP=auto OCTAVIA_CONTROLLER_IP_PORT_LIST=auto Q_AGENT={agent}
function die {{ shift; echo "$*" >&2; exit 1; }}
function die_if_not_set {{ [[ -n "${{!2}}" ]] || die "$1" "$3"; }}
function function_exists {{ declare -f -F "$1" > /dev/null; }}
function iniset {{ shift; echo "$*" >> written; }}
function iniget {{ sed -n "s/^$2 $3 //p" written | tail -n 1; }}
source {root}/devstack/lib/figlina_cloud
source {root}/devstack/lib/figlina_mgmt_port
"""


def _run(folder: pathlib.Path, agent: str, script: str) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "openstack").write_text(_OPENSTACK.format(shown=json.dumps(_SHOWN)))
    (programs / "ovs-vsctl").write_text('#!/bin/sh\necho "$@" >> ovs\n')
    (programs / "sudo").write_text((ROOT / "tests" / "devstack" / "bin" / "sudo").read_text())
    for program in programs.iterdir():
        program.chmod(0o755)
    return subprocess.run(
        ["unshare", "--net", "--mount", "bash", "-c", _HOST.format(root=ROOT, agent=agent) + script],
        cwd=folder,
        env={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_heartbeats_reach_a_host_with_linux_bridges_until_it_is_unplugged(tmp_path: pathlib.Path) -> None:
    """An amphora in a namespace of its own, on the network's bridge."""
    script = rf"""
    ip link add brq{NETWORK[:11]} type bridge; ip link set brq{NETWORK[:11]} up
    plug_figlina_mgmt_port
    plug_figlina_mgmt_port  # again, as a second stack.sh does
    ip -j address show o-hm0 > shown
    iptables -S INPUT > rules
    unshare --net sleep 300 & amphora=$!
    own=$(readlink /proc/$$/ns/net); theirs=$own
    while [[ -z $theirs || $theirs == "$own" ]]; do sleep 0.05; theirs=$(readlink /proc/$amphora/ns/net || true); done
    ip link add side type veth peer name eth0 netns $amphora
    ip link set side master brq{NETWORK[:11]} up
    nsenter -t $amphora -n ip address add 198.18.9.50/24 dev eth0
    nsenter -t $amphora -n ip link set eth0 up
    python3 - <<'RECEIVER' & receiver=$!
import socket
listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listening.bind(("198.18.9.9", 5555))
listening.settimeout(60)
open("heard", "w").write(str(listening.recvfrom(100)))
RECEIVER
    for try in $(seq 200); do
        [[ -s heard ]] && break
        nsenter -t $amphora -n bash -c 'echo -n beat > /dev/udp/198.18.9.9/5555'
        sleep 0.2
    done
    wait $receiver
    nsenter -t $amphora -n arping -I eth0 -c 2 -w 20 198.18.9.9 > answers || true
    kill $amphora
    unplug_figlina_mgmt_port
    unplug_figlina_mgmt_port
    ip -j link > after
    iptables -S INPUT > rules-after
    """
    done = _run(tmp_path, "linuxbridge", script)
    assert done.returncode == 0, done.stderr
    assert "beat" in (tmp_path / "heard").read_text()
    assert "198.18.9.50" in (tmp_path / "heard").read_text()
    answers = re.findall(r"\[([0-9A-F:]{17})\]", (tmp_path / "answers").read_text())
    assert set(answers) == {MAC.upper()}, "the bridge answers for addresses that are not its own"
    (shown,) = json.loads((tmp_path / "shown").read_text())
    assert (shown["address"], shown["mtu"]) == (MAC, 1442)
    assert [(one["local"], one["prefixlen"]) for one in shown["addr_info"] if one["family"] == "inet"] == [("198.18.9.9", 24)]
    assert (tmp_path / "rules").read_text().count("198.18.9.9/32") == 1
    names = {link["ifname"] for link in json.loads((tmp_path / "after").read_text())}
    assert not names & {"o-hm0", f"tap{PORT[:11]}"}
    assert (tmp_path / "rules-after").read_text() == "-P INPUT DROP\n"
    assert set((tmp_path / "written").read_text().splitlines()) == {
        "health_manager bind_ip 198.18.9.9",
        "health_manager controller_ip_port_list 198.18.9.9:5555",
    }
    assert (tmp_path / "made").read_text() == f"port {PORT}\n"


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
def test_open_vswitch_is_told_which_port_the_interface_is(tmp_path: pathlib.Path, agent: str) -> None:
    """There is no Open vSwitch here: its command is recorded, and the interface that it would make is made by hand."""
    script = "ip link add o-hm0 type veth peer name other; plug_figlina_mgmt_port; unplug_figlina_mgmt_port"
    done = _run(tmp_path, agent, script)
    assert done.returncode == 0, done.stderr
    made, removed = (tmp_path / "ovs").read_text().splitlines()
    assert made.startswith("-- --may-exist add-port br-int o-hm0 -- set Interface o-hm0 type=internal ")
    assert f"external-ids:iface-id={PORT}" in made
    assert f'external-ids:attached-mac="{MAC}"' in made
    assert removed == "--if-exists del-port br-int o-hm0"


def test_another_back_end_brings_functions_of_its_own(tmp_path: pathlib.Path) -> None:
    script = """
    function octavia_create_network_interface_device { ip link add "$1" type veth peer name other; echo "$*" > made-by-others; }
    function octavia_delete_network_interface_device { ip link delete "$1"; }
    plug_figlina_mgmt_port
    unplug_figlina_mgmt_port
    ip -j link > after
    """
    done = _run(tmp_path, "macvtap", script)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made-by-others").read_text().split() == ["o-hm0", PORT, MAC]
    assert "o-hm0" not in (tmp_path / "after").read_text()


def test_an_unknown_back_end_is_told_what_to_do(tmp_path: pathlib.Path) -> None:
    done = _run(tmp_path, "macvtap", "plug_figlina_mgmt_port")
    assert done.returncode == 1
    assert "define octavia_create_network_interface_device" in done.stderr
    assert "FIGLINA_MGMT_HOST_IP" in done.stderr


def test_a_host_that_is_on_the_network_already_gets_no_interface(tmp_path: pathlib.Path) -> None:
    done = _run(tmp_path, "ovn", "FIGLINA_MGMT_HOST_IP=fd00::1; plug_figlina_mgmt_port; unplug_figlina_mgmt_port")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ovs").exists()
    assert set((tmp_path / "written").read_text().splitlines()) == {
        "health_manager bind_ip fd00::1",
        "health_manager controller_ip_port_list [fd00::1]:5555",
    }
