"""Who may do what, once there are callers who are no administrators."""

from __future__ import annotations

import pytest

from controller import exceptions
from controller.api import policy
from controller.api.auth import Context

ADMIN = Context(request_id="req-1", project_id=None, is_admin=True)
TENANT = Context(request_id="req-2", project_id="mine", is_admin=False)
STRANGER = Context(request_id="req-3", project_id=None, is_admin=False)


def test_an_administrator_may_do_everything_and_sees_everybody() -> None:
    policy.authorize("amphora:delete", None, ADMIN)
    policy.authorize("listener:put", "anybody's", ADMIN)
    assert policy.visible_project("listener", ADMIN) is None


def test_a_tenant_may_do_what_is_not_the_administrators_in_his_own_project() -> None:
    policy.authorize("listener:put", "mine", TENANT)
    assert policy.visible_project("listener", TENANT) == "mine"
    for action, project in (("listener:put", "theirs"), ("loadbalancer:put_failover", "mine"), ("amphora:get_all", None)):
        with pytest.raises(exceptions.Forbidden, match=r"Policy does not allow this request to be performed\."):
            policy.authorize(action, project, TENANT)


def test_nobody_without_a_project_sees_anything() -> None:
    with pytest.raises(exceptions.Forbidden):
        policy.visible_project("listener", STRANGER)
