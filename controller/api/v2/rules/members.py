"""What rules that are not yet in `changes` take of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.api import current
from controller.changes import members
from controller.changes.members import check_no_vip as other_than_vip
from controller.changes.members import check_reachable as member_reachable
from controller.changes.members import check_sriov as member_sriov
from controller.changes.members import same_server, vnic_type

__all__ = ["member_addresses", "member_reachable", "member_sriov", "other_than_vip", "same_server", "vnic_type"]


def member_addresses(values: Mapping[str, Any]) -> None:
    members.check_addresses(current.asking(), values)
