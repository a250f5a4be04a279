"""The embedded cloud on this machine: bridges and machines in namespaces that the test makes; it needs root."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import stat
import subprocess
import uuid
from collections.abc import Sequence

from controller.embedded import bridge, machines, namespace, networking, qemu
from controller.model.network import AccessRule, Port
from tests import builders
from tests.contract import cloud

AGENT = '#!/bin/sh\ntouch "$4/started"\nexec sleep 600\n'  # called as: --config FILE --state-directory DIR --run-directory DIR


class EmbeddedCloud(cloud.Cloud):
    """At its end it asserts that the kernel's filter says what the inventory says, whatever the test did."""

    project_id = builders.PROJECT
    shares_with_projects = False
    flavor, image_tag, zone = namespace.FLAVOR, namespace.IMAGE_TAG, namespace.ZONE

    def __init__(self, folder: pathlib.Path) -> None:
        self.file = folder / "network.db"
        self._behind_its_back = False
        prefix = f"figlina-t{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.network: bridge.BridgeNetwork = bridge.BridgeNetwork(
            state_path=folder,
            namespace_prefix=prefix,
            management_cidr="198.19.0.0/20",
            private_cidr="198.19.64.0/28",
            public_cidr="198.19.128.0/24",
        )
        self.compute: machines.LocalCompute = self._compute(folder, prefix)
        try:
            self.network.install()
        except BaseException:
            self.network.remove()
            raise

    def _compute(self, folder: pathlib.Path, prefix: str) -> machines.LocalCompute:
        agent = folder / "agent"
        agent.write_text(AGENT)
        agent.chmod(agent.stat().st_mode | stat.S_IXUSR)
        return namespace.NamespaceCompute(state_path=folder, namespace_prefix=prefix, agent_command=[str(agent)])

    def create_network(self, mtu: int = 1500, *, secured: bool = True) -> str:
        values = {"name": "tenant", "project_id": self.project_id, "shared": True, "router:external": False, "mtu": mtu}
        values["port_security_enabled"] = secured
        return str(self.network.tenants.create(networking.NETWORK, values)["id"])

    def create_subnet(self, network_id: str, cidr: str) -> str:
        values = {"name": "tenant", "project_id": self.project_id, "network_id": network_id, "cidr": cidr}
        return str(self.network.tenants.create(networking.SUBNET, values)["id"])

    def create_port(
        self,
        network_id: str,
        *,
        security_groups: Sequence[str] = (),
        device_id: str = "",
        project_id: str | None = None,
        subnet_ids: Sequence[str] = (),
    ) -> Port:
        owner = {"project_id": project_id or self.project_id, "device_id": device_id}
        fixed = {"fixed_ips": [{"subnet_id": one} for one in subnet_ids]} if subnet_ids else {}
        values = {"name": "tenant", "network_id": network_id, "security_groups": list(security_groups), **owner, **fixed}
        return self.network.get_port(self.network.tenants.create(networking.PORT, values)["id"])

    def create_security_group(self, name: str) -> str:
        made = str(self.network.tenants.create(networking.SECURITY_GROUP, {"name": name, "project_id": self.project_id})["id"])
        rule = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
        self.network.tenants.create(networking.SECURITY_GROUP_RULE, {"security_group_id": made, "project_id": self.project_id, **rule})
        return made

    def groups_of(self, port_id: str) -> set[str]:
        return set(self.network.tenants.shown(networking.PORT, port_id)["security_groups"])

    def set_groups_of(self, port_id: str, group_ids: Sequence[str]) -> None:
        self.network.tenants.update(networking.PORT, port_id, {"security_groups": list(group_ids)})

    # By another connection to the inventory's file, so that no packet filter learns of it

    def delete_port(self, port_id: str) -> None:
        """From the books alone: what the kernel still says of it is what housekeeping finds."""
        self._write("DELETE FROM ports WHERE id = ?", port_id)
        self._behind_its_back = True

    def move_port(self, port_id: str, address: str) -> None:
        self._write("UPDATE fixed_ips SET ip_address = ? WHERE port_id = ?", address, port_id)
        self._behind_its_back = True

    def take_address(self, port_id: str, address: str) -> None:
        self._write("DELETE FROM fixed_ips WHERE port_id = ? AND ip_address = ?", port_id, address)
        self._behind_its_back = True

    def admit(self, load_balancer_id: str, rule: AccessRule) -> None:
        columns = "(id, security_group_id, direction, ethertype, protocol, port_min, port_max, prefix)"
        values = (rule.protocol, rule.port, rule.port, rule.cidr, f"lb-{load_balancer_id}")
        chosen = "SELECT ?, id, 'ingress', 'IPv4', ?, ?, ?, ? FROM security_groups WHERE name = ?"
        self._write(f"INSERT INTO security_group_rules {columns} {chosen}", str(uuid.uuid4()), *values)

    def refuse(self, load_balancer_id: str, rule: AccessRule) -> None:
        own = "security_group_id IN (SELECT id FROM security_groups WHERE name = ?)"
        table, condition, name = ("pair_rules", "load_balancer_id = ?", load_balancer_id)
        if not rule.between_amphorae:
            table, condition, name = ("security_group_rules", f"direction = 'ingress' AND {own}", f"lb-{load_balancer_id}")
        self._write(f"DELETE FROM {table} WHERE {condition} AND protocol = ?", name, rule.protocol)

    def _write(self, statement: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.file, timeout=10)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(statement, values)

    def stop_machine(self, amphora_id: str) -> None:
        for pid in reversed(self.compute.pids(amphora_id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.eventually(lambda: self.compute.pids(amphora_id) == [])

    def delete_machine(self, amphora_id: str) -> None:
        """With a shell: the processes, the namespace, the folder; the far ends of cables go with them."""
        self.stop_machine(amphora_id)
        if isinstance(self.compute, namespace.NamespaceCompute):
            subprocess.run(["ip", "netns", "delete", self.compute.namespace_of(amphora_id)], check=True)
        shutil.rmtree(self.file.parent / "amphorae" / amphora_id)

    def close(self) -> None:
        try:
            if self._behind_its_back:
                self.network.mend_filter()
            assert self.network.lost_by_filter() == set(), "whatever a test did, the kernel says what the inventory says"
        finally:
            for machine in self.compute.list_ours():
                self.compute.delete(machine.amphora_id)
            self.network.remove()


class QemuCloud(EmbeddedCloud):
    """The same with virtual machines of the amphora image, which boot meanwhile: that a machine runs does not say that its guest does."""

    flavor, image_tag, zone = next(iter(qemu.FLAVORS)), machines.LocalCompute.image_tag, machines.ZONE

    def __init__(self, folder: pathlib.Path, image: pathlib.Path) -> None:
        self._image = image
        super().__init__(folder)

    def _compute(self, folder: pathlib.Path, prefix: str) -> machines.LocalCompute:
        return qemu.QemuCompute(state_path=folder, image=self._image)
