"""How many files a request passes through on its way: a reader of the code has to open them all."""

from __future__ import annotations

import pathlib
import sys
from types import FrameType
from typing import Any

from tests.functional.api.conftest import Api

ROOT = pathlib.Path(__file__).parents[3] / "controller"
FLOORS = ("api", "resources", "changes", "providers")
"""What decides about a write; below them, rows are read and written."""
MOST, MOST_WITH_ROWS = 20, 40


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
    assert {"api/v2/members.py", "changes/members.py", "providers/amphora.py", "db/repositories/pools.py"} <= seen
    deciding = {name for name in seen if name.startswith(FLOORS)}
    assert len(deciding) <= MOST, sorted(deciding)
    assert len(seen) <= MOST_WITH_ROWS, sorted(seen)
