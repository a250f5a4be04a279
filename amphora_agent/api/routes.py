"""What changes an amphora, or shows what it serves (`protocol/rest.py` has the table)."""

from __future__ import annotations

import uuid

import flask
from flask.typing import ResponseReturnValue

from amphora_agent import configuration, identity, load_balancer
from amphora_agent.protocol import boot, rest


def blueprint(kept: configuration.Kept, own: identity.Identity, balancer: load_balancer.LoadBalancer) -> flask.Blueprint:
    """Routes over the agent's own configuration and certificate, and its load balancer."""
    routes = flask.Blueprint("routes", __name__)
    path = "/load-balancers/<uuid:load_balancer_id>"

    @routes.put(rest.CONFIG_PATH.removeprefix(rest.PREFIX))
    def put_config() -> ResponseReturnValue:
        """Live by another configuration from now on; what serves is not touched."""
        kept.replace(boot.AgentConfig.parse(flask.request.get_data()))
        return "", 204

    @routes.put(rest.IDENTITY_PATH.removeprefix(rest.PREFIX))
    def put_identity() -> ResponseReturnValue:
        """Serve with another certificate, and trust other roots, from the next connection on."""
        own.replace(boot.Identity.parse(flask.request.get_data()))
        return "", 204

    @routes.put(path)
    def put_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Bring HAProxy to the wanted state. If HAProxy refuses it, the old state goes on serving."""
        wanted = rest.WantedState.parse(flask.request.get_data())
        if wanted.load_balancer_id != str(load_balancer_id):
            raise rest.Malformed("the load balancer's id in the path is not the one in the body")
        return _json(balancer.apply(wanted))

    @routes.get(path)
    def get_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Tell what runs: generation and hash."""
        receipt = balancer.receipt(str(load_balancer_id))
        if receipt is None:
            flask.abort(404, f"load balancer {load_balancer_id} is not served here")
        return _json(receipt)

    @routes.delete(path)
    def delete_load_balancer(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Stop serving it."""
        balancer.remove(str(load_balancer_id))
        return "", 204

    @routes.put(f"{path}/certificates")
    def put_certificates(load_balancer_id: uuid.UUID) -> ResponseReturnValue:
        """Keep several: hundreds of requests would take longer than all that is done with them."""
        balancer.store_certificates(rest.parse_certificates(flask.request.get_data()))
        return "", 204

    @routes.put(f"{path}/certificates/<name>")
    def put_certificate(load_balancer_id: uuid.UUID, name: str) -> ResponseReturnValue:
        """Keep a PEM file whose name is its content's hash; it comes ahead of the wanted state that names it."""
        balancer.store_certificates({name: flask.request.get_data()})
        return "", 204

    return routes


def _json(receipt: rest.Receipt) -> ResponseReturnValue:
    return flask.Response(receipt.dump(), mimetype="application/json")
