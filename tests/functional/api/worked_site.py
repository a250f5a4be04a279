"""An API and a worker over one database and a cloud of fakes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from controller import jobs
from controller.db import tables
from tests.functional import flow_site
from tests.functional.api.conftest import Api


class Worked(Api):
    """An API, and a worker that does what waits on the board."""

    def __init__(self, site: flow_site.Site) -> None:
        super().__init__(site.db, site.network)
        self.site = site

    def work(self) -> list[str]:
        """Do every job on the board; their kinds."""
        done = []
        for row in self.jobs():
            self.write(sa.delete(tables.jobs).where(tables.jobs.c.id == row["id"]))
            self.site.work(jobs.load(row["kind"], row["details"]))
            done.append(row["kind"])
        return done

    def statuses(self, load_balancer_id: str) -> set[str]:
        """All provisioning statuses of a load balancer and what is below it."""
        found: set[str] = set()

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                found.update(value for key, value in node.items() if key == "provisioning_status")
                node = list(node.values())
            if isinstance(node, list):
                for item in node:
                    walk(item)

        walk(self.ok("GET", f"/loadbalancers/{load_balancer_id}/status"))
        return found
