"""Keystone: tokens for one user, and the catalog."""

from __future__ import annotations

import datetime
import typing
import uuid

import flask

if typing.TYPE_CHECKING:
    from tests.contract.simulated import SimulatedCloud

PASSWORD = "of-the-simulated-cloud"
PROJECT = "5e1fb00c5e1fb00c5e1fb00c5e1fb00c"
TENANT = "7e2a27007e2a27007e2a27007e2a2700"
"""Of users, whose networks are used; their token is `token-of-the-tenant`."""
_ENDPOINTS = {
    "identity": "/identity/v3",
    "compute": "/compute/v2.1",
    "image": "/image",
    "network": "/network",
    "key-manager": "/key_manager",
}


class Identity:
    """`token_lifetime` in seconds of what Keystone says; `revoke()` ends all tokens at once, as a Keystone that was changed does."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.services = dict(_ENDPOINTS)
        self.token_lifetime = 3600
        self.issued = 0
        self._tokens: dict[str, str] = {"token-of-the-tenant": TENANT}
        self.blueprint = flask.Blueprint("identity", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.get("/v3")(lambda: flask.jsonify({"version": self._version()}))
        self.blueprint.post("/v3/auth/tokens")(self._authenticate)

    def revoke(self) -> None:
        """No token of ours is worth anything any more."""
        self._tokens = {token: project for token, project in self._tokens.items() if project == TENANT}

    def knows(self, token: str) -> bool:
        """Whether a service believes this token."""
        return token in self._tokens

    def project(self) -> str:
        """Of the request that is being served."""
        return self._tokens[flask.request.headers["X-Auth-Token"]]

    def _version(self) -> dict[str, object]:
        return {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.cloud.url}/identity/v3/"}]}

    def _versions(self) -> flask.Response:
        return flask.jsonify({"versions": {"values": [self._version()]}})

    def _authenticate(self) -> flask.Response:
        asked = flask.request.get_json()["auth"]
        if asked["identity"]["password"]["user"].get("password") != PASSWORD:
            flask.abort(401, "The request you have made requires authentication.")
        token, now = uuid.uuid4().hex, datetime.datetime.now(datetime.UTC)
        scope = asked["scope"]["project"]["name"]
        self._tokens[token] = {"service": PROJECT, "tenants": TENANT}[scope]
        self.issued += 1
        domain = {"id": "default", "name": "Default"}
        document = {
            "methods": ["password"],
            "issued_at": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
            "expires_at": f"{now + datetime.timedelta(seconds=self.token_lifetime):%Y-%m-%dT%H:%M:%S.%fZ}",
            "user": {"id": "f19112af19112a", "name": "figlina", "domain": domain},
            "project": {"id": self._tokens[token], "name": scope, "domain": domain},
            "roles": [{"id": "r-1", "name": "admin"}, {"id": "r-2", "name": "service"}],
            "catalog": [
                {
                    "type": kind,
                    "name": kind,
                    "id": f"service-{kind}",
                    "endpoints": [
                        {"interface": "public", "region": "R", "region_id": "R", "id": f"e-{kind}", "url": f"{self.cloud.url}{path}"}
                    ],
                }
                for kind, path in self.services.items()
            ],
        }
        response = flask.jsonify({"token": document})
        response.status_code = 201
        response.headers["X-Subject-Token"] = token
        return response
