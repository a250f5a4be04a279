"""Glance: images by their tag; they are made, uploaded and changed."""

from __future__ import annotations

import hashlib
import typing
import uuid
from typing import Any

import flask

from tests.simulated import documents, identity

if typing.TYPE_CHECKING:
    from tests.simulated import SimulatedCloud


class Images:
    """`rows` are Glance's documents by id, the oldest first; `files` what was uploaded, and `uploads` what was sent.

    So many of the next uploads are `refused` for their token, and so many bytes at the end of each are `lost`. Not every Glance
    `knows_sums` of its images.
    """

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.rows: documents.Rows = {}
        self.files: dict[str, bytes] = {}
        self.uploads: list[bytes] = []
        self.most_per_page = 1000
        self.refused = self.lost = 0
        self.knows_sums = True
        self.blueprint = flask.Blueprint("image", __name__)
        self.blueprint.get("/")(self._versions)
        self.blueprint.get("/v2/images")(self._list)
        self.blueprint.post("/v2/images")(self._create)
        self.blueprint.get("/v2/images/<image_id>")(self._image)
        self.blueprint.patch("/v2/images/<image_id>")(self._change)
        self.blueprint.delete("/v2/images/<image_id>")(self._delete)
        self.blueprint.put("/v2/images/<image_id>/file")(self._upload)
        self.blueprint.put("/v2/images/<image_id>/tags/<tag>")(self._tag)

    @property
    def images(self) -> list[dict[str, Any]]:
        """The oldest first."""
        return list(self.rows.values())

    def add(self, tag: str, *, owner: str = identity.PROJECT, status: str = "active") -> str:
        """Another image, newer than all others; its id."""
        return str(self.new({"name": tag, "tags": [tag], "owner": owner, "status": status})["id"])

    def new(self, values: dict[str, Any]) -> dict[str, Any]:
        """Put a document there."""
        plain: dict[str, Any] = {"id": str(uuid.uuid4()), "tags": [], "visibility": "shared"}
        plain |= {"size": None, "min_disk": 0, "virtual_size": None}
        row = {**plain, "created_at": f"2026-01-01T00:00:{len(self.rows):02d}Z", **values}
        self.rows[row["id"]] = row
        return row

    def remove(self, image_id: str) -> None:
        """As its owner."""
        del self.rows[image_id]

    def _versions(self) -> tuple[flask.Response, int]:
        links = [{"rel": "self", "href": f"{self.cloud.url}/image/v2/"}]
        return flask.jsonify({"versions": [{"id": "v2.15", "status": "CURRENT", "links": links}]}), 300

    def _list(self) -> dict[str, Any]:
        asked, who = flask.request.args, self.cloud.identity
        found = [
            one
            for one in self.rows.values()
            if set(asked.getlist("tag")) <= set(one["tags"])
            and all(one.get(name) == asked[name] for name in ("owner", "status", "name") if name in asked)
            and (who.is_admin() or one["visibility"] == "public" or one.get("owner") == who.project())
        ]
        key, _, direction = asked.get("sort", "created_at:desc").partition(":")
        found.sort(key=lambda one: str(one[key]), reverse=direction != "asc")
        if "marker" in asked:
            found = found[[one["id"] for one in found].index(asked["marker"]) + 1 :]
        most = min(self.most_per_page, int(asked.get("limit", 25)))
        more = {"next": f"/v2/images?marker={found[most - 1]['id']}"} if len(found) > most else {}
        return {"images": found[:most], "schema": "/v2/schemas/images", **more}

    def _create(self) -> tuple[dict[str, Any], int]:
        return self.new({"status": "queued", "owner": self.cloud.identity.project(), **flask.request.get_json()}), 201

    def _image(self, image_id: str) -> dict[str, Any]:
        if image_id not in self.rows:
            flask.abort(404, f"No image found with ID {image_id}")
        return self.rows[image_id]

    def _change(self, image_id: str) -> dict[str, Any]:
        row = self._image(image_id)
        row |= {one["path"][1:]: one["value"] for one in flask.request.get_json(force=True)}
        return row

    def _delete(self, image_id: str) -> tuple[str, int]:
        del self.rows[self._image(image_id)["id"]]
        return "", 204

    def _upload(self, image_id: str) -> tuple[str, int]:
        row, content = self._image(image_id), flask.request.get_data()
        if row["status"] != "queued":
            documents.abort(409, {"message": f"Image status transition from {row['status']} to saving is not allowed"})
        self.uploads.append(content)
        if self.refused:
            self.refused -= 1
            documents.abort(401, {"message": "The request you have made requires authentication."})
        self.files[image_id] = content = content[: len(content) - self.lost]
        sums = {"os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(content).hexdigest()} if self.knows_sums else {}
        row |= {"status": "active", "size": len(content), **sums}
        return "", 204

    def _tag(self, image_id: str, tag: str) -> tuple[str, int]:
        self._image(image_id)["tags"].append(tag)
        return "", 204
