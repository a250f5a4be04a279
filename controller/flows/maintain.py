"""What happens, in order, when amphorae that serve are looked after. None of it touches what they serve, or says anything about it."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.services import Services
from controller.tasks import agent, certificates


def configure_amphora(services: Services, job: jobs.ConfigureAmphora) -> linear_flow.Flow:
    """Tell one agent how it is to live from now on."""
    del job  # one shape for all
    return linear_flow.Flow("configure-amphora").add(
        agent.Configure(services),
        agent.NoteConfigured(services),
    )


def renew_certificate(services: Services, job: jobs.RenewCertificate) -> linear_flow.Flow:
    """Give one agent a new certificate. One step: issued and not sent, a certificate is worth nothing, and its key is kept nowhere."""
    del job  # one shape for all
    return linear_flow.Flow("renew-certificate").add(certificates.RenewCertificate(services))
