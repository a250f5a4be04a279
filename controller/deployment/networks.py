"""Checks of the way between controllers and amphorae: management network, security groups, heartbeats."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.deployment.report import Finding, failure, ok, warning
from controller.deployment.site import Document, Site, inside
from controller.openstack import errors

_FEW = 20  # addresses
_PREPARE = "figlina cloud prepare --os-cloud ADMIN"
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def networks(site: Site) -> Iterator[Finding]:
    """Are the networks there on which amphorae boot, with addresses left, and does this host reach them?"""
    if not site.networks:
        fix = f"{_PREPARE}, or [controller_worker] amp_boot_network_list = ID"
        yield failure("network-unset", "[controller_worker] amp_boot_network_list names no network", fix)
        return
    for name, network in site.networks.items():
        if network is None:
            yield failure("network-missing", f"there is no network {name} that we see", "openstack network list; amp_boot_network_list")
        elif not network["admin_state_up"]:
            yield failure("network-down", f"{network['name']} is down", f"openstack network set --enable {name}")
        elif not network["subnets"]:
            fix = f"openstack subnet create --network {name} --subnet-range CIDR --gateway none SUBNET"
            yield failure("network-subnet", f"{network['name']} has no subnet, so that ports get no address", fix)
        else:
            yield from _addresses(site, network)
    yield from _ways(site)


def _addresses(site: Site, network: Document) -> Iterator[Finding]:
    try:
        answer = site.network.get(f"/network-ip-availabilities/{network['id']}")["network_ip_availability"]
    except (errors.NotAllowed, errors.Missing):  # it tells administrators alone, and not without an extension for it
        yield ok(f"{network['name']}: how many addresses are free is not for us to see")
        return
    free = {one["subnet_name"] or one["cidr"]: one["total_ips"] - one["used_ips"] for one in answer["subnet_ip_availability"]}
    fix = f"openstack subnet create --network {network['id']} --subnet-range CIDR SUBNET, or free addresses"
    total = sum(free.values())
    if total < 1:
        yield failure("network-full", f"{network['name']} has no free address", fix)
    elif total < _FEW:
        yield warning("network-low", f"{network['name']} has {total} free addresses, one for each amphora", fix)
    yield ok(f"{network['name']}: {', '.join(f'{count} free on {name}' for name, count in free.items())}")


def _ways(site: Site) -> Iterator[Finding]:
    """The controller has to get to agents."""
    for subnet in site.agent_subnets:
        source = site.host.source(inside(subnet))
        if source is None:
            words = f"this host has no route to {subnet['cidr']}, where agents listen"
            yield failure(
                "network-unreachable", words, "a port of this host on the management network, or a route: ip route add CIDR via ROUTER"
            )
        elif ipaddress.ip_address(source) not in ipaddress.ip_network(subnet["cidr"]):
            words = f"this host is not on {subnet['cidr']}; it would go there from {source}, by a route for strangers perhaps"
            yield warning("network-remote", words, "a port of this host on the management network, or see that the router knows both ways")
        else:
            yield ok(f"this host is on {subnet['cidr']} as {source}")


def groups(site: Site) -> Iterator[Finding]:
    """Do the security groups let controllers in to agents, and heartbeats out?"""
    if any(network and not network.get("port_security_enabled", True) for network in site.networks.values()):
        yield ok("port security is off on the management network: nothing is filtered")
        return
    if not site.groups:
        words = "amp_secgroup_list is empty: an amphora gets the group `default`, which lets nobody in"
        yield failure("group-unset", words, f"{_PREPARE}, or [controller_worker] amp_secgroup_list = ID")
        return
    missing = [name for name, group in site.groups.items() if group is None]
    if missing:
        yield failure("group-missing", f"there is no security group {', '.join(missing)} that we see", "openstack security group list")
        return
    rules = [rule for group in site.groups.values() if group for rule in group["security_group_rules"]]
    yield from _agent(site, rules)
    for address, port in site.heartbeat_endpoints:
        if not _admitted(rules, "egress", "udp", port, address):
            fix = f"openstack security group rule create --egress --protocol udp --dst-port {port} {next(iter(site.groups))}"
            yield failure("group-egress", f"amphorae may not send heartbeats to {address}, UDP {port}", fix)
    yield ok(", ".join(group["name"] for group in site.groups.values() if group))


def _agent(site: Site, rules: Sequence[Document]) -> Iterator[Finding]:
    port = site.conf.haproxy_amphora.bind_port
    for address in site.controller_addresses():
        if not _admitted(rules, "ingress", "tcp", port, address):
            fix = f"openstack security group rule create --protocol tcp --dst-port {port} --remote-ip {address} {next(iter(site.groups))}"
            yield failure("group-agent", f"this controller ({address}) may not reach the agents' port {port}", fix)


def _admitted(rules: Sequence[Document], direction: str, protocol: str, port: int, address: str) -> bool:
    """Whether a rule lets this pass, as Neutron reads its rules; `address` is the other side's."""
    other = ipaddress.ip_address(address)

    def fits(rule: Document) -> bool:
        prefix = rule["remote_ip_prefix"] or _ANYWHERE[other.version]
        low, high = rule["port_range_min"], rule["port_range_max"]
        return (
            rule["direction"] == direction
            and rule["ethertype"] == f"IPv{other.version}"
            and rule["protocol"] in (None, protocol, {"tcp": "6", "udp": "17"}[protocol])
            and (low is None or low <= port <= high)
            and not rule["remote_group_id"]
            and other in ipaddress.ip_network(prefix, strict=False)
        )

    return any(fits(rule) for rule in rules)


def heartbeats(site: Site) -> Iterator[Finding]:
    """Do amphorae know where health managers are, do they get there, and does one listen there?"""
    told = site.heartbeat_endpoints
    if not told:
        words = "[health_manager] controller_ip_port_list is empty: amphorae would report to nobody, and none would ever be ACTIVE"
        yield failure("heartbeat-none", words, f"controller_ip_port_list = {next(iter(site.controller_addresses()), 'ADDRESS')}:5555")
        return
    for address, port in told:
        if ipaddress.ip_address(address).is_loopback:
            fix = f"controller_ip_port_list = {next(iter(site.controller_addresses()), 'ADDRESS')}:{port}"
            yield failure("heartbeat-loopback", f"{address} is an amphora's own loopback, not this controller", fix)
            continue
        yield from _way_home(site, address)
        yield from _listener(site, address, port)
        yield from _ports(site, address, port)
    yield ok(", ".join(f"{address}:{port}" for address, port in told))


def _way_home(site: Site, address: str) -> Iterator[Finding]:
    """Amphorae know what their subnet tells them: its own addresses, its routes, its gateway."""
    target = ipaddress.ip_address(address)
    for subnet in site.management_subnets:
        if ipaddress.ip_network(subnet["cidr"]).version != target.version:
            continue
        known = [subnet["cidr"], *(route["destination"] for route in subnet["host_routes"])]
        if not subnet["gateway_ip"] and not any(target in ipaddress.ip_network(one) for one in known):
            fix = f"an address on the management network; or openstack subnet set --host-route destination={address}/32,gateway=ROUTER ID"
            yield failure("heartbeat-astray", f"amphorae on {subnet['cidr']} have no route to {address}", fix)


def _listener(site: Site, address: str, port: int) -> Iterator[Finding]:
    """The health manager of this host has to listen where amphorae are told that it does."""
    options = site.conf.health_manager
    if not site.host.holds(address):
        yield ok(f"{address} is another host's")
        return
    listens = ipaddress.ip_address(options.bind_ip)
    hears = listens.is_unspecified or str(listens) == address
    if not (hears and options.bind_port == port):
        fix = f"[health_manager] bind_ip = {address}, bind_port = {port}"
        yield failure("heartbeat-deaf", f"{address}:{port} is this host, whose manager listens on {listens}:{options.bind_port}", fix)


def _ports(site: Site, address: str, port: int) -> Iterator[Finding]:
    """Where the controller is on the network by a port of Neutron's, its groups have to let heartbeats in."""
    for found in site.network.get("/ports", {"fixed_ips": f"ip_address={address}"})["ports"]:
        if found["network_id"] not in {network["id"] for network in site.networks.values() if network}:
            continue
        if not found.get("port_security_enabled", True):
            continue
        rules = [rule for group in found["security_groups"] for rule in _rules(site, group)]
        version = ipaddress.ip_address(address).version
        for subnet in [one for one in site.management_subnets if one["ip_version"] == version]:
            if not _admitted(rules, "ingress", "udp", port, inside(subnet)):
                rule = f"openstack security group rule create --protocol udp --dst-port {port} GROUP"
                fix = f"{rule}; openstack port set --security-group GROUP {found['id']}"
                yield failure("heartbeat-closed", f"the groups of {address}'s port let no UDP {port} in from {subnet['cidr']}", fix)


def _rules(site: Site, group: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = site.network.get(f"/security-groups/{group}")["security_group"]["security_group_rules"]
    return found
