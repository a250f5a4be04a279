"""/availabilityzoneprofiles, for administrators."""

from __future__ import annotations

import flask

from controller.api import answers, current, paging
from controller.changes import profiles
from controller.resources.availability_zone import PROFILE

blueprint = flask.Blueprint("availability_zone_profiles", __name__)


@blueprint.get("/availabilityzoneprofiles")
def list_availability_zone_profiles() -> flask.Response:
    """List the profiles of availability zones."""
    current.authorize("availability-zone-profile:get_all", None)
    asked = paging.asked(PROFILE)
    with current.services().db.read() as tx:
        found = tx.availability_zone_profiles.page(asked.query)
    return asked.answer(found)


@blueprint.post("/availabilityzoneprofiles")
def create_availability_zone_profile() -> flask.Response:
    """Create a profile, which says what an availability zone means to a provider."""
    wanted = PROFILE.create(flask.request.get_data())
    return answers.one(PROFILE.name, PROFILE.view(profiles.create(current.asking(), profiles.AVAILABILITY_ZONE, wanted)), 201)


@blueprint.get("/availabilityzoneprofiles/<profile_id>")
def get_availability_zone_profile(profile_id: str) -> flask.Response:
    """Show a profile of availability zones."""
    current.authorize("availability-zone-profile:get_one", None)
    with current.services().db.read() as tx:
        found = tx.availability_zone_profiles.get(profile_id)
    return answers.one(PROFILE.name, PROFILE.view(found))


@blueprint.put("/availabilityzoneprofiles/<profile_id>")
def update_availability_zone_profile(profile_id: str) -> flask.Response:
    """Change a profile of availability zones."""
    values = PROFILE.update(flask.request.get_data())
    return answers.one(PROFILE.name, PROFILE.view(profiles.update(current.asking(), profiles.AVAILABILITY_ZONE, profile_id, values)))


@blueprint.delete("/availabilityzoneprofiles/<profile_id>")
def delete_availability_zone_profile(profile_id: str) -> flask.Response:
    """Delete a profile that no availability zone uses."""
    profiles.delete(current.asking(), profiles.AVAILABILITY_ZONE, profile_id)
    return answers.empty(204)
