"""`figlina-housekeeping`: sweep, purge and collect while it leads, stand by otherwise, until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Sequence

from oslo_config import cfg

from controller import conf as configuration
from controller import render, services
from controller.cmd import logging_setup, process
from controller.housekeeping import certificates, comparison, orphans, periodic, purge, sweeper, tenant_certificates


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the configuration and run; exit code 0 after a clean end."""
    conf = configuration.load(sys.argv[1:] if arguments is None else arguments)
    logging_setup.setup(conf, "figlina-housekeeping")
    process.allow_files(process.OTHER_FILES)
    ring = process.bell(conf)
    everything = services.Services.load(conf, wake=ring)
    owner = f"{conf.controller_worker.host}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    leadership = periodic.Leadership(everything.db, owner, conf.house_keeping.leader_expiry)
    return process.serve(periodic.Housekeeper(leadership, duties(conf, everything, ring)))


def duties(conf: cfg.ConfigOpts, everything: services.Services, ring: Callable[[], None]) -> list[periodic.Duty]:
    """All periodic work, as configured."""
    section, db = conf.house_keeping, everything.db
    sweeps = sweeper.Sweeper(db, ring, page_size=section.page_size, unfinished_after=2 * conf.controller_worker.boot_timeout)
    purges = purge.Purge(
        db,
        load_balancer_age=section.load_balancer_expiry_age,
        amphora_age=section.amphora_expiry_age,
        event_age=section.event_expiry_age,
        page_size=section.page_size,
    )
    collector = orphans.Orphans(db, everything.compute, everything.network, grace=section.orphan_grace, delete=section.delete_orphans)
    compares = comparison.Comparison(
        db,
        everything.compute,
        everything.network,
        everything.networks,
        ring,
        peer_port=render.Settings.from_conf(conf).peer_port,
        page_size=section.compare_page_size,
        failovers_per_hour=section.compare_failovers_per_hour,
    )
    copies = tenant_certificates.TenantCertificates(
        db, lambda: everything.secrets, ring, warning=conf.certificates.tenant_cert_warning, page_size=section.compare_page_size
    )
    renewals = certificates.Renewal(db, lambda: everything.ca, ring, at_once=section.cert_rotate_threads)
    return [
        periodic.Duty("sweep", section.sweep_interval, sweeps.sweep),
        periodic.Duty("purge", section.cleanup_interval, purges.purge),
        periodic.Duty("renewal of certificates", section.cert_interval, renewals.renew),
        periodic.Duty("tenants' certificates", section.compare_interval, copies.look),
        periodic.Duty("comparison", section.compare_interval, compares.compare),
        periodic.Duty("orphan collection", section.orphan_interval, collector.collect),
    ]


if __name__ == "__main__":
    sys.exit(main())
