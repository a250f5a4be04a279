"""Steps with an agent's own configuration."""

from __future__ import annotations

import logging

from controller import exceptions, jobs, render
from controller.model import load_balancer as model
from controller.tasks import base

LOG = logging.getLogger(__name__)


class Configure(base.Step):
    """Tell an agent to whom it reports, with which key, and how often. The key never leaves this step."""

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease, request_id: str | None = None) -> None:
        with self.services.db.read() as tx:
            amphora = tx.amphorae.get(amphora_id)
        config = render.boot.agent_config(amphora_id, **self.services.settings.agent)
        try:
            with self.services.fence.writing(lease) as order, self.services.waiting.of(load_balancer_id):
                self.services.amphora.configure(amphora, config, order=order)
        except exceptions.ControllerError as exc:
            event = model.Fault(code="agent_not_configured", message=str(exc), step=self.name, request_id=request_id)
            with self.services.db.begin() as tx:
                tx.faults.add_news(load_balancer_id, "amphora", amphora_id, event)  # it is tried again for as long as the amphora lives
            raise


class NoteConfigured(base.Step):
    """Remember that an agent lives by what was configured."""

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease, request_id: str | None = None) -> None:
        event = model.Fault(code="agent_configured", message="the agent took the configuration of now", request_id=request_id)
        with self.services.db.begin(lease) as tx:
            tx.faults.add_event(load_balancer_id, "amphora", amphora_id, event)
        LOG.info("load balancer %s: the agent of amphora %s is configured anew", load_balancer_id, amphora_id)
