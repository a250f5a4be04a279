"""Barbican: secrets, containers, who may read them, and who uses them, as release 2022.2 was seen to behave."""

from __future__ import annotations

import base64
import typing
import uuid
from typing import Any

import flask

from tests.simulated import identity

if typing.TYPE_CHECKING:
    from tests.simulated import SimulatedCloud

USER = "f19112af19112a"
"""Of the service project, as its token says; a tenant's user has the id of its project."""


class KeyManager:
    """`things` are secrets and containers by their path; `payloads` what secrets hold."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.things: dict[str, dict[str, Any]] = {}
        self.payloads: dict[str, bytes] = {}
        self.blueprint = flask.Blueprint("key_manager", __name__)
        route = self.blueprint.route
        route("/", methods=["GET"])(self._versions)
        route("/v1/<kind>", methods=["POST"])(self._make)
        route("/v1/<kind>/<thing>", methods=["GET", "DELETE"])(self._one)
        route("/v1/secrets/<thing>/payload", methods=["GET"])(self._payload)
        route("/v1/<kind>/<thing>/acl", methods=["GET", "PUT"])(self._acl)
        route("/v1/<kind>/<thing>/consumers", methods=["POST", "DELETE"])(self._consumers)

    def consumers(self, reference: str) -> list[Any]:
        """Those that a secret or container has."""
        return list(self.things[reference.rpartition("/v1/")[2]]["consumers"])

    def _versions(self) -> tuple[dict[str, Any], int]:
        links = [{"rel": "self", "href": f"{self.cloud.url}/key_manager/v1/"}]
        return {"versions": [{"id": "v1", "status": "CURRENT", "links": links, "max_version": "1.1", "min_version": "1.0"}]}, 300

    def _make(self, kind: str) -> tuple[dict[str, Any], int]:
        asked, path = flask.request.get_json(), f"{kind}/{uuid.uuid4()}"
        if "payload" in asked:
            coded = asked.pop("payload")
            is_base64 = asked.get("payload_content_encoding") == "base64"
            self.payloads[path] = base64.b64decode(coded) if is_base64 else coded.encode()
        self.things[path] = {**asked, "owner": self.cloud.identity.project(), "acl": {"project-access": True}, "consumers": []}
        return {f"{kind[:-1]}_ref": f"{self.cloud.url}/key_manager/v1/{path}"}, 201

    def _find(self, path: str) -> dict[str, Any]:
        found = self.things.get(path)
        if found is None:
            flask.abort(404, "Secret not found.")
        project = self.cloud.identity.project()
        user = project if project == identity.TENANT else USER
        if project != found["owner"] and user not in found["acl"].get("users", ()):
            flask.abort(403, "Secret retrieval attempt not allowed - please review your user/project privileges")
        return found

    def _one(self, kind: str, thing: str) -> Any:
        path = f"{kind}/{thing}"
        found = self._find(path)
        if flask.request.method == "DELETE":
            del self.things[path]
            return "", 204
        return {name: value for name, value in found.items() if name not in ("owner", "acl")}

    def _payload(self, thing: str) -> flask.Response:
        self._find(f"secrets/{thing}")
        return flask.Response(self.payloads[f"secrets/{thing}"], content_type="application/octet-stream")

    def _acl(self, kind: str, thing: str) -> Any:
        found = self._find(f"{kind}/{thing}")
        if found["owner"] != self.cloud.identity.project():
            flask.abort(403, "ACL(s) retrieval attempt not allowed - please review your user/project privileges")
        if flask.request.method == "PUT":
            found["acl"] = flask.request.get_json()["read"]
        return {"read": found["acl"]}

    def _consumers(self, kind: str, thing: str) -> Any:
        found = self._find(f"{kind}/{thing}")
        asked = flask.request.get_json()
        if kind == "secrets" and flask.request.headers.get("OpenStack-API-Version") != "key-manager 1.1":
            flask.abort(404, "Not Found")
        if flask.request.method == "DELETE":
            if asked not in found["consumers"]:
                flask.abort(404, "Consumer not found.")
            found["consumers"].remove(asked)
        elif asked not in found["consumers"]:
            found["consumers"].append(asked)
        return {name: value for name, value in found.items() if name not in ("owner", "acl")}
