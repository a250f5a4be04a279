"""`figlina-api` with a real Keystone before it, over real HTTP: who is let in, who may do what, and what happens while Keystone is away."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import openstack
import pytest
import requests

from tests.integration import keystone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # the first run installs Keystone, maybe on a busy machine

LISTENER = {"protocol": "HTTP", "protocol_port": 80}
POOL = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[keystone.Cloud]:
    """A Keystone and an API of this module."""
    made = keystone.build(tmp_path_factory.mktemp("cloud"))
    try:
        yield made
    finally:
        keystone.down(made)


@pytest.fixture(scope="module")
def red(cloud: keystone.Cloud) -> dict[str, Any]:
    """A load balancer of the project red, with a pool and a member."""
    body = {
        "name": "red-1",
        "vip_subnet_id": keystone.SUBNET,
        "pools": [{"name": "p", **POOL, "members": [{"address": "10.0.0.1", "protocol_port": 80}]}],
    }
    answer = cloud.ask("POST", "/loadbalancers", cloud.token("red-member"), {"loadbalancer": body})
    assert answer.status_code == 201, (answer.text, cloud.api.said())
    made: dict[str, Any] = answer.json()["loadbalancer"]
    assert made["project_id"] == cloud.projects["red"]
    return made


def _wait(status: int, ask: Any, within: float = 60) -> requests.Response:
    deadline = time.monotonic() + within
    while True:
        answer: requests.Response = ask()
        if answer.status_code == status or time.monotonic() > deadline:
            assert answer.status_code == status, answer.text
            return answer
        time.sleep(0.2)


def test_nobody_is_let_in_without_a_good_token(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    for token in (None, "nonsense", "gAAAAABnonsense", cloud.token("red-member")[:-4]):
        for method, path in (("GET", "/loadbalancers"), ("GET", f"/loadbalancers/{red['id']}"), ("POST", "/pools"), ("GET", "/no/such")):
            answer = cloud.ask(method, path, token)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{cloud.keystone_url}"'
            assert answer.json()["error"]["code"] == 401
            assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["x-openstack-request-id"])


def test_what_a_client_asks_first_needs_no_token(cloud: keystone.Cloud) -> None:
    for path in ("//", "//v2", "//v2.0/", "//v2/lbaas", "//v2.0/octavia", "//healthcheck"):
        assert cloud.ask("GET", path).status_code == 200
    assert cloud.ask("OPTIONS", "/loadbalancers").status_code == 200
    assert cloud.ask("GET", "//").json()["versions"][-1]["id"] == "v2.30"
    assert cloud.ask("POST", "//v2").status_code == 401


def test_headers_that_a_client_forges_count_for_nothing(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    forged = {
        "X_Identity_Status": "Confirmed",
        "X_Service_Identity_Status": "Confirmed",
        "X_Roles": "admin,member,load-balancer_admin",
        "X_Project_Id": cloud.projects["red"],
        "X_Tenant_Id": cloud.projects["red"],
        "X_User_Id": "somebody",
        "X_Is_Admin": "True",
        "OpenStack_System_Scope": "all",
    }
    one = f"/loadbalancers/{red['id']}"
    assert cloud.ask("GET", one, None, **forged).status_code == 401
    assert cloud.ask("GET", one, cloud.token("blue-member"), **forged).status_code == 403
    assert cloud.ask("PUT", one, cloud.token("red-reader"), {"loadbalancer": {}}, **forged).status_code == 403
    assert cloud.ask("GET", "//v2/octavia/amphorae", cloud.token("red-member"), **forged).status_code == 403
    mine = cloud.ask("GET", "/loadbalancers", cloud.token("blue-member"), **forged).json()
    assert mine["loadbalancers"] == []


@pytest.mark.parametrize(
    ("user", "may"),
    [
        ("red-member", "read write"),
        ("red-reader", "read"),
        ("red-observer", "read"),
        ("red-lb-member", "read write"),
        ("global-observer", "read list"),
        ("quota-admin", "quota"),
        ("lb-admin", "read write list quota admin"),
        ("admin", "read write list quota admin"),
        ("designate", "members"),
        ("stranger", ""),
        ("blue-member", ""),
    ],
)
def test_a_role_may_do_what_its_name_says(cloud: keystone.Cloud, red: dict[str, Any], user: str, may: str) -> None:
    one = f"/loadbalancers/{red['id']}"
    members = f"/pools/{red['pools'][0]['id']}/members"
    expected = {word: word in may.split() for word in ("read", "write", "list", "quota", "admin")}
    assert (cloud.status(user, "GET", one) == 200) == expected["read"]
    assert (cloud.status(user, "GET", members) == 200) == (expected["read"] or may == "members")
    assert (cloud.status(user, "PUT", one, {"loadbalancer": {"description": user}}) == 200) == expected["write"]
    assert (cloud.status(user, "PUT", f"/quotas/{cloud.projects['red']}", {"quota": {"pool": 9}}) == 202) == expected["quota"]
    assert (cloud.status(user, "GET", "//v2/octavia/amphorae") == 200) == expected["admin"]
    listed = cloud.ask("GET", f"/loadbalancers?project_id={cloud.projects['red']}", cloud.token(user))
    assert (listed.status_code == 200) == expected["read"]
    seen = cloud.ask("GET", "/loadbalancers", cloud.token(user))
    if expected["list"] or (expected["read"] and user.startswith("red")):
        assert [item["name"] for item in seen.json()["loadbalancers"]] == ["red-1"]
    else:
        assert seen.status_code == 403 or seen.json()["loadbalancers"] == []


def test_projects_know_nothing_of_each_other(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    token = cloud.token("blue-member")
    body = {"loadbalancer": {"name": "blue-1", "vip_subnet_id": keystone.SUBNET}}
    blue = cloud.ask("POST", "/loadbalancers", token, body).json()["loadbalancer"]
    theirs = red["pools"][0]["id"]
    answer = cloud.ask("POST", "/listeners", token, {"listener": {**LISTENER, "loadbalancer_id": blue["id"], "default_pool_id": theirs}})
    assert (answer.status_code, answer.json()["faultstring"]) == (404, f"Pool {theirs} not found.")
    answer = cloud.ask("GET", f"/pools/{theirs}", token)
    assert (answer.status_code, answer.json()["faultstring"]) == (403, "Policy does not allow this request to be performed.")
    foreign = {"loadbalancer": {"vip_subnet_id": keystone.SUBNET, "project_id": cloud.projects["red"]}}
    assert cloud.ask("POST", "/loadbalancers", token, foreign).status_code == 403
    assert cloud.ask("DELETE", f"/loadbalancers/{blue['id']}", token).status_code == 204


def test_the_system_may_what_the_administrator_may_and_a_domain_nothing(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    one = f"/loadbalancers/{red['id']}"
    system = cloud.new_token("admin", system_scope="all")
    assert cloud.ask("GET", one, system).status_code == 200
    assert cloud.ask("GET", "//v2/octavia/amphorae", system).status_code == 200
    assert cloud.ask("GET", one, cloud.new_token("admin", domain_id="default")).status_code == 403
    assert cloud.ask("GET", one, cloud.new_token("red-member", unscoped=True)).status_code == 403


def test_a_revoked_token_is_good_for_nothing(cloud: keystone.Cloud) -> None:
    unused, used = cloud.new_token("red-member"), cloud.new_token("red-member")
    assert cloud.ask("GET", "/pools", used).status_code == 200
    for token in (unused, used):
        gone = requests.delete(
            f"{cloud.keystone_url}/auth/tokens", headers={"X-Auth-Token": cloud.token("admin"), "X-Subject-Token": token}, timeout=30
        )
        assert gone.status_code == 204
    assert cloud.ask("GET", "/pools", unused).status_code == 401
    _wait(401, lambda: cloud.ask("GET", "/pools", used))  # after [keystone_authtoken] token_cache_time


def _application_credential(cloud: keystone.Cloud, **wanted: Any) -> str:
    """A token of a new application credential of red-member."""
    session = cloud.session("red-member")
    made = session.post(
        f"{cloud.keystone_url}/users/{session.get_user_id()}/application_credentials",
        json={"application_credential": {"name": str(time.monotonic()), **wanted}},
    ).json()["application_credential"]
    secret = {"id": made["id"], "secret": made["secret"]}
    identity: dict[str, Any] = {"methods": ["application_credential"], "application_credential": secret}
    answer = requests.post(f"{cloud.keystone_url}/auth/tokens", json={"auth": {"identity": identity}}, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"]


def test_an_expired_token_is_good_for_nothing_unless_a_service_passes_it_on(cloud: keystone.Cloud) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=20)
    token = _application_credential(cloud, expires_at=until.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    assert cloud.ask("GET", "/pools", token).status_code == 200
    _wait(401, lambda: cloud.ask("GET", "/pools", token))
    assert cloud.ask("GET", "/pools", cloud.token("red-member"), X_Service_Token="nonsense").status_code == 401
    assert cloud.ask("GET", "/pools", cloud.token("red-member"), X_Service_Token=cloud.token("designate")).status_code == 200
    assert cloud.ask("GET", "/pools", token, X_Service_Token=cloud.token("blue-member")).status_code == 401


def test_an_application_credential_opens_what_its_access_rules_say(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    rule = {"service": "load-balancer", "method": "GET", "path": "/v2.0/lbaas/pools/*"}
    token = _application_credential(cloud, access_rules=[rule])
    assert cloud.ask("GET", f"/pools/{red['pools'][0]['id']}", token).status_code == 200
    assert cloud.ask("GET", "/pools", token).status_code == 401
    assert cloud.ask("DELETE", f"/pools/{red['pools'][0]['id']}", token).status_code == 401


def test_a_changed_policy_file_counts_without_a_restart(cloud: keystone.Cloud) -> None:
    file = cloud.folder / "policy.yaml"
    try:
        file.write_text('"os_load-balancer_api:provider:get_all": "!"\n')
        _wait(403, lambda: cloud.ask("GET", "/providers", cloud.token("red-member")))
    finally:
        file.write_text("{}\n")
    _wait(200, lambda: cloud.ask("GET", "/providers", cloud.token("red-member")))


def _clouds_file(cloud: keystone.Cloud, folder: pathlib.Path) -> pathlib.Path:
    entry = {"auth": cloud.credentials("red-member"), "region_name": "RegionOne", "identity_api_version": 3}
    file = folder / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"red": entry}}))  # JSON is YAML
    return file


def test_the_sdk_finds_us_in_the_catalogue_and_walks(
    cloud: keystone.Cloud, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(_clouds_file(cloud, tmp_path)))
    balancing = openstack.connect(cloud="red").load_balancer
    made = balancing.create_load_balancer(name="by-sdk", vip_subnet_id=keystone.SUBNET)
    assert made.project_id == cloud.projects["red"]
    assert "by-sdk" in [item.name for item in balancing.load_balancers()]
    assert balancing.get_load_balancer(made.id).vip_address == made.vip_address
    assert balancing.update_load_balancer(made, description="walked").description == "walked"
    balancing.delete_load_balancer(made)
    assert balancing.get_load_balancer(made.id).provisioning_status == "PENDING_DELETE"


def test_the_command_line_client_finds_us_too(cloud: keystone.Cloud, red: dict[str, Any], tmp_path: pathlib.Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    environment = kept | {"OS_CLIENT_CONFIG_FILE": str(_clouds_file(cloud, tmp_path)), "OS_CLOUD": "red", "HOME": str(tmp_path)}
    program = pathlib.Path(sys.executable).with_name("openstack")
    command = [str(program), "loadbalancer", "list", "--name", red["name"], "-f", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, (done.stderr, cloud.api.said())
    assert [item["id"] for item in json.loads(done.stdout)] == [red["id"]]


def test_no_token_reaches_the_log(cloud: keystone.Cloud, red: dict[str, Any]) -> None:
    log = (cloud.folder / "api.log").read_text(errors="replace")
    assert red["id"] in log
    for user in ("red-member", "admin", "designate"):
        assert cloud.token(user) not in log
    assert keystone.PASSWORD not in log


def test_while_keystone_is_away_the_answer_is_503_and_then_all_is_well(cloud: keystone.Cloud) -> None:
    token = cloud.new_token("red-member")
    cloud.keystone.stop()
    try:
        before = time.monotonic()
        answer = cloud.ask("GET", "/pools", token)
        assert time.monotonic() - before < 30  # bounded; a second or two is usual
        assert answer.status_code == 503, answer.text
        said = answer.json()
        assert set(said) == {"faultcode", "faultstring", "debuginfo"}
        assert said["faultstring"] == "The identity service can't be asked who you are, so nothing was done. Please repeat the request."
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        assert cloud.ask("GET", "//v2").status_code == 200
        assert cloud.ask("GET", "/pools").status_code == 401
    finally:
        cloud.keystone.start()
    assert cloud.ask("GET", "/pools", token).status_code == 200
