"""Switches in the query string."""

from __future__ import annotations

import flask

from controller.resources import declare, kinds


def boolean(name: str) -> bool:
    """A switch that is off unless it is given.

    :raises InvalidRequest: it is neither on nor off.
    """
    word = flask.request.args.get(name)
    if word is None:
        return False
    try:
        return kinds.boolean(word)
    except kinds.Reject as reason:
        raise declare.invalid(name, word, str(reason)) from None
