"""Where the templates come from. They hold lines and loops; Python decides, and checks every value first (`safe.py`)."""

from __future__ import annotations

import functools
from typing import Any

import jinja2


@functools.cache
def _environment() -> jinja2.Environment:
    # What is written is no HTML: there is nothing to escape, and every value has passed `safe.py`.
    return jinja2.Environment(  # noqa: S701
        loader=jinja2.PackageLoader("controller.render"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def fill(template: str, **values: Any) -> str:
    """The text of a template with these values."""
    return _environment().get_template(template).render(**values)
