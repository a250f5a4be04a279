"""PUT, GET and DELETE of a load balancer's whole state."""

from __future__ import annotations

import uuid

import flask
from flask.typing import ResponseReturnValue

from amphora_agent import load_balancer
from amphora_agent.protocol import rest


def blueprint(balancer: load_balancer.LoadBalancer) -> flask.Blueprint:
    """Routes below `/load-balancers`."""
    routes = flask.Blueprint("load_balancers", __name__)

    @routes.put("/load-balancers/<uuid:load_balancer_id>")
    def put_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Bring HAProxy to the wanted state. If HAProxy refuses it, the old state goes on serving."""
        wanted = rest.WantedState.parse(flask.request.get_data())
        if wanted.load_balancer_id != str(load_balancer_id):
            raise rest.Malformed("the load balancer's id in the path is not the one in the body")
        return _json(balancer.apply(wanted))

    @routes.get("/load-balancers/<uuid:load_balancer_id>")
    def get_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Tell what runs: generation and hash."""
        receipt = balancer.receipt(str(load_balancer_id))
        if receipt is None:
            flask.abort(404, f"load balancer {load_balancer_id} is not served here")
        return _json(receipt)

    @routes.delete("/load-balancers/<uuid:load_balancer_id>")
    def delete_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Stop serving it."""
        balancer.remove(str(load_balancer_id))
        return "", 204

    return routes


def _json(receipt: rest.Receipt) -> ResponseReturnValue:
    return flask.Response(receipt.dump(), mimetype="application/json")
