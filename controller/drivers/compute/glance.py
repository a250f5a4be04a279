"""The image that amphorae boot from: the newest one with a tag."""

import threading
import time
from collections.abc import Callable

import cachetools

from controller import exceptions
from controller.openstack import cloud

_MANY = 1000  # tags
_TRUE_FOR = 10.0
"""Seconds: amphorae that boot together ask once, and a new image is booted by whoever comes later."""


class Images:
    """`owner` is the project whose images are taken; None: whoever shares one with us. For several threads."""

    def __init__(self, service: cloud.Service, owner: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._owner = owner
        self._lock = threading.Lock()
        self._known = cachetools.TTLCache[str, str, float](_MANY, _TRUE_FOR, clock)

    def newest(self, tag: str) -> str:
        """The id of the newest image with this tag.

        :raises NotFound: there is none; :raises Transient: the service did not answer.
        """
        with self._lock:
            found = self._known.get(tag)
            if found is None:
                found = self._known[tag] = self._look(tag)
            return found

    def forget(self, tag: str) -> None:
        """What was the newest is gone: the next one looks again."""
        with self._lock:
            self._known.pop(tag, None)

    def _look(self, tag: str) -> str:
        wanted = {"tag": tag, "status": "active", "sort": "created_at:desc", "limit": 1}
        if self._owner is not None:
            wanted["owner"] = self._owner
        found = self._service.get("/images", wanted)["images"]
        if not found:
            raise exceptions.NotFound("Image with the tag", tag)
        return str(found[0]["id"])
