"""Steps with the compute service."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
from collections.abc import Mapping
from typing import Any

from amphora_agent.protocol import boot
from controller import jobs, render
from controller.db import database, fence
from controller.drivers.ca import interface as ca_interface
from controller.drivers.compute import interface
from controller.drivers.network import interface as network_interface
from controller.drivers.network import remembered
from controller.model import renewal, status
from controller.model.network import Port
from controller.tasks import base

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BootSettings:
    """What every amphora is booted with; times in seconds."""

    deployment_key: bytes = dataclasses.field(repr=False)
    health_managers: tuple[tuple[str, int], ...]
    heartbeat_interval: float
    full_report_interval: float
    counters_interval: float
    agent_port: int
    haproxy_command: str = "haproxy"
    keepalived_command: str = "keepalived"
    image_tag: str | None = None
    flavor: str | None = None
    ssh: bool = False  # whether somebody may log in: then a machine gets a host key
    cert_renew_after: float = renewal.RENEW_AFTER
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)  # those of `boot.AgentConfig` on former workers


class EnsureServerGroup(base.Step):
    """Have the group that keeps the machines of a pair apart, where the deployment wants one. It lives as long as the load balancer."""

    default_provides = "server_group_id"

    def __init__(self, compute: interface.ComputeDriver, fenced: fence.Fence, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._compute = compute
        self._fence = fenced

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> str | None:
        with self._fence.writing(lease):
            return self._compute.ensure_server_group(load_balancer_id)


class DeleteServerGroup(base.Step):
    """Delete the group of a pair, also if the deployment wants none any more."""

    def __init__(self, db: database.Database, compute: interface.ComputeDriver, fenced: fence.Fence, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._db = db
        self._compute = compute
        self._fence = fenced

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self._db.read() as tx:
            topology = tx.snapshots.outline(load_balancer_id).load_balancer.topology
        if topology is not status.Topology.SINGLE:
            with self._fence.writing(lease):
                self._compute.delete_server_group(load_balancer_id)


class Boot(base.Step):
    """Start the machine of an amphora, with its ports, its certificate and its heartbeat key. The keys never leave this step."""

    def __init__(
        self,
        db: database.Database,
        compute: interface.ComputeDriver,
        network: network_interface.NetworkDriver,
        networks: remembered.RememberedNetworks,
        ca: ca_interface.CertificateAuthority,
        settings: BootSettings,
        fenced: fence.Fence,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._fence = fenced
        self._db = db
        self._compute = compute
        self._network = network
        self._networks = networks
        self._ca = ca
        self._settings = settings

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease, server_group_id: str | None = None) -> None:
        with self._db.read() as tx:
            amphora = tx.amphorae.get(amphora_id)
            placement = tx.placements.get(load_balancer_id)
        if amphora.status in status.SERVING or (amphora.compute_id is not None and self._compute.find(amphora_id) is not None):
            return
        ports = [self._network.get_port(port_id) for port_id in (amphora.management_port_id, amphora.vrrp_port_id) if port_id is not None]
        trust = self._ca.trust()
        certificate = self._ca.issue_amphora_certificate(amphora_id)
        request = interface.BootRequest(
            amphora_id=amphora_id,
            name=f"amphora-{amphora_id}",
            files=self._files(amphora_id, ports[0], certificate.pem),
            ports=ports,
            flavor=placement.compute_flavor or self._settings.flavor,
            image_tag=placement.image_tag or self._settings.image_tag,
            zone=placement.compute_zone,
            server_group_id=server_group_id,
        )
        with self._fence.writing(lease):
            instance = self._compute.boot(request)
        until = certificate.not_after
        with self._db.begin() as tx:
            tx.leases.check(lease)
            tx.amphorae.update(
                amphora_id,
                status=status.AmphoraStatus.BOOTING,
                compute_id=instance.id,
                cert_expiration=until,
                cert_trust=trust,
                cert_renew_at=renewal.renew_at(amphora_id, self._db.now(), until.timestamp(), self._settings.cert_renew_after),
                cached_zone=instance.zone,
                image_id=instance.image_id,
                compute_flavor=instance.flavor,
            )
        LOG.info("load balancer %s: amphora %s boots as machine %s", load_balancer_id, amphora_id, instance.id)

    def _files(self, amphora_id: str, management: Port, pem: bytes) -> Mapping[str, bytes]:
        fixed = management.address_on()
        subnet = self._networks.subnet(fixed.subnet_id)
        nic = render.boot.ManagementNic(
            address=f"{fixed.ip_address}/{ipaddress.ip_network(subnet.cidr).prefixlen}",
            mac=management.mac_address,
            mtu=management.mtu,
            gateway=subnet.gateway_ip,
        )
        settings = self._settings
        config = render.boot.config(
            amphora_id,
            nic,
            health_managers=settings.health_managers,
            deployment_key=settings.deployment_key,
            heartbeat_interval=settings.heartbeat_interval,
            full_report_interval=settings.full_report_interval,
            counters_interval=settings.counters_interval,
            limits=settings.limits,
            agent_port=settings.agent_port,
            haproxy_command=settings.haproxy_command,
            keepalived_command=settings.keepalived_command,
        )
        files = render.boot.files(config, pem, self._ca.client_roots(), self._ca.client_names())
        if not settings.ssh:
            return files
        key, public = render.boot.ssh_host_key(settings.deployment_key, amphora_id)
        LOG.info("amphora %s: its line for known_hosts is `%s %s`", amphora_id, fixed.ip_address, public)
        return {**files, boot.SSH_HOST_KEY_PATH: key}
