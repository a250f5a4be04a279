"""Lists of a cloud are read to their end, and reading them has one."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.openstack import cloud, lists


class Service:
    """Seven ports, so many of them in a page; `by_marker` False: it answers with the first page, whatever it is asked for."""

    def __init__(self, size: int, by_marker: bool = True) -> None:
        self._size, self._by_marker, self.asked = size, by_marker, 0

    def get(self, path: str, params: dict[str, Any], microversion: str | None = None) -> dict[str, Any]:
        self.asked += 1
        assert self.asked < 20, "the list is read for ever"
        first = int(params.get("marker", -1)) + 1 if self._by_marker else 0
        page = [{"id": str(one)} for one in range(7)][first : first + self._size]
        return {"ports": page, "ports_links": [{"rel": "next"}] if first + self._size < 7 else []}


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_all_pages_are_read(size: int) -> None:
    found = lists.whole(cast(cloud.Service, Service(size)), "/ports", {})
    assert [one["id"] for one in found] == [str(one) for one in range(7)]


def test_a_service_that_knows_no_markers_is_not_asked_for_ever() -> None:
    service = Service(3, by_marker=False)
    lists.whole(cast(cloud.Service, service), "/ports", {})
    assert service.asked == 2
