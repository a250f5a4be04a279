"""What happens, in order, when amphorae that serve are looked after. None of it touches what they serve, or says anything about it."""

from __future__ import annotations

from taskflow.patterns import linear_flow

from controller import jobs
from controller.flows import amphora
from controller.services import Services
from controller.tasks import agent, certificates


def configure_amphora(services: Services, job: jobs.ConfigureAmphora) -> linear_flow.Flow:
    """Tell one agent how it is to live from now on."""
    del job  # one shape for all
    return linear_flow.Flow("configure-amphora").add(
        agent.Configure(services.db, services.amphora, amphora.boot_settings(services), services.fence),
        agent.NoteConfigured(services.db),
    )


def renew_certificate(services: Services, job: jobs.RenewCertificate) -> linear_flow.Flow:
    """Give one agent a new certificate. One step: issued and not sent, a certificate is worth nothing, and its key is kept nowhere."""
    del job  # one shape for all
    renewals = certificates.Renewals(renew_after=services.settings.cert_renew_after, first_pause=services.settings.cert_first_pause)
    return linear_flow.Flow("renew-certificate").add(
        certificates.RenewCertificate(services.db, services.amphora, services.ca, renewals, services.fence)
    )
