"""The API of LBaaS v2, over the same application as the first one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.api.conftest import Api


class Old:
    """A client of LBaaS v2; `api` is one of the first API, over the same rows."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send a request below /network/v2.0/lbaas, or to another path of /network, if it starts with `//`; the answer."""
        url = f"//network{path[1:]}" if path.startswith("//") else f"//network/v2.0/lbaas{path}"
        return self.api.send(method, url, body, headers)

    def ok(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a request that must be answered with this status; the JSON of the answer."""
        answer = self.send(method, path, body)
        assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
        return answer.get_json() if answer.data else None

    def refused(self, status: int, kind: str, method: str, path: str, body: Any = None) -> str:
        """Send a request that must be refused with this status and type; the sentence."""
        answer = self.send(method, path, body)
        assert answer.status_code == status, (method, path, answer.status_code, answer.get_data(as_text=True))
        said = answer.get_json()
        assert set(said) == {"NeutronError"}
        assert set(said["NeutronError"]) == {"type", "message", "detail"}
        assert said["NeutronError"]["type"] == kind, said
        return str(said["NeutronError"]["message"])

    def create(self, key: str, path: str, **fields: Any) -> Any:
        """POST an object; the object of the answer."""
        return self.ok("POST", path, {key: fields}, 201)[key]

    def load_balancer(self, **fields: Any) -> Any:
        """A new load balancer."""
        return self.create("loadbalancer", "/loadbalancers", **({"name": "lb-1", "vip_subnet_id": self.api.network.subnet_id} | fields))

    def listener(self, load_balancer_id: str, **fields: Any) -> Any:
        """A new HTTP listener on port 80."""
        return self.create(
            "listener", "/listeners", **({"loadbalancer_id": load_balancer_id, "protocol": "HTTP", "protocol_port": 80} | fields)
        )

    def pool(self, **fields: Any) -> Any:
        """A new HTTP pool, round robin."""
        return self.create("pool", "/pools", **({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | fields))

    def member(self, pool_id: str, **fields: Any) -> Any:
        """A new member."""
        return self.create("member", f"/pools/{pool_id}/members", **self.member_fields(**fields))

    def member_fields(self, address: str = "10.0.0.1", **fields: Any) -> dict[str, Any]:
        """What a member needs."""
        return {"address": address, "protocol_port": 80, "subnet_id": self.api.network.subnet_id} | fields

    def monitor(self, pool_id: str, **fields: Any) -> Any:
        """A new HTTP monitor, as the user's guide makes it."""
        wanted = {"pool_id": pool_id, "type": "HTTP", "delay": 5, "timeout": 10, "max_retries": 2} | fields
        return self.create("healthmonitor", "/healthmonitors", **wanted)


@pytest.fixture
def old(api: Api) -> Old:
    """LBaaS v2 with default options."""
    return Old(api)
