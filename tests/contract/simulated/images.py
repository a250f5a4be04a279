"""Glance: images by their tag."""

from __future__ import annotations

import typing
import uuid
from typing import Any

import flask

from tests.contract.simulated import identity

if typing.TYPE_CHECKING:
    from tests.contract.simulated import SimulatedCloud


class Images:
    """`images` are Glance's documents, the oldest first."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.images: list[dict[str, Any]] = []
        self.blueprint = flask.Blueprint("image", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.get("/v2/images")(self._list)
        self.add("amphora")

    def add(self, tag: str, *, owner: str = identity.PROJECT, status: str = "active") -> str:
        """Another image, newer than all others; its id."""
        made = str(uuid.uuid4())
        created = f"2026-01-01T00:00:{len(self.images):02d}Z"
        self.images.append({"id": made, "name": tag, "tags": [tag], "owner": owner, "status": status, "created_at": created})
        return made

    def remove(self, image_id: str) -> None:
        """As its owner."""
        self.images = [one for one in self.images if one["id"] != image_id]

    def _versions(self) -> tuple[flask.Response, int]:
        links = [{"rel": "self", "href": f"{self.cloud.url}/image/v2/"}]
        return flask.jsonify({"versions": [{"id": "v2.15", "status": "CURRENT", "links": links}]}), 300

    def _list(self) -> flask.Response:
        asked = flask.request.args
        found = [
            one
            for one in self.images
            if set(asked.getlist("tag")) <= set(one["tags"])
            and all(one[name] == asked[name] for name in ("owner", "status", "name") if name in asked)
        ]
        key, _, direction = asked.get("sort", "created_at:desc").partition(":")
        found.sort(key=lambda one: str(one[key]), reverse=direction != "asc")
        return flask.jsonify({"images": found[: int(asked.get("limit", 25))], "schema": "/v2/schemas/images"})
