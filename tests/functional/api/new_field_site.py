"""Run by `test_new_field.py` over a copy of the product in which a listener has one field more: what comes of it, as JSON."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import tempfile
from typing import Any

import controller
from controller import conf as configuration
from controller.db import migration, tables
from tests.functional.api import conftest
from tests.functional.api.lbaasv2.conftest import Old


def _in_the_api(api: conftest.Api) -> dict[str, Any]:
    parent = api.load_balancer()["id"]
    silent = api.listener(parent, protocol_port=80)
    loud = api.listener(parent, protocol_port=81, idle_limit=500)
    path = f"/listeners/{loud['id']}"
    wrong = {"listener": {"loadbalancer_id": parent, "protocol": "HTTP", "protocol_port": 82, "idle_limit": -2}}
    old = Old(api)
    api.settle()
    by_old_client = old.listener(parent, protocol_port=83, idle_limit=9)
    return {
        "silent": silent["idle_limit"],
        "created": loud["idle_limit"],
        "row": api.row(tables.listeners, loud["id"])["idle_limit"],
        "found": [one["protocol_port"] for one in api.ok("GET", "/listeners?idle_limit=500")["listeners"]],
        "sorted": [one["idle_limit"] for one in api.ok("GET", "/listeners?sort=idle_limit:desc")["listeners"]],
        "changed": api.ok("PUT", path, {"listener": {"idle_limit": 7}})["listener"]["idle_limit"],
        "shown": api.get("listener", path)["idle_limit"],
        "unset": api.ok("PUT", path, {"listener": {"idle_limit": None}})["listener"]["idle_limit"],
        "refused": api.refused(400, "POST", "/listeners", wrong),
        "lbaasv2": by_old_client.get("idle_limit"),
        "lbaasv2 found": [one["id"] for one in old.ok("GET", "/listeners?idle_limit=9")["listeners"]] == [by_old_client["id"]],
        "lbaasv2 refused": old.refused(400, "HTTPBadRequest", "POST", "/listeners", wrong),
    }


def _in_the_document(api: conftest.Api) -> dict[str, Any]:
    document = api.send("GET", "//openapi.json").get_json()
    shapes = document["components"]["schemas"]
    asked = document["paths"]["/v2/lbaas/listeners"]["get"]["parameters"]
    whole = shapes["loadbalancer_create"]["properties"]["listeners"]["items"]["properties"]
    return {name: shapes[name]["properties"]["idle_limit"] for name in ("listener", "listener_create", "listener_update")} | {
        "whole": whole["idle_limit"],
        "filter": [one["schema"] for one in asked if one["name"] == "idle_limit"],
    }


def _in_a_database_of_before(folder: str) -> dict[str, Any]:
    schema = migration.Schema(f"sqlite:///{folder}/before.db")
    schema.upgrade()
    written = pathlib.Path(schema.new_revision("a listener's rate limit")).read_text()
    schema.upgrade()
    added = [line.strip() for line in written.splitlines() if "add_column" in line]
    return {"added": added, "left": len(schema.differences())}


def main() -> None:
    """Print what the API, the document, a database and the configuration make of it."""
    with contextlib.redirect_stdout(sys.stderr), conftest.an_api() as api, tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"package": controller.__file__, "api": _in_the_api(api), "document": _in_the_document(api)}
        found["migration"] = _in_a_database_of_before(folder)
    listed: list[Any] = [option for group, options in configuration.list_opts() for option in options]
    options = [option for option in listed if option.name == "default_idle_limit"]
    found["options"] = [[option.type.min, option.type.max, option.default, option.help] for option in options]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
