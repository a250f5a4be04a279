"""A few reads of the network service's API, from our network driver, for clouds that have no such service.

`openstack loadbalancer create --vip-subnet-id ID` asks the network service whether the id exists before it asks us. In an embedded cloud
the client's only endpoint is ours, so `[api_settings] network_lookups` lets us answer that question, by id only.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import flask

from controller import exceptions
from controller.api import answers, current

blueprint = flask.Blueprint("network_lookups", __name__)


def _driver_call(collection: str) -> Callable[[str], Any]:
    network = current.services().network
    return {"subnets": network.get_subnet, "networks": network.get_network, "ports": network.get_port}[collection]


@blueprint.get("/<any(subnets, networks, ports):collection>")
def find(collection: str) -> flask.Response:
    """The object with this `id`, as a list of one or none."""
    wanted = flask.request.args.get("id")
    found = []
    if wanted is not None:
        with contextlib.suppress(exceptions.NotFound):  # an empty list says so
            found.append(_view(_driver_call(collection)(wanted)))
    return answers.json({collection: found})


@blueprint.get("/<any(subnets, networks, ports):collection>/<object_id>")
def get(collection: str, object_id: str) -> flask.Response:
    """One."""
    return answers.json({collection.removesuffix("s"): _view(_driver_call(collection)(object_id))})


def _view(noun: Any) -> dict[str, Any]:
    shown = dataclasses.asdict(noun)
    shown.pop("attachment", None)
    return shown
