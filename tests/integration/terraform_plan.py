"""A shop behind a load balancer with one of everything: planned, changed, stripped of all that can be unset, and destroyed."""

from __future__ import annotations

import dataclasses

from controller.dev.client import eventually
from tests.integration import habits
from tests.integration.site import Site
from tests.integration.terraform import Resource, Terraform

WEB = ("web-1", "web-2", "web-3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shop:
    """What is planned, outermost first."""

    balancer: Resource
    pool: Resource
    listener: Resource
    member: Resource
    monitor: Resource
    policy: Resource
    rule: Resource
    vip: str

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Innermost first, as they are deleted."""
        return self.rule, self.policy, self.monitor, self.member, self.listener, self.pool, self.balancer


def walk(site: Site, terraform: Terraform) -> None:
    """From nothing, over all that can be done to it, to nothing."""
    shop = create(site, terraform)
    eventually(lambda: habits.answers_of(site, shop.vip, [80]).get(80, "") in WEB, 60, "nobody answers on the VIP")
    change(site, terraform, shop)
    unset(terraform, shop)
    for resource in shop.resources:
        terraform.has_nothing_to_do(resource)
    for resource in shop.resources:
        terraform.delete(resource)


def create(site: Site, terraform: Terraform) -> Shop:
    """One of everything, with a value in every field."""
    balancer = terraform.load_balancer(name="main", description="shop", vip_subnet_id=site.subnet_id, admin_state_up=True, tags=["b", "a"])
    pool = terraform.create(
        "pool", "/pools", name="back", description="x", loadbalancer_id=balancer.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN",
        session_persistence={"type": "APP_COOKIE", "cookie_name": "session"}, admin_state_up=True, tags=["z", "y"],
    )  # fmt: skip
    listener = terraform.create(
        "listener", "/listeners", name="front", description="x", loadbalancer_id=balancer.id, protocol="HTTP", protocol_port=80,
        connection_limit=500, default_pool_id=pool.id, insert_headers={"X-Forwarded-For": "true"}, timeout_client_data=1000,
        timeout_member_connect=2000, timeout_member_data=3000, timeout_tcp_inspect=4, allowed_cidrs=["198.19.0.0/16", "10.0.0.0/8"],
        admin_state_up=True, tags=["t"],
    )  # fmt: skip
    one = {"address": site.web["web-1"], "protocol_port": 80, "name": "one", "subnet_id": site.subnet_id, "weight": 3, "backup": False}
    terraform.members(pool, one, one | {"address": site.web["web-2"], "name": "two"})
    member = terraform.create(
        "member", f"{pool.path}/members", address=site.web["web-3"], protocol_port=80, name="three", weight=1,
        monitor_address=site.web["web-3"], monitor_port=80, admin_state_up=True, tags=["m"],
    )  # fmt: skip
    monitor = terraform.create(
        "healthmonitor", "/healthmonitors", name="check", pool_id=pool.id, type="HTTP", delay=5, timeout=3, max_retries=2,
        max_retries_down=4, url_path="/health", http_method="HEAD", expected_codes="200, 204", http_version=1.1, domain_name="shop.example",
        admin_state_up=True,
    )  # fmt: skip
    policy = terraform.create(
        "l7policy", "/l7policies", name="away", description="x", listener_id=listener.id, action="REDIRECT_TO_POOL", position=1,
        redirect_pool_id=pool.id, admin_state_up=True,
    )  # fmt: skip
    rule = terraform.create(
        "rule", f"{policy.path}/rules", type="PATH", compare_type="STARTS_WITH", value="/x", invert=True, admin_state_up=True
    )
    vip = terraform.client.get("loadbalancer", balancer.path)["vip_address"]
    return Shop(balancer=balancer, pool=pool, listener=listener, member=member, monitor=monitor, policy=policy, rule=rule, vip=vip)


def change(site: Site, terraform: Terraform, shop: Shop) -> None:
    """Other values; and one member less."""
    terraform.update(shop.balancer, name="renamed", tags=["c"])
    terraform.update(shop.pool, lb_algorithm="LEAST_CONNECTIONS", session_persistence={"type": "SOURCE_IP"})
    terraform.update(shop.listener, connection_limit=600, timeout_client_data=5000, allowed_cidrs=["198.19.64.0/20"])
    watched = {"monitor_address": site.web["web-3"], "monitor_port": 80}
    terraform.members(
        shop.pool,
        {"address": site.web["web-1"], "protocol_port": 80, "weight": 0},
        {"address": site.web["web-3"], "protocol_port": 80, "weight": 9, **watched},
    )
    terraform.update(shop.member, weight=0, backup=True)
    terraform.update(shop.monitor, delay=9, expected_codes="200-299")
    terraform.update(shop.policy, action="REDIRECT_TO_URL", redirect_url="http://new.example/", redirect_pool_id="")
    terraform.update(shop.rule, value="/y", invert=False)


def unset(terraform: Terraform, shop: Shop) -> None:
    """Nothing in every field that can have nothing: typed languages send it as an empty string, an empty list or null."""
    terraform.update(shop.balancer, name="", description="", tags=[])
    terraform.update(shop.listener, name="", description="", insert_headers={}, allowed_cidrs=[], tags=[], default_tls_container_ref="")
    terraform.update(shop.listener, connection_limit=-1, default_pool_id="")
    terraform.update(shop.pool, name="", description="", session_persistence=None, tags=[], tls_container_ref="", ca_tls_container_ref="")
    terraform.update(shop.member, name="", monitor_address="", monitor_port=None, backup=False, tags=[])
    terraform.update(shop.monitor, name="", domain_name="", http_version=None)
    terraform.update(shop.policy, name="", description="", action="REJECT", redirect_url="")
