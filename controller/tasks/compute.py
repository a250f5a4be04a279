"""Steps with the compute service."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping

from amphora_agent.protocol import boot
from controller import jobs, render
from controller.drivers.compute import interface
from controller.model import renewal, status
from controller.model.network import Port
from controller.tasks import base, passes

LOG = logging.getLogger(__name__)


class EnsureServerGroup(base.Step):
    """Have the group that keeps the machines of a pair apart, where the deployment wants one. It lives as long as the load balancer."""

    default_provides = "server_group_id"

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> str | None:
        with self.services.fence.writing(lease):
            return self.services.compute.ensure_server_group(load_balancer_id)


class DeleteServerGroup(base.Step):
    """Delete the group of a pair, also if the deployment wants none any more."""

    def execute(self, load_balancer_id: str, lease: jobs.Lease) -> None:
        with self.services.db.read() as tx:
            topology = tx.snapshots.outline(load_balancer_id).load_balancer.topology
        if topology is not status.Topology.SINGLE:
            with self.services.fence.writing(lease):
                self.services.compute.delete_server_group(load_balancer_id)


class Boot(base.Step):
    """Start the machine of an amphora, with its ports, its certificate and its heartbeat key. The keys never leave this step."""

    made: passes.Ports

    def execute(self, load_balancer_id: str, amphora_id: str, lease: jobs.Lease, server_group_id: str | None = None) -> None:
        services, settings = self.services, self.services.settings
        with services.db.read() as tx:
            amphora = tx.amphorae.get(amphora_id)
            placement = tx.placements.get(load_balancer_id)
        if amphora.status in status.SERVING or (amphora.compute_id is not None and services.compute.find(amphora_id) is not None):
            return
        ports = [self._port(port_id) for port_id in (amphora.management_port_id, amphora.vrrp_port_id) if port_id is not None]
        trust = services.ca.trust()
        certificate = services.ca.issue_amphora_certificate(amphora_id)
        request = interface.BootRequest(
            amphora_id=amphora_id,
            name=f"amphora-{amphora_id}",
            files=self._files(amphora_id, ports[0], certificate.pem),
            ports=ports,
            flavor=placement.compute_flavor or settings.compute_flavor,
            image_tag=placement.image_tag or settings.image_tag,
            zone=placement.compute_zone,
            server_group_id=server_group_id,
        )
        with services.fence.writing(lease):
            instance = services.compute.boot(request)
        until = certificate.not_after
        with services.db.begin(lease) as tx:
            tx.amphorae.update(
                amphora_id,
                status=status.AmphoraStatus.BOOTING,
                compute_id=instance.id,
                cert_expiration=until,
                cert_trust=trust,
                cert_renew_at=renewal.renew_at(amphora_id, services.db.now(), until.timestamp(), settings.cert_renew_after),
                cached_zone=instance.zone,
                image_id=instance.image_id,
                compute_flavor=instance.flavor,
            )
        LOG.info("load balancer %s: amphora %s boots as machine %s", load_balancer_id, amphora_id, instance.id)

    def _port(self, port_id: str) -> Port:
        return self.made.take(port_id) or self.services.network.get_port(port_id)

    def _files(self, amphora_id: str, management: Port, pem: bytes) -> Mapping[str, bytes]:
        fixed = management.address_on()
        subnet = self.services.networks.subnet(fixed.subnet_id)
        nic = render.boot.ManagementNic(
            address=f"{fixed.ip_address}/{ipaddress.ip_network(subnet.cidr).prefixlen}",
            mac=management.mac_address,
            mtu=management.mtu,
            gateway=subnet.gateway_ip,
        )
        settings = self.services.settings
        config = render.boot.config(
            amphora_id,
            nic,
            agent_port=settings.agent_port,
            haproxy_command=settings.haproxy_command,
            keepalived_command=settings.keepalived_command,
            **settings.agent,
        )
        files = render.boot.files(config, pem, self.services.ca.client_roots(), self.services.ca.client_names())
        if not settings.ssh:
            return files
        key, public = render.boot.ssh_host_key(settings.deployment_key, amphora_id)
        LOG.info("amphora %s: its line for known_hosts is `%s %s`", amphora_id, fixed.ip_address, public)
        return {**files, boot.SSH_HOST_KEY_PATH: key}
