"""Keystone: who there is, in which projects and with which roles, their tokens, and the catalog."""

from __future__ import annotations

import datetime
import typing
import uuid
from typing import Any

import flask

from tests.simulated import documents

if typing.TYPE_CHECKING:
    from tests.simulated import SimulatedCloud

PASSWORD = "of-the-simulated-cloud"
"""Everybody's."""
PROJECT = "5e1fb00c5e1fb00c5e1fb00c5e1fb00c"
"""`service`, in which the user `figlina` is an administrator."""
TENANT = "7e2a27007e2a27007e2a27007e2a2700"
"""`tenants`, whose networks are used; the id of their user, too."""
_WORDS = {name: name[:-1] for name in ("roles", "services", "endpoints", "projects", "users", "domains")}
_PATHS = {"compute": "/compute/v2.1", "image": "/image", "network": "/network", "key-manager": "/key_manager", "identity": "/identity/v3"}
_DOMAIN = {"id": "default", "name": "Default"}
_REFUSED = "The request you have made requires authentication."


class Identity:
    """`token_lifetime` in seconds of what Keystone says; `revoke()` ends all tokens at once, as a Keystone that was changed does.

    `assigned` are (project, user, role).
    """

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.rows: dict[str, documents.Rows] = {name: {} for name in _WORDS}
        self.assigned: set[tuple[str, str, str]] = set()
        self.token_lifetime = 3600
        self.issued = 0
        self._tokens: dict[str, tuple[str, str]] = {}
        self.blueprint = flask.Blueprint("identity", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.get("/v3")(self._show_version)
        self.blueprint.post("/v3/auth/tokens")(self._authenticate)
        self.blueprint.get("/v3/auth/tokens")(self._prove)
        assignment = "/v3/projects/<project>/users/<user>/roles/<role>"
        self.blueprint.add_url_rule(assignment, view_func=self._assign, methods=["HEAD", "PUT"])
        for name, word in _WORDS.items():
            documents.Documents(self, name, word, unique=name in ("roles", "projects", "users")).serve(self.blueprint, f"/v3/{name}")

    def furnish(self) -> None:
        """Users, projects and roles, and where the services are."""
        add = self.cloud.add
        add("domains", **_DOMAIN)
        for role in ("admin", "member", "reader", "service"):
            add("roles", name=role)
        for project_id, project in ((PROJECT, "service"), (TENANT, "tenants"), (uuid.uuid4().hex, "admin"), (uuid.uuid4().hex, "red")):
            add("projects", id=project_id, name=project, domain_id="default")
        for user, user_id in (("figlina", "f19112af19112a"), ("tenant", TENANT), ("admin", uuid.uuid4().hex), ("red", uuid.uuid4().hex)):
            add("users", id=user_id, name=user, domain_id="default", password=PASSWORD)
        for project, user, role in (
            ("service", "figlina", "admin"),
            ("service", "figlina", "service"),
            ("tenants", "tenant", "member"),
            ("admin", "admin", "admin"),
            ("red", "red", "member"),
        ):
            named = self.cloud.named
            self.assigned.add((named("projects", project)["id"], named("users", user)["id"], named("roles", role)["id"]))
        for kind, path in _PATHS.items():
            self.offer(kind, path)

    def offer(self, kind: str, path: str) -> None:
        """Another service in the catalog."""
        service, url = self.cloud.add("services", name=kind, type=kind), f"{self.cloud.url}{path}"
        self.cloud.add("endpoints", service_id=service["id"], interface="public", region="R", region_id="R", url=url)

    def revoke(self) -> None:
        """No token is worth anything any more."""
        self._tokens.clear()

    def knows(self, token: str) -> bool:
        """Whether a service believes this token."""
        return token in self._tokens

    def project(self) -> str:
        """Of the request that is being served."""
        return self._tokens[flask.request.headers["X-Auth-Token"]][1]

    def is_admin(self) -> bool:
        """Whether an administrator has sent the request that is being served."""
        return "admin" in self.roles_of(*self._tokens[flask.request.headers["X-Auth-Token"]])

    def roles_of(self, user: str, project: str) -> list[str]:
        """Names of the roles."""
        return [self.rows["roles"][role]["name"] for where, who, role in self.assigned if (where, who) == (project, user)]

    def may_make(self, word: str) -> None:
        """:raises werkzeug.exceptions.HTTPException: the caller is no administrator."""
        if not self.is_admin():
            documents.abort(403, {"error": {"message": f"You are not authorized to perform identity:create_{word}", "title": "Forbidden"}})

    def made(self, word: str, row: documents.Row) -> documents.Row:
        """Keystone finds nothing that a client leaves out."""
        del word
        return row

    def shown(self, row: documents.Row) -> documents.Row:
        """No passwords."""
        return {name: value for name, value in row.items() if name != "password"}

    def _version(self) -> dict[str, object]:
        return {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": f"{self.cloud.url}/identity/v3/"}]}

    def _versions(self) -> dict[str, Any]:
        return {"versions": {"values": [self._version()]}}

    def _show_version(self) -> dict[str, Any]:
        return {"version": self._version()}

    def _authenticate(self) -> flask.Response:
        asked = flask.request.get_json()["auth"]
        given = asked["identity"]["password"]["user"]
        known = [one for one in self.rows["users"].values() if (one["name"], one["password"]) == (given["name"], given.get("password"))]
        if not known:
            flask.abort(401, _REFUSED)
        scope = asked.get("scope", {}).get("project", {}).get("name")
        token = uuid.uuid4().hex
        self._tokens[token] = known[0]["id"], self.cloud.named("projects", scope)["id"] if scope else ""
        self.issued += 1
        response = flask.jsonify({"token": self._document(*self._tokens[token])})
        response.status_code = 201
        response.headers["X-Subject-Token"] = token
        return response

    def _prove(self) -> dict[str, Any]:
        caller, where = self._tokens[flask.request.headers["X-Auth-Token"]]
        user, project = self._tokens[flask.request.headers["X-Subject-Token"]]
        if user != caller and not {"admin", "service"} & set(self.roles_of(caller, where)):
            documents.abort(403, {"error": {"message": "You are not authorized", "title": "Forbidden"}})
        return {"token": self._document(user, project)}

    def _document(self, user: str, project: str) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC)
        said: dict[str, Any] = {
            "methods": ["password"],
            "issued_at": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
            "expires_at": f"{now + datetime.timedelta(seconds=self.token_lifetime):%Y-%m-%dT%H:%M:%S.%fZ}",
            "user": {"id": user, "name": self.rows["users"][user]["name"], "domain": _DOMAIN},
        }
        if project:
            said["project"] = {"id": project, "name": self.rows["projects"][project]["name"], "domain": _DOMAIN}
            said["roles"] = [{"id": name, "name": name} for name in self.roles_of(user, project)]
            ends = list(self.rows["endpoints"].values())
            said["catalog"] = [
                {**one, "endpoints": [end for end in ends if end["service_id"] == one["id"]]} for one in self.rows["services"].values()
            ]
        return said

    def _assign(self, project: str, user: str, role: str) -> tuple[str, int]:
        if flask.request.method == "HEAD":
            return "", 204 if (project, user, role) in self.assigned else 404
        self.assigned.add((project, user, role))
        return "", 204
