"""What clients ask first: which versions there are, and whether anybody is at home."""

from __future__ import annotations

import flask
import werkzeug.exceptions

from controller.api import current, middleware

blueprint = flask.Blueprint("discovery", __name__)

MINOR_VERSIONS = {
    0: "2016-12-11T00:00:00Z",
    1: "2018-04-20T00:00:00Z",
    2: "2018-07-31T00:00:00Z",
    3: "2018-12-18T00:00:00Z",
    4: "2018-12-19T00:00:00Z",
    5: "2019-01-21T00:00:00Z",
    6: "2019-01-25T00:00:00Z",
    7: "2018-01-25T12:00:00Z",
    8: "2019-02-12T00:00:00Z",
    9: "2019-03-04T00:00:00Z",
    10: "2019-03-05T00:00:00Z",
    11: "2019-06-24T00:00:00Z",
    12: "2019-09-11T00:00:00Z",
    13: "2019-09-13T00:00:00Z",
    14: "2019-11-10T00:00:00Z",
    15: "2020-03-10T00:00:00Z",
    16: "2020-03-15T00:00:00Z",
    17: "2020-04-29T00:00:00Z",
    18: "2020-04-29T01:00:00Z",
    19: "2020-05-12T00:00:00Z",
    20: "2020-08-02T00:00:00Z",
    21: "2020-09-03T00:00:00Z",
    22: "2020-09-04T00:00:00Z",
    23: "2020-09-07T00:00:00Z",
    24: "2020-10-15T00:00:00Z",
    25: "2021-10-02T00:00:00Z",
    26: "2022-08-29T00:00:00Z",
    27: "2023-05-05T00:00:00Z",
    28: "2023-11-08T00:00:00Z",
    29: "2024-10-15T00:00:00Z",
    30: "2025-02-26T00:00:00Z",
}
"""When each minor version appeared. Clients take the last one for the one that runs, and send what it announces."""


@blueprint.get("/")
def list_versions() -> flask.Response:
    """All minor versions; every one is served at the same address."""
    link = {"href": f"{current.base_url()}/v2", "rel": "self"}
    newest = max(MINOR_VERSIONS)
    versions = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == newest else "SUPPORTED", "updated": updated, "links": [link]}
        for minor, updated in MINOR_VERSIONS.items()
    ]
    return current.json({"versions": versions})


@blueprint.get("/v2")
@blueprint.get("/v2/octavia")
def name_version() -> flask.Response:
    """Tell which version of the API is served here."""
    return current.json("v2")


@blueprint.route("/healthcheck", methods=["GET", "HEAD"])
def check_health() -> flask.Response:
    """For load balancers before the API: 200 while the process answers."""
    if not current.settings().healthcheck_enabled:
        raise werkzeug.exceptions.NotFound
    return middleware.check_health()
