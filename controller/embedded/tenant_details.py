"""The columns of documents that nothing but their readers need: one JSON text per row."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from controller.embedded.inventory import Contents, now


def new_id() -> str:
    """For a row that is to come."""
    return str(uuid.uuid4())


def born(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The details of a new row: these of the values, where they were given."""
    return json.dumps({**{name: values[name] for name in names if name in values}, "created_at": now()})


def change(contents: Contents, table: str, object_id: str, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Replace these of the values in a row's details, and note that it changed."""
    (text,) = contents.db.execute(f"SELECT details FROM {table} WHERE id = ?", (object_id,)).fetchone()  # noqa: S608
    details = json.loads(text)
    details.update({name: values[name] for name in names if name in values})
    details.update(updated_at=now(), revision_number=details.get("revision_number", 0) + 1)
    contents.db.execute(f"UPDATE {table} SET details = ? WHERE id = ?", (json.dumps(details), object_id))  # noqa: S608


def set_columns(contents: Contents, table: str, object_id: str, values: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Replace these of the values in a row's columns."""
    for name in names:
        if name in values:
            contents.db.execute(f"UPDATE {table} SET {name} = ? WHERE id = ?", (values[name], object_id))  # noqa: S608
