"""A load balancer as a controller renders it, with TLS towards clients and a listener of statistics, on an amphora of the real image."""

from __future__ import annotations

import dataclasses
import http.client
import pathlib
import ssl
import tempfile

from amphora_agent.protocol import rest
from controller import render
from controller.model.tls import Kind, Need
from tests import builders
from tests.integration import agent_amphora
from tests.integration.rendered import NETWORKS
from tests.vm import machine as vm

NAMES = ("www.example.org", "shop.example.org")
"""The first is that of the default certificate, the other one is chosen by its name (SNI)."""
METRICS_PORT = 9101


class Secured:
    """Members are web servers by their ports; `authority` signs what is served, and what clients show."""

    def __init__(self, machine: vm.Machine, generation: int) -> None:
        self.machine, self.generation = machine, generation
        self.authority, self.members = agent_amphora.Authority("tenant"), [8201]
        self.certificates = {name: self.authority.issue(name) for name in NAMES}
        for port in (8201, 8202):
            machine.web(port)

    def apply(self) -> str:
        """Bring the machine there, and say how it was."""
        self.generation += 1
        sent = {Need(f"local:{name}", Kind.BUNDLE): self.machine.send_certificate(pem) for name, pem in self.certificates.items()}
        sent[Need("local:clients", Kind.AUTHORITIES)] = self.machine.send_certificate(self.authority.root)
        status, answer = self.machine.put(self._wanted(sent))
        assert status == 200, answer
        return rest.Receipt.parse(answer).applied

    def _wanted(self, certificates: dict[Need, str]) -> rest.WantedState:
        owner = builders.a_load_balancer(id=self.machine.load_balancer_id, vip=builders.a_vip(address=agent_amphora.VIP))
        pool = builders.a_pool(id=builders.an_id("pool"))
        secured = builders.a_listener(
            id=builders.an_id("secured"),
            protocol="TERMINATED_HTTPS",
            protocol_port=443,
            default_pool_id=pool.id,
            default_tls_container_ref=f"local:{NAMES[0]}",
            sni_container_refs=tuple(f"local:{name}" for name in NAMES[1:]),
            client_ca_tls_container_ref="local:clients",
            client_authentication="MANDATORY",
        )
        metrics = builders.a_listener(id=builders.an_id("metrics"), protocol="PROMETHEUS", protocol_port=METRICS_PORT)
        members = [
            builders.a_member(id=builders.an_id(str(port)), pool_id=pool.id, address=agent_amphora.WEB, protocol_port=port)
            for port in self.members
        ]
        snapshot = builders.a_snapshot(owner, listeners=[secured, metrics], pools=[pool], members=members)
        amphora = dataclasses.replace(snapshot.amphorae[0], id=self.machine.id)
        snapshot = dataclasses.replace(snapshot, amphorae=(amphora,))
        made = render.wanted_state(snapshot, amphora, NETWORKS, certificates=certificates)
        interfaces = self.machine.wanted(1, None).interfaces
        return dataclasses.replace(made, generation=self.generation, interfaces=interfaces)

    def connect(self, name: str, shows_certificate: bool = True) -> ssl.SSLSocket:
        """A client's connection, by the name that it asks for.

        :raises OSError: it is turned away; one without a certificate may hear so at its first read only (TLS 1.3).
        """
        context = ssl.create_default_context(cadata=self.authority.root.decode())
        if shows_certificate:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "client.pem"
                path.write_bytes(self.authority.issue("a client"))
                context.load_cert_chain(path)
        return context.wrap_socket(self.machine.connect(port=443, timeout=20), server_hostname=name)

    def fetch(self, name: str = NAMES[0], on: ssl.SSLSocket | None = None, shows_certificate: bool = True) -> str:
        """A page through the load balancer, on a connection of its own or on one that stays open."""
        connection = http.client.HTTPConnection(name)
        connection.sock = on or self.connect(name, shows_certificate)
        connection.request("GET", "/")
        body = connection.getresponse().read().decode()
        if on is None:
            connection.close()
        return body

    def shown(self, name: str) -> bytes | None:
        """The certificate that is served to who asks for a name, DER."""
        with self.connect(name) as connection:
            return connection.getpeercert(binary_form=True)

    def workers(self) -> set[str]:
        """Process ids of HAProxy."""
        return set(self.machine.ssh("busybox pidof haproxy").split())


def der(pem: bytes) -> bytes:
    """The certificate of a PEM that holds its key, too."""
    return ssl.PEM_cert_to_DER_cert(pem.decode().partition("-----BEGIN PRIVATE KEY-----")[0])
