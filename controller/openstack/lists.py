"""Lists of a cloud as a whole: each service answers as few of one at once as its operator allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.openstack import cloud


def whole(service: cloud.Service, path: str, wanted: Mapping[str, Any], *, microversion: str | None = None) -> list[Mapping[str, Any]]:
    """All that fits of a collection of Nova, Neutron or Glance, page by page; errors as of `cloud.Service`."""
    key = path.split("/")[1].replace("-", "_")
    found: list[Mapping[str, Any]] = []
    marker: dict[str, str] = {}
    while True:
        page = service.get(path, {**wanted, **marker}, microversion=microversion)
        found += page[key]
        has_more = page.get("next") or any(link["rel"] == "next" for link in page.get(f"{key}_links", ()))
        if not (page[key] and has_more) or page[key][-1]["id"] == marker.get("marker"):  # a service that knows no markers has one page
            return found
        marker = {"marker": page[key][-1]["id"]}
