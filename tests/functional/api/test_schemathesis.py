"""Requests made from the OpenAPI document, good and bad ones: no answer is a fault of the server, and all are as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi import checks

from controller.api import openapi, operations
from tests.functional.api.conftest import PROJECT, an_api
from tests.functional.api.test_routes import World

EXAMPLES = 4
"""For each operation, of good and of bad requests each; more: `--hypothesis-seed` and patience."""
CHECKS = [checks.response_schema_conformance, checks.status_code_conformance, checks.content_type_conformance]
IDS = {
    "loadbalancer_id": "load_balancer", "load_balancer_id": "load_balancer", "listener_id": "listener", "default_pool_id": "pool",
    "redirect_pool_id": "pool", "pool_id": "pool", "member_id": "member", "monitor_id": "monitor", "policy_id": "policy",
    "l7policy_id": "policy", "rule_id": "rule", "flavor_id": "flavor", "flavor_profile_id": "flavor_profile", "amphora_id": "amphora",
    "availability_zone_profile_id": "zone_profile", "availability_zone_name": "zone", "availability_zone": "zone",
}  # fmt: skip
PLAIN = {
    "project_id": PROJECT, "provider": "amphora", "provider_name": "amphora", "flavor_data": "{}", "availability_zone_data": "{}",
    "vip_port_id": None, "vip_network_id": None, "vip_address": None,
}  # fmt: skip
"""What would be wrong nearly always if it were left to chance."""
OPERATIONS = sorted(operations.catalogue(), key=lambda operation: (operation[0] == "DELETE", -len(operation[1]), operation))
"""Those that delete come last, and children before their parents."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    options = {("api_settings", "noauth_project_id"): PROJECT}
    with an_api(options) as made:
        yield World(made)


@pytest.fixture(scope="module")
def described(world: World) -> Any:
    config = schemathesis.Config.from_dict({"generation": {"deterministic": True, "database": "none"}})
    return schemathesis.openapi.from_wsgi("/openapi.json", world.api.app, config=config)


@pytest.fixture(scope="module")
def ids(world: World) -> dict[str, Any]:
    """What stands for the ids of a generated request, or nothing would ever be found."""
    kinds = set(IDS.values())
    found = {name: world.shared[name] if name in world.shared else world.fresh(name) for name in kinds}
    return {name: found[kind] for name, kind in IDS.items()} | {"vip_subnet_id": world.api.network.subnet_id, **PLAIN}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_generated_requests_are_answered_as_the_document_says(described: Any, ids: dict[str, str], method: str, path: str) -> None:
    public = next(shown for shown in described.raw_schema["paths"] if openapi.blank(shown) == openapi.blank(openapi.public(path)))
    operation = described[public][method]
    modes = [mode for mode in schemathesis.GenerationMode if mode.is_positive or operation.body or operation.query]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @hypothesis.given(case=cases)
    @hypothesis.settings(
        max_examples=EXAMPLES * len(modes),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    def answered(case: Any) -> None:
        _name_what_exists(case, ids)
        answer = case.call()
        assert answer.status_code < 500 or answer.status_code == 501, (method, path, case.body, answer.text)
        case.validate_response(answer, checks=CHECKS)

    answered()


def _name_what_exists(case: Any, ids: dict[str, Any]) -> None:
    """Put ids of objects that exist where the request names others, or nothing would ever be found."""
    above = case.path.split("/")[3]
    for name in case.path_parameters or ():
        word = {"availabilityzoneprofiles": "availability_zone_profile_id", "flavorprofiles": "flavor_profile_id"}.get(above, name)
        case.path_parameters[name] = ids.get(word, case.path_parameters[name])
    if isinstance(case.body, dict):
        for inner in case.body.values():
            if isinstance(inner, dict):
                if case.path.endswith("/pools"):
                    inner["loadbalancer_id"] = inner.pop("listener_id", None)
                if case.path.endswith("/loadbalancers"):
                    inner["vip_subnet_id"] = None
                inner.update({name: ids[name] for name in inner.keys() & ids.keys()})
