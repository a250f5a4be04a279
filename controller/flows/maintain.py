"""What happens, in order, when amphorae that serve are looked after. None of it touches what they serve, or says anything about it."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import amphora
from controller.services import Services
from controller.tasks import agent


def configure_amphora(services: Services, job: jobs.ConfigureAmphora) -> linear_flow.Flow:
    """Tell one agent how it is to live from now on."""
    del job  # one shape for all
    return linear_flow.Flow("configure-amphora").add(
        agent.Configure(services.db, services.amphora, amphora.boot_settings(services)),
        agent.NoteConfigured(services.db),
    )
