"""/loadbalancers/{id}/events: what happened to a load balancer, the newest first. Not part of the compatible API."""

from __future__ import annotations

import dataclasses

import flask

from controller.api import current, paging
from controller.db.repositories import paging as rows
from controller.resources.event import SCHEMA

blueprint = flask.Blueprint("events", __name__)

_NEWEST_FIRST = (rows.Order("id", descending=True),)


@blueprint.get("/loadbalancers/<load_balancer_id>/events")
def list_events(load_balancer_id: str) -> flask.Response:
    """List what happened to a load balancer and its amphorae.

    Requests, failures with the time of the next try, recoveries and failovers, also of a load balancer that has been deleted.
    """
    asked = paging.asked(SCHEMA, fixed=[rows.Filter("load_balancer_id", load_balancer_id)])
    if not asked.query.order:
        asked = dataclasses.replace(asked, query=dataclasses.replace(asked.query, order=_NEWEST_FIRST))
    with current.services().db.read() as tx:
        current.authorize("loadbalancer:get_events", tx.faults.project_of(load_balancer_id))
        found = tx.faults.page(asked.query)
    return asked.answer(found)
