"""How many files a request passes through on its way: a reader of the code has to open them all."""

from __future__ import annotations

import pathlib
import sys
from types import FrameType
from typing import Any

from tests.functional.api.conftest import Api

ROOT = pathlib.Path(__file__).parents[3] / "controller"
MOST = 20


def _executed(api: Api, method: str, path: str, body: Any, status: int) -> set[str]:
    """The files of the controller of which a request executes a function."""
    seen: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(f"{ROOT}/"):
            seen.add(name.removeprefix(f"{ROOT}/"))

    sys.setprofile(note)
    try:
        api.ok(method, path, body, status)
    finally:
        sys.setprofile(None)
    return seen


def test_a_new_member_passes_few_files(api: Api) -> None:
    pool = api.pool(loadbalancer_id=api.load_balancer()["id"])["id"]
    api.member(pool)  # what is made once, is made now
    body = {"member": {"address": "10.0.0.2", "protocol_port": 80}}
    seen = _executed(api, "POST", f"/pools/{pool}/members", body, 201)
    assert {"api/v2/collections.py", "changes/members.py", "providers/amphora.py", "db/repositories/pools.py"} <= seen
    assert len(seen) <= MOST, sorted(seen)
