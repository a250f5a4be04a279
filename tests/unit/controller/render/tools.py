"""What the tests of rendering share: networks, and the real programs' opinion of a text."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import ipaddress
import os
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from amphora_agent import allowed, certificates
from amphora_agent.protocol import rendered, rest
from controller import render
from controller.drivers.secrets import bundles
from controller.model import load_balancer as model
from controller.model.network import FixedIp, HostRoute
from controller.model.tls import Need
from tests import builders, tls_material

NETWORKS = render.Networks(vips=(render.VipSubnet(cidr=builders.VIP_SUBNET_CIDR, gateway_ip=builders.VIP_GATEWAY, mtu=1450),))
ADDITIONAL = (
    render.VipSubnet(cidr="2001:db8:10::/64", gateway_ip="2001:db8:10::1", mtu=1450),
    render.VipSubnet(cidr="192.0.2.0/24", gateway_ip="192.0.2.1", mtu=1450, host_routes=(HostRoute("203.0.113.0/24", "192.0.2.2"),)),
)
"""The subnets of further VIPs, in this order."""

# What an agent puts in front; the paths of a machine are its own business.
_HAPROXY_PREAMBLE = """global
    maxconn 1000
    server-state-file {folder}/servers-state
    setenv {checks} {folder}
    setenv {certificates} {folder}
    crt-base {folder}
    ca-base {folder}
    external-check
    insecure-fork-wanted

backend {metrics}
    mode http
    timeout connect 5s
    timeout server 5s

"""
_KEEPALIVED_PREAMBLE = """global_defs {
    enable_script_security
    script_user root
}

vrrp_script haproxy_alive {
    script /bin/true
    interval 1
}

"""
# keepalived looks for the interfaces that it is told of: a network namespace that lives as long as this command has them.
_WITH_ETH1 = "ip link add eth1 type veth peer name eth2 && exec keepalived --config-test --use-file {file}"


def wanted(snapshot: model.Snapshot, half: int = 0, **settings: object) -> rest.WantedState:
    """What is wanted of an amphora of this snapshot."""
    networks = dataclasses.replace(NETWORKS, vips=(*NETWORKS.vips, *ADDITIONAL[: len(snapshot.load_balancer.vip.addresses) - 1]))
    found = render.wanted_state(snapshot, snapshot.amphorae[half], networks, render.Settings(**settings), known(snapshot))  # type: ignore[arg-type]
    certificates.refuse_malformed(found)
    allowed.check_haproxy(found.programs.get("haproxy") or "")  # whatever is rendered, an agent takes it
    allowed.check_keepalived(found.programs.get("keepalived") or "")
    return found


def with_additional_vips(snapshot: model.Snapshot) -> model.Snapshot:
    """The same, with an address on each of `ADDITIONAL`, too."""
    ranges = [(builders.an_id(one.cidr), ipaddress.ip_network(one.cidr)) for one in ADDITIONAL]
    vips = [FixedIp(subnet_id, str(place[10])) for subnet_id, place in ranges]
    vip = dataclasses.replace(snapshot.load_balancer.vip, addresses=(*snapshot.load_balancer.vip.addresses, *vips))
    amphorae = tuple(
        dataclasses.replace(one, additional_vrrp_ips=tuple(FixedIp(subnet_id, str(place[number])) for subnet_id, place in ranges))
        for number, one in enumerate(snapshot.amphorae, start=22)
    )
    return dataclasses.replace(snapshot, load_balancer=dataclasses.replace(snapshot.load_balancer, vip=vip), amphorae=amphorae)


def known(snapshot: model.Snapshot) -> dict[Need, str]:
    """Names for all that a snapshot needs of the secret store."""
    return {need: f"{hashlib.sha256(repr(need).encode()).hexdigest()}.pem" for need in render.tls.needs(snapshot)}


@functools.cache
def _ca_and_key() -> tuple[tls_material.Issued, tls_material.Key]:
    """Who signs, and the key of all certificates: to make an RSA key takes longer than all else here."""
    return tls_material.issue("ca.example", is_ca=True), tls_material.a_key("RSA")


def put_certificates(state: rest.WantedState, folder: pathlib.Path) -> None:
    """What the names in a configuration stand for, as an agent puts it there: good ones, whatever they are."""
    ca, key = _ca_and_key()
    for name in state.names:
        kind = name.rpartition("-")[2]
        content = {"ca.pem": ca.pem, "crl.pem": tls_material.revoke(ca)}.get(kind)
        (folder / name).write_bytes(content or bundles.pem(tls_material.issue(f"{name[:20]}.example", ca, key=key).bundle))
    for name, names in state.lists.items():
        (folder / name).write_text("".join(f"{one}\n" for one in names))


def haproxy_config(snapshot: model.Snapshot, **settings: Any) -> str:
    """HAProxy's text for a snapshot that has one."""
    text = wanted(snapshot, **settings).programs.get("haproxy")
    assert text is not None
    return text


def section(text: str, start: str) -> list[str]:
    """The directives below the one line that starts so."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    [found] = [block for block in blocks if block and block[0].startswith(start)]
    return [line.strip() for line in found[1:]]


def ask_haproxy(text: str, folder: pathlib.Path, peer_name: str = "nobody") -> None:
    """Have the real HAProxy check a text, and those that `FIGLINA_HAPROXIES` names (`scripts/other-haproxy`): none complains or warns."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed: nothing can check the text")
    (folder / "servers-state").write_text("1\n")  # the version alone: no server's state is known yet
    file = folder / "haproxy.cfg"
    names = {"checks": rendered.CHECKS_VARIABLE, "certificates": rendered.CERTIFICATES_VARIABLE, "metrics": rendered.METRICS_BACKEND}
    file.write_text(_HAPROXY_PREAMBLE.format(folder=folder, **names) + text)
    for command in ["haproxy", *filter(None, os.environ.get("FIGLINA_HAPROXIES", "").split(os.pathsep))]:
        run = subprocess.run([command, "-c", "-L", peer_name, "-f", str(file)], capture_output=True, text=True, check=False)
        complaints = [line for line in run.stderr.splitlines() if "[NOTICE]" not in line]
        assert (run.returncode, complaints) == (0, []), f"{command}: {run.stderr}"


def ask_nft(script: str) -> None:
    """Have the kernel take the rules of a script, in a network namespace that is gone afterwards: `nft -c` alone would not ask it."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed: nothing can check the rules")
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("a network namespace takes root")
    run = subprocess.run(["unshare", "-n", "nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stderr[:4000]


def ask_keepalived(text: str, folder: pathlib.Path) -> None:
    """Have the real keepalived check a text."""
    if shutil.which("keepalived") is None:
        pytest.skip("keepalived is not installed: nothing can check the text")
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("keepalived looks for its interface, and making one in a network namespace takes root")
    file = folder / "keepalived.conf"
    file.write_text(_KEEPALIVED_PREAMBLE + text)
    command = ["unshare", "-n", "sh", "-c", _WITH_ETH1.format(file=file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
