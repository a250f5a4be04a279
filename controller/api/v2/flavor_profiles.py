"""/flavorprofiles, for administrators."""

from __future__ import annotations

import flask

from controller.api import answers, current, paging
from controller.changes import profiles
from controller.resources.flavor import PROFILE

blueprint = flask.Blueprint("flavor_profiles", __name__)


@blueprint.get("/flavorprofiles")
def list_flavor_profiles() -> flask.Response:
    """List the profiles of flavors."""
    current.authorize("flavor-profile:get_all", None)
    asked = paging.asked(PROFILE)
    with current.services().db.read() as tx:
        found = tx.flavor_profiles.page(asked.query)
    return asked.answer(found)


@blueprint.post("/flavorprofiles")
def create_flavor_profile() -> flask.Response:
    """Create a profile, which says what a flavor means to a provider."""
    wanted = PROFILE.create(flask.request.get_data())
    return answers.one(PROFILE.name, PROFILE.view(profiles.create(current.asking(), profiles.FLAVOR, wanted)), 201)


@blueprint.get("/flavorprofiles/<profile_id>")
def get_flavor_profile(profile_id: str) -> flask.Response:
    """Show a profile of flavors."""
    current.authorize("flavor-profile:get_one", None)
    with current.services().db.read() as tx:
        found = tx.flavor_profiles.get(profile_id)
    return answers.one(PROFILE.name, PROFILE.view(found))


@blueprint.put("/flavorprofiles/<profile_id>")
def update_flavor_profile(profile_id: str) -> flask.Response:
    """Change a profile of flavors."""
    values = PROFILE.update(flask.request.get_data())
    return answers.one(PROFILE.name, PROFILE.view(profiles.update(current.asking(), profiles.FLAVOR, profile_id, values)))


@blueprint.delete("/flavorprofiles/<profile_id>")
def delete_flavor_profile(profile_id: str) -> flask.Response:
    """Delete a profile that no flavor uses."""
    profiles.delete(current.asking(), profiles.FLAVOR, profile_id)
    return answers.empty(204)
