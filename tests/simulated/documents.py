"""Collections of plain documents: what is listed, shown, made, changed and deleted without any meaning of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import flask

Row = dict[str, Any]
Rows = dict[str, Row]


class Service(Protocol):
    """Whose documents they are."""

    rows: dict[str, Rows]

    def may_make(self, word: str) -> None:
        """:raises werkzeug.exceptions.HTTPException: the caller may not."""

    def made(self, word: str, row: Row) -> Row:
        """A new one, with what the service finds by itself."""

    def shown(self, row: Row) -> Row:
        """As clients see it."""


class Documents:
    """One collection. `unique`: there can't be two of a name; `wrapped`: each of a list stands below its word, as Nova's key pairs do;
    `page`: how many are told at once.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        word: str,
        *,
        unique: bool = False,
        wrapped: bool = False,
        plural: str | None = None,
        page: Callable[[], int] | None = None,
    ) -> None:
        self._service = service
        self._name, self._word, self._plural = name, word, plural or name
        self._unique, self._wrapped, self._page = unique, wrapped, page

    def serve(self, blueprint: flask.Blueprint, path: str) -> None:
        """Add the routes."""
        blueprint.add_url_rule(path, f"list-{self._name}", self._list, methods=["GET"])
        blueprint.add_url_rule(f"{path}/detail", f"detail-{self._name}", self._list, methods=["GET"])
        blueprint.add_url_rule(path, f"create-{self._name}", self._create, methods=["POST"])
        for method, view in (("GET", self._show), ("DELETE", self._delete)):
            blueprint.add_url_rule(f"{path}/<object_id>", f"{method}-{self._name}", view, methods=[method])

    def find(self, object_id: str) -> Row:
        """By its id, or where names are ids, by its name.

        :raises werkzeug.exceptions.HTTPException: there is none.
        """
        rows = self._service.rows[self._name]
        found = rows.get(object_id) or next((one for one in rows.values() if self._wrapped and one["name"] == object_id), None)
        if found is None:
            abort(404, {"itemNotFound": {"message": f"{self._word} {object_id} could not be found.", "code": 404}})
        return found

    def _list(self) -> Row:
        found = [self._service.shown(one) for one in self._service.rows[self._name].values() if fits(one)]
        more: Row = {}
        if self._page is not None:
            ids, most = [one["id"] for one in found], self._page()
            first = ids.index(flask.request.args["marker"]) + 1 if "marker" in flask.request.args else 0
            more = {f"{self._plural}_links": [{"rel": "next", "href": ids[first + most - 1]}]} if first + most < len(ids) else {}
            found = found[first : first + most]
        return {self._plural: [{self._word: one} for one in found] if self._wrapped else found} | more

    def _show(self, object_id: str) -> Row:
        return {self._word: self._service.shown(self.find(object_id))}

    def _create(self) -> tuple[Row, int]:
        self._service.may_make(self._word)
        wanted = flask.request.get_json()[self._word]
        rows = self._service.rows[self._name]
        if self._unique and any(one["name"] == wanted["name"] for one in rows.values()):
            abort(409, {"conflictingRequest": {"message": f"{self._word} {wanted['name']} already exists", "code": 409}})
        row = self._service.made(self._word, {"id": uuid.uuid4().hex, **wanted})
        rows[row["id"]] = row
        return {self._word: self._service.shown(row)}, 201

    def _delete(self, object_id: str) -> tuple[str, int]:
        del self._service.rows[self._name][self.find(object_id)["id"]]
        return "", 204


def fits(row: Row) -> bool:
    """Whether a document is what the query asks for, as far as it has what that names."""
    return all(str(row[name]) == value for name, value in flask.request.args.items() if name in row)


def abort(status: int, body: object) -> NoReturn:
    """End the request with this answer."""
    response = flask.jsonify(body)
    response.status_code = status
    flask.abort(response)
