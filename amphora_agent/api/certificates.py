"""Certificates come ahead of the wanted state that names them."""

from __future__ import annotations

import uuid

import flask
from flask.typing import ResponseReturnValue

from amphora_agent import load_balancer


def blueprint(balancer: load_balancer.LoadBalancer) -> flask.Blueprint:
    """The route below a load balancer's `certificates`."""
    routes = flask.Blueprint("certificates", __name__)

    @routes.put("/load-balancers/<uuid:load_balancer_id>/certificates/<name>")
    def put_certificate(load_balancer_id: uuid.UUID, name: str) -> ResponseReturnValue:
        """Keep a PEM file whose name is its content's hash."""
        balancer.store_certificate(name, flask.request.get_data())
        return "", 204

    return routes
