"""The part of the Networking API that clients of load balancers need, answered by the embedded network."""

import flask

from controller import exceptions
from controller.api.networking import routes


def register(app: flask.Flask, network: object, prefix: str, *, extensions: bool = True) -> None:
    """Have an application answer it below a prefix; the list of `extensions` too, unless the application has its own.

    :raises Misconfigured: the network driver has nothing to answer with.
    """
    if not routes.offered(network):
        raise exceptions.Misconfigured("[api_settings] embedded_networking: the network_driver that is configured has no Networking API")
    app.register_blueprint(routes.blueprint, url_prefix=prefix)
    if extensions:
        app.register_blueprint(routes.extensions, url_prefix=prefix)
