"""The user's guide of LBaaS v2, command by command, with the real `neutron` client; then the commands that it leaves out."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from controller.dev.client import eventually
from tests.neutron_command import Neutron
from tests.walks.place import Place

_SECURITY = """
neutron security-group-create lbaas
neutron security-group-rule-create \
  --direction ingress \
  --protocol tcp \
  --port-range-min 80 \
  --port-range-max 80 \
  --remote-ip-prefix 0.0.0.0/0 \
  lbaas
neutron security-group-rule-create \
  --direction ingress \
  --protocol tcp \
  --port-range-min 443 \
  --port-range-max 443 \
  --remote-ip-prefix 0.0.0.0/0 \
  lbaas
neutron security-group-rule-create \
  --direction ingress \
  --protocol icmp \
  lbaas
neutron port-update \
  --security-group lbaas \
  {vip_port_id}
"""
_HTTP_LISTENER = """
neutron lbaas-listener-create \
  --name test-lb-http \
  --loadbalancer test-lb \
  --protocol HTTP \
  --protocol-port 80
"""
_HTTP_POOL = """
neutron lbaas-pool-create \
  --name test-lb-pool-http \
  --lb-algorithm ROUND_ROBIN \
  --listener test-lb-http \
  --protocol HTTP
neutron lbaas-member-create \
  --name test-lb-http-member-1 \
  --subnet private-subnet \
  --address {web_1} \
  --protocol-port 80 \
  test-lb-pool-http
neutron lbaas-member-create \
  --name test-lb-http-member-2 \
  --subnet private-subnet \
  --address {web_2} \
  --protocol-port 80 \
  test-lb-pool-http
"""
_HTTP_MONITOR = """
neutron lbaas-healthmonitor-create \
  --name test-lb-http-monitor \
  --delay 5 \
  --max-retries 2 \
  --timeout 10 \
  --type HTTP \
  --pool test-lb-pool-http
"""
_HTTPS = """
neutron lbaas-listener-create \
  --name test-lb-https \
  --loadbalancer test-lb \
  --protocol HTTPS \
  --protocol-port 443
neutron lbaas-pool-create \
  --name test-lb-pool-https \
  --lb-algorithm LEAST_CONNECTIONS \
  --listener test-lb-https \
  --protocol HTTPS
neutron lbaas-member-create \
  --name test-lb-https-member-1 \
  --subnet private-subnet \
  --address {web_1} \
  --protocol-port 443 \
  test-lb-pool-https
neutron lbaas-member-create \
  --name test-lb-https-member-2 \
  --subnet private-subnet \
  --address {web_2} \
  --protocol-port 443 \
  test-lb-pool-https
neutron lbaas-healthmonitor-create \
  --name test-lb-https-monitor \
  --delay 5 \
  --max-retries 2 \
  --timeout 10 \
  --type HTTPS \
  --pool test-lb-pool-https
"""
_QUOTAS = """
neutron quota-update --tenant-id {tenant} --loadbalancer 25
neutron quota-update --tenant-id {tenant} --pool 50
"""


def _type(neutron: Neutron, commands: str, **filled_in: str) -> None:
    """Type commands of the guide, with the addresses and ids filled in that it leaves to the reader."""
    for line in commands.replace("\\\n", " ").strip().splitlines():
        program, _, rest = line.format(**filled_in).partition(" ")
        assert program == "neutron"
        neutron(rest)


@dataclasses.dataclass(frozen=True, slots=True)
class Walk:
    """`neutron` runs each command in a process of its own, `hurried` all of them in one; `operator` is an administrator's."""

    place: Place
    neutron: Neutron
    hurried: Neutron
    operator: Neutron

    def becomes_active(self, name: str = "test-lb") -> dict[str, Any]:
        """What is shown of a load balancer as soon as it is ACTIVE."""
        seen: dict[str, Any] = {}

        def active() -> bool:
            seen.update(self.hurried.shown(f"lbaas-loadbalancer-show {name}"))
            return bool(seen["provisioning_status"] == "ACTIVE")

        eventually(active, self.place.patience, lambda: str(seen))
        return seen

    def serves(self, where: str, address: str, scheme: str = "http") -> set[str]:
        """Who answers four requests, sent from one of our machines."""
        return {self.place.fetch(address, scheme=scheme, where=where) for _ in range(4)}

    def every_command_of_the_guide(self) -> None:
        """Each does in order what it says."""
        place, neutron, hurried = self.place, self.neutron, self.hurried
        both = {"web-1", "web-2"}
        machines = {"web_1": place.web["web-1"], "web_2": place.web["web-2"]}

        neutron("lbaas-loadbalancer-create --name test-lb private-subnet")
        shown = self.becomes_active()
        assert (shown["name"], shown["vip_subnet_id"]) == ("test-lb", place.subnet_id)
        vip, vip_port_id = shown["vip_address"], shown["vip_port_id"]

        _type(neutron, _SECURITY, vip_port_id=vip_port_id)
        _type(neutron, _HTTP_LISTENER)
        self.becomes_active()
        ping = ["ping", "-c", "4", "-i", "0.2", vip]
        eventually(lambda: " 0% packet loss" in place.run("client", ping), place.groups_take, "the VIP does not answer pings")

        _type(neutron, _HTTP_POOL, **machines)
        eventually(lambda: self.serves("client", vip) == both, place.patience, "the web servers do not answer in turn")
        _type(neutron, _HTTP_MONITOR)
        _type(neutron, _HTTPS, **machines)
        eventually(lambda: self.serves("client", vip, "https") <= both, place.patience, "HTTPS is not passed on")
        self.becomes_active()
        eventually(lambda: self.serves("client", vip) == both, place.patience, "HTTP is not served beside HTTPS")

        floating = neutron.shown("floatingip-create public")
        neutron(f"floatingip-associate {floating['id']} {vip_port_id}")
        outside = floating["floating_ip_address"]
        eventually(lambda: self.serves("outside", outside) == both, place.patience, "the floating IP does not lead to the web servers")

        tenant = shown["tenant_id"]
        _type(self.operator, _QUOTAS, tenant=tenant)
        limits = self.operator.shown(f"quota-show --tenant-id {tenant}")
        assert (limits["loadbalancer"], limits["pool"]) == (25, 50)

        before = neutron.shown("lbaas-loadbalancer-stats test-lb")
        assert set(before) == {"active_connections", "bytes_in", "bytes_out", "total_connections"}
        self.serves("client", vip)
        counters = ("bytes_in", "bytes_out", "total_connections")

        def grown() -> bool:
            after = hurried.shown("lbaas-loadbalancer-stats test-lb")
            return all(after[name] > before[name] for name in counters)

        eventually(grown, place.patience, "the counters do not grow")

    def the_other_commands(self) -> None:
        """Lists, updates, L7, agents, and the removal of everything, without waiting, with the load balancer that the guide made."""
        place, neutron, show = self.place, self.hurried, self.hurried.shown
        shown = show("lbaas-loadbalancer-show test-lb")
        statuses = json.loads(neutron("lbaas-loadbalancer-status test-lb"))["loadbalancer"]
        assert {one["name"] for one in statuses["listeners"]} == {"test-lb-http", "test-lb-https"}
        (agent,) = self.operator.shown(f"lbaas-agent-hosting-loadbalancer {shown['id']}")
        assert agent["alive"] == ":-)"
        assert [one["name"] for one in self.operator.shown(f"lbaas-loadbalancer-list-on-agent {agent['id']}")] == ["test-lb"]

        neutron("lbaas-loadbalancer-update test-lb --description changed --admin-state-up True")
        neutron("lbaas-listener-update test-lb-http --connection-limit 1000")
        neutron("lbaas-pool-update test-lb-pool-http --session-persistence type=HTTP_COOKIE --lb-algorithm SOURCE_IP")
        neutron("lbaas-pool-update test-lb-pool-http --no-session-persistence --lb-algorithm ROUND_ROBIN")
        neutron("lbaas-member-update --weight 7 test-lb-http-member-1 test-lb-pool-http")
        neutron("lbaas-healthmonitor-update test-lb-http-monitor --delay 3 --timeout 2")
        assert show("lbaas-loadbalancer-show test-lb")["description"] == "changed"
        assert show("lbaas-listener-show test-lb-http")["connection_limit"] == 1000
        assert show("lbaas-pool-show test-lb-pool-http")["lb_algorithm"] == "ROUND_ROBIN"
        assert show("lbaas-member-show test-lb-http-member-1 test-lb-pool-http")["weight"] == 7
        assert show("lbaas-healthmonitor-show test-lb-http-monitor")["delay"] == 3

        neutron("lbaas-pool-create --name other --loadbalancer test-lb --protocol HTTP --lb-algorithm ROUND_ROBIN")
        neutron(f"lbaas-member-create other --subnet private-subnet --address {place.web['web-3']} --protocol-port 80")
        neutron("lbaas-l7policy-create --name p --listener test-lb-http --action REDIRECT_TO_POOL --redirect-pool other")
        neutron("lbaas-l7rule-create p --type PATH --compare-type STARTS_WITH --value /x")
        vip = show("lbaas-loadbalancer-show test-lb")["vip_address"]
        eventually(lambda: place.fetch(vip, "/x/y") == "web-3", place.patience, "the L7 policy does not choose the pool")
        neutron("lbaas-l7policy-update p --action REJECT")
        (rule,) = show("lbaas-l7rule-list p")
        neutron(f"lbaas-l7rule-update {rule['id']} p --value /z --invert-compare")
        assert show(f"lbaas-l7rule-show {rule['id']} p")["value"] == "/z"
        assert show("lbaas-l7policy-show p")["action"] == "REJECT"
        for name, count in (("loadbalancer", 1), ("listener", 2), ("pool", 3), ("healthmonitor", 2), ("l7policy", 1)):
            assert len(show(f"lbaas-{name}-list")) == count, name
        assert len(show("lbaas-member-list test-lb-pool-https")) == 2
        assert {one["name"] for one in show("service-provider-list")} >= {"amphora"}
        assert {"lbaasv2", "l7", "security-group"} <= {one["alias"] for one in show("ext-list")}
        assert show("ext-show lbaasv2")["alias"] == "lbaasv2"

        assert re.search("in use by", neutron.refused("lbaas-pool-delete test-lb-pool-http"))
        assert "has children" in neutron.refused("lbaas-loadbalancer-delete test-lb")
        neutron(f"lbaas-l7rule-delete {rule['id']} p")
        neutron("lbaas-l7policy-delete p")
        for name in ("http", "https"):
            neutron(f"lbaas-healthmonitor-delete test-lb-{name}-monitor")
            neutron(f"lbaas-member-delete test-lb-{name}-member-1 test-lb-pool-{name}")
            neutron(f"lbaas-pool-delete test-lb-pool-{name}")
            neutron(f"lbaas-listener-delete test-lb-{name}")
        neutron("lbaas-pool-delete other")
        eventually(lambda: neutron.run("lbaas-loadbalancer-delete test-lb").returncode == 0, place.patience, "its children do not go")
        eventually(lambda: show("lbaas-loadbalancer-list") == [], place.patience, "it does not go")
        self.operator(f"quota-delete --tenant-id {shown['tenant_id']}")
        assert self.operator.shown(f"quota-show --tenant-id {shown['tenant_id']}")["pool"] == -1
