"""An amphora as a set of Linux namespaces on this machine: its own network, processes, mounts and folder.

    files/...    in the machine's folder: what the boot request put into it
    state/       the agent's disk

The network namespace `<prefix>-amp-<amphora id>` outlives the processes, as a NIC outlives a crashed guest. Inside, process 1 is a small
shell that keeps the agent running; `kill -9` of it, or of the process that made it, ends everything inside: the death of a machine.
"""

from __future__ import annotations

import pathlib
import shlex
import sys
import uuid
from collections.abc import Sequence

from oslo_config import cfg

from amphora_agent.protocol import boot
from controller import exceptions
from controller.drivers.compute import interface
from controller.embedded import linux, machines
from controller.model.network import Port

FLAVOR, IMAGE_TAG, ZONE = "namespace", machines.LocalCompute.image_tag, machines.ZONE
"""One size of machine, as large as the host; and one image, the agent that is installed here."""

# Process 1. /run is its own, so the agent's namespaces and sockets are; /sys shows the interfaces of its own network namespace.
_INIT = """\
mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys && mkdir -p /run/netns || exit 1
echo "$1" > /proc/sys/kernel/hostname
shift
while :; do "$@"; sleep 0.2; done
"""


class NamespaceCompute(machines.LocalCompute):
    """Machines that are namespaces."""

    flavors = {FLAVOR: 0}  # noqa: RUF012
    image_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"figlina/{IMAGE_TAG}"))

    def __init__(
        self, *, state_path: pathlib.Path, namespace_prefix: str, agent_command: Sequence[str], host: linux.Host | None = None
    ) -> None:
        super().__init__(state_path, host)
        self._prefix = f"{namespace_prefix}-amp-"
        self._agent_command = list(agent_command)

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> NamespaceCompute:
        command = conf.embedded.agent_command or shlex.quote(str(pathlib.Path(sys.executable).with_name("figlina-agent")))
        return cls(
            state_path=pathlib.Path(conf.embedded.state_path),
            namespace_prefix=conf.embedded.namespace_prefix,
            agent_command=shlex.split(command),
        )

    def namespace_of(self, amphora_id: str) -> str:
        return self._prefix + amphora_id

    def _make(self, folder: pathlib.Path, request: interface.BootRequest) -> None:
        for path, content in request.files.items():
            machines.write(machines.inner_path(folder, path), content)
        (folder / "state").mkdir(exist_ok=True)
        namespace = self.namespace_of(request.amphora_id)
        linux.ensure_namespace(self._host, namespace)
        for index, port in enumerate(request.ports):
            linux.ensure_cable(self._host, machines.bridge_namespace(port), port, namespace, f"eth{index}")

    def _command(self, folder: pathlib.Path, request: interface.BootRequest) -> Sequence[str]:
        agent = [
            *self._agent_command,
            *("--config", str(machines.inner_path(folder, boot.CONFIG_PATH))),
            *("--state-directory", str(folder / "state")),
            *("--run-directory", "/run/figlina"),
        ]
        init = ["sh", "-c", _INIT, "init", request.name, *agent]
        machine = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", *init]
        return [*linux.enter(self.namespace_of(request.amphora_id)), *machine]

    def _plug(self, folder: pathlib.Path, port: Port) -> None:
        """In a machine that runs, the agent may have taken its end of the cable further inside."""
        namespace = self.namespace_of(folder.name)
        if not linux.namespace_exists(namespace):
            raise exceptions.NotFound("Instance", folder.name)
        running = self.get(folder.name).status is interface.InstanceStatus.ACTIVE
        linux.ensure_cable(self._host, machines.bridge_namespace(port), port, namespace, "eth%d", running)

    def _outside_of_folders(self) -> set[str]:
        return {name.removeprefix(self._prefix) for name in linux.namespaces(self._prefix)}

    def _remove(self, amphora_id: str) -> None:
        namespace = self.namespace_of(amphora_id)
        if linux.namespace_exists(namespace) and not self._folder(amphora_id).is_dir():
            linux.kill_inside(self._host, namespace)  # somebody removed the folder, and with it the record of the process
        linux.delete_namespace(self._host, namespace)
