"""A cloud whose services break: each call that a load balancer's life needs fails once, in each way; everything comes to a good end."""

from __future__ import annotations

import pytest

from controller.dev import client
from controller.dev.client import eventually
from tests.cloud import inventory
from tests.cloud.site import BOOT, Site

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(1800)]


class Once:
    """Breaks the first call of each shape, in turn by each of some ways."""

    def __init__(self, *ways: str, writes_only: bool) -> None:
        self._ways = ways
        self._writes_only = writes_only
        self.broken: dict[str, str] = {}

    def __call__(self, service: str, method: str, path: str) -> str | None:
        versioned = path.partition("?")[0].strip("/").split("/")  # such as v2.0/ports/ID
        shape = f"{service} {method} {'/'.join(versioned[1:2]) or 'versions'}"
        if shape in self.broken or (self._writes_only and method == "GET"):
            return None
        self.broken[shape] = way = self._ways[len(self.broken) % len(self._ways)]
        return way


@pytest.mark.parametrize(
    ("ways", "writes_only"), [(("500",), False), (("503", "reset"), False), (("lost",), True)], ids=["500", "503-reset", "lost-answers"]
)
def test_every_call_fails_once(site: Site, ways: tuple[str, ...], writes_only: bool) -> None:
    before = inventory.of(site.users.admin)
    network = site.users.tenant.network.get_network(site.network("private"))
    fault = Once(*ways, writes_only=writes_only)
    with site.proxy.breaking(fault) as broken:
        made = _created(site, network.subnet_ids[0])
        site.active(made["id"], 2 * BOOT)
        (lost,) = site.amphorae(made["id"])
        site.admin_api.put(f"/loadbalancers/{made['id']}/failover")
        eventually(
            lambda: [(one["status"], one["id"] != lost["id"]) for one in site.amphorae(made["id"])] == [("ALLOCATED", True)],
            2 * BOOT,
            lambda: f"it was not failed over: {site.show(made['id'])}",
            1,
        )
        site.active(made["id"])
        site.delete(made["id"], 2 * BOOT)
        assert broken() > 3, fault.broken
    print(f"\nbroken: {fault.broken}")

    def left() -> dict[str, list[str]]:
        return inventory.left(before, inventory.of(site.users.admin))

    eventually(lambda: not left(), 180, lambda: f"left in the cloud: {left()}", 1)


def _created(site: Site, subnet_id: str) -> dict[str, str]:
    """The API itself asks the network service: it may answer 503 then, and its client asks again."""
    found: list[dict[str, str]] = []

    def accepted() -> bool:
        try:
            found.append(site.create(subnet_id, []))
        except client.ApiError as error:
            if error.status != 503:
                raise
            return False
        return True

    eventually(accepted, 120, "no create was accepted", 1)
    return found[0]
