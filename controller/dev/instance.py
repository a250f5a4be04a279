"""One embedded Figlina: its namespaces, its web servers and its processes, put up and taken down whatever state they are in."""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from amphora_agent.protocol import datagrams
from controller import exceptions
from controller.dev import processes, settings
from controller.embedded import bridge, linux, machines, namespace, qemu
from controller.model import amphora
from controller.model.network import Network
from controller.model.protocols import PROTOCOLS

DEMO_LIFE = "demo"
"""The file in the state folder that a living demo holds locked; it is there before everything else."""
_OURS = frozenset(
    {"ca", DEMO_LIFE, "dev.json", "embedded", "figlina.conf", "figlina.db", "lock", "logs", "run", "secrets", "wakeup", "web"}
)  # in the state folder
MODULES = {name: f"controller.cmd.{name}" for name in settings.PROCESSES}
API_PATIENCE = 60.0
DevError = processes.DevError

Tell = Callable[[str], None]


class Instance:
    """Everything below one state folder. `tell` hears in a few words what is being done; `modules` are what the processes run."""

    def __init__(
        self,
        state: pathlib.Path,
        chosen: settings.Settings,
        tell: Tell = lambda words: None,
        modules: Mapping[str, str] = MODULES,
    ) -> None:
        self.state = state
        self.settings = chosen
        self._tell = tell
        self._modules = modules
        self._host = linux.Host()
        self.processes = processes.Processes(state)
        embedded = state / "embedded"
        self.network = bridge.BridgeNetwork(
            state_path=embedded,
            namespace_prefix=chosen.prefix,
            management_cidr=chosen.management_cidr,
            private_cidr=chosen.private_cidr,
            public_cidr=chosen.public_cidr,
            port_security=chosen.options.get("embedded.port_security", "true").lower() not in ("false", "0", "no", "off"),
            host=self._host,
        )
        self.compute: machines.LocalCompute = (
            qemu.QemuCompute(state_path=embedded, image=pathlib.Path(chosen.image), host=self._host)
            if chosen.compute == "qemu"
            else namespace.NamespaceCompute(state_path=embedded, namespace_prefix=chosen.prefix, agent_command=[], host=self._host)
        )

    # Up

    def up(self) -> None:
        """Put everything up that is not up.

        :raises DevError: something of it can't be; what stands already stays, and `up` may be repeated.
        """
        if os.geteuid() != 0:
            raise DevError("figlina dev makes network namespaces: run it as root")
        self._refuse_foreign_folder()
        self._refuse_foreign_prefix()
        self._refuse_foreign_port()
        with self._locked():
            if settings.save(self.state, self.settings):
                self.processes.stop(settings.PROCESSES)  # those that run have read the configuration as it was
            self._tell("database")
            self._migrate()
            self._tell("networks, machines and web servers")
            self._build_ground()
            for name in settings.WEB_SERVERS:
                self._start(name)
            self._tell("api, worker, health manager, housekeeping")
            for name in settings.PROCESSES:
                self._start(name)
        self._tell("waiting for the api")
        self._wait_for_api()

    def _refuse_foreign_folder(self) -> None:
        """`down` removes what `up` made; so nobody else's files may lie under the same names."""
        if settings.load(self.state) is None and self.state.is_dir() and {path.name for path in self.state.iterdir()} - {"lock", DEMO_LIFE}:
            raise DevError(f"{self.state} is not empty and not a state folder of ours: name another one with --state")

    def _refuse_foreign_prefix(self) -> None:
        """Two instances can't share names. What an instance left whose folder is gone belongs to nobody, and is taken away."""
        namespace = self.network.namespace
        if not linux.namespace_exists(namespace):
            return
        owner = self.owner()
        if owner == self._alias:
            return
        if owner and (pathlib.Path(owner) / "dev.json").exists():
            raise DevError(
                f"another instance, in {owner}, uses the names {self.settings.prefix}-*: choose others with --prefix and --api-port"
            )
        self._tell(f"taking away what an earlier instance left under {self.settings.prefix}-*")
        if owner:
            processes.Processes(pathlib.Path(owner)).stop_all()
        self._remove_namespaces()

    def _refuse_foreign_port(self) -> None:
        """Somebody else's API on our port would be taken for ours."""
        known = settings.load(self.state)
        if known is not None and known.api_port == self.settings.api_port and self.processes.running(settings.API_PROCESS):
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.settings.api_port))
            except OSError as exc:
                raise DevError(f"port {self.settings.api_port} of the loopback is in use: choose another one with --api-port") from exc

    def owner(self) -> str:
        """The state folder of the instance that uses our names, as it is written on the tenants' bridge; empty if there is none."""
        with contextlib.suppress(linux.CommandFailed):
            links = json.loads(self._host.run(["ip", "-n", self.network.namespace, "-json", "link", "show", "type", "bridge"]) or "[]")
            return next((str(link["ifalias"]) for link in links if link.get("ifalias")), "")
        return ""

    @property
    def database_url(self) -> str:
        """Where the rows are: a file in the state folder, unless an option says otherwise."""
        return self.settings.options.get("database.connection") or f"sqlite:///{self.state / 'figlina.db'}"

    @property
    def _alias(self) -> str:
        return str(self.state)[:255]  # the kernel takes no more

    def _migrate(self) -> None:
        command = processes.python("controller.cmd.db_manage", "--config-file", str(self.state / "figlina.conf"), "upgrade")
        try:
            self._host.run(command)
        except linux.CommandFailed as exc:
            raise DevError(f"the database could not be prepared: {exc}") from exc

    def _build_ground(self) -> None:
        try:
            self.network.install()
            self._host.run(["ip", "-n", self.network.namespace, "link", "set", "br-private", "alias", self._alias])
            management = self.network.network_named(bridge.MANAGEMENT_NETWORK)
            self._machine("controller", management, self.settings.controller_address)
            private = self.network.network_named(bridge.TENANT_NETWORK)
            for name, address in self.settings.tenants.items():
                self._machine(name, private, address)
            public = self.network.network_named(bridge.PUBLIC_NETWORK)
            for name, address in self.settings.outsiders.items():
                self._machine(name, public, address)
        except exceptions.ControllerError as exc:
            hint = " (a kernel without nftables for bridges can do without the filter: --set embedded.port_security=false)"
            is_filter = isinstance(exc, linux.CommandFailed) and "nft" in exc.argv
            raise DevError(f"{exc}{hint if is_filter else ''}") from exc

    def _machine(self, name: str, where: Network, address: str) -> None:
        """A network namespace with one interface on a network of ours."""
        port = self.network.create_port(f"dev-{name}", where.id, where.subnet_ids[0], address, name)
        namespace = self.settings.namespace(name)
        linux.ensure_namespace(self._host, namespace)
        linux.ensure_cable(self._host, self.network.namespace, port, namespace, "eth0")
        lines = [f"address replace {self.network.address_with_prefix(port)} dev eth0", "link set eth0 up"]
        gateway = self.network.get_subnet(port.fixed_ips[0].subnet_id).gateway_ip
        self._host.ip_batch(namespace, [*lines, *([f"route replace default via {gateway}"] if gateway else [])])

    # Processes

    def _start(self, name: str) -> bool:
        if name in settings.WEB_SERVERS:
            from controller.dev import certificates  # imported where it is needed, for `exec` is to be quick

            address = self.settings.tenants[name]
            pem = certificates.ensure_self_signed(self.state / "web" / f"{name}.pem", name, address)
            command = processes.python("controller.dev.web", name, "--address", address, "--https-port", "443", "--pem", str(pem))
            return self.processes.start(name, command, self.settings.namespace(name))
        command = processes.python(self._modules[name], "--config-file", str(self.state / "figlina.conf"))
        inside = None if name == settings.API_PROCESS else self.settings.namespace("controller")
        return self.processes.start(name, command, inside)

    def start(self, name: str) -> bool:
        """Start a process or a web server unless it runs; True if it was started.

        :raises DevError: it can't be started.
        """
        with self._locked():
            return self._start(name)

    def stop(self, name: str) -> None:
        """Stop a process or a web server; not running is fine."""
        with self._locked():
            self.processes.stop([name])

    def restart(self, name: str) -> None:
        """Stop a process if it runs, and start it.

        :raises DevError: it can't be started.
        """
        with self._locked():
            self.processes.stop([name])
            self._start(name)
        if name == settings.API_PROCESS:
            self._wait_for_api()

    def _wait_for_api(self) -> None:
        deadline = time.monotonic() + API_PATIENCE
        while not self.api_answers():
            if not self.processes.running(settings.API_PROCESS) or time.monotonic() > deadline:
                raise DevError(f"the api does not answer. Its last words:\n{self.processes.last_words(settings.API_PROCESS)}")
            time.sleep(0.05)

    def api_answers(self) -> bool:
        """Whether the API of this instance answers within five seconds, with whatever status."""
        try:
            with urllib.request.urlopen(self.settings.api_url + "/", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    # Down

    def down(self, keep: bool = False) -> None:
        """Take everything down, whatever is left of it; the state folder too, unless it is to be kept.

        :raises DevError: something is left, and why.
        """
        with self._locked() if self.state.is_dir() else contextlib.nullcontext():
            self._tell("processes")
            self.processes.stop_all()
            if self.owner() in ("", self._alias):
                self._tell("amphorae and namespaces")
                self._remove_namespaces()
            if not keep:
                self._remove_state()

    def _remove_state(self) -> None:
        """What we made in the state folder, and the folder itself if nothing else lies in it."""
        for path in self.state.iterdir() if self.state.is_dir() else ():
            if path.name.removesuffix("-wal").removesuffix("-shm").removesuffix(".new") in _OURS:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.state.rmdir()

    def _remove_namespaces(self) -> None:
        """Machines, then all other namespaces of ours; one that resists keeps no other one.

        :raises DevError: something is left, and why.
        """
        with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
            ended = [(one.amphora_id, pool.submit(self.compute.delete, one.amphora_id)) for one in self.compute.list_ours()]
        left = [f"machine {amphora_id}: {error}" for amphora_id, done in ended if (error := done.exception())]
        for name in [name for name in linux.namespaces(f"{self.settings.prefix}-") if self._is_ours(name)]:
            try:
                linux.kill_inside(self._host, name)
                linux.delete_namespace(self._host, name)
            except linux.CommandFailed as exc:
                left.append(f"namespace {name}: {exc}")
        if left:
            raise DevError("\n".join(["some of it could not be removed; repeat the command:", *left]))

    def _is_ours(self, namespace: str) -> bool:
        """`figlina-t1-net` begins with `figlina-`, and yet belongs to the prefix `figlina-t1`."""
        name = namespace.removeprefix(f"{self.settings.prefix}-")
        return name in ("net", "router", *self.settings.machines) or name.startswith(("amp-", "router-"))

    # Looking

    def status(self) -> dict[str, Any]:
        """What `figlina dev status --json` prints."""
        private = self.network.network_named(bridge.TENANT_NETWORK)
        public = self.network.network_named(bridge.PUBLIC_NETWORK)
        tenants = self.settings.tenants
        return {
            "api": self.settings.api_url,
            "network_api": f"{self.settings.api_url}/network",
            "network_id": private.id,
            "subnet_id": private.subnet_ids[0],
            "public_network_id": public.id,
            "outside_namespace": self.settings.namespace("outside"),
            "client_namespace": self.settings.namespace("client"),
            "web": {
                name: {"address": address, "http": f"http://{address}/", "https": f"https://{address}/"}
                for name, address in tenants.items()
                if name in settings.WEB_SERVERS
            },
            "processes": {name: self.processes.pids(name) for name in settings.PROCESSES},
            "datagrams": datagrams.NFTABLES,
            "amphorae": self._amphorae(),
        }

    def _amphorae(self) -> list[dict[str, Any]]:
        """Machines that exist, each with what the database knows of it, if it can be asked."""
        from controller.db import database  # takes longer to import than everything else here, and only `status` needs it

        machines_there, known = list(self.compute.list_ours()), {}
        protocols: dict[str | None, frozenset[str]] = {}
        try:
            with contextlib.closing(database.Database(self.database_url)) as opened, opened.read() as tx:
                for machine in machines_there:
                    with contextlib.suppress(exceptions.NotFound):
                        row = known[machine.amphora_id] = tx.amphorae.get(machine.amphora_id)
                        if row.load_balancer_id is not None:
                            listeners = tx.snapshots.get(row.load_balancer_id).listeners
                            protocols[row.load_balancer_id] = frozenset(one.protocol for one in listeners)
        except Exception as exc:
            if not isinstance(exc, (ImportError, ValueError)) and not database.is_transient(exc):
                raise
            self._tell(f"the database of [database] connection can't be asked which amphora is whose: {getattr(exc, 'orig', exc)}")
        rows = {machine.amphora_id: known.get(machine.amphora_id) for machine in machines_there}
        return [self._shown(key, row, protocols.get(row.load_balancer_id if row else None, ())) for key, row in rows.items()]

    def _shown(self, amphora_id: str, row: amphora.Amphora | None, listened_for: Collection[str]) -> dict[str, Any]:
        has_datagrams = any(PROTOCOLS[one].program == datagrams.NAME for one in listened_for if one in PROTOCOLS)
        return {
            "id": amphora_id,
            "load_balancer_id": row.load_balancer_id if row else None,
            "role": str(row.role) if row and row.role else None,
            # Where its network cards are; a virtual machine's are inside it.
            "namespace": self.compute.namespace_of(amphora_id) if isinstance(self.compute, namespace.NamespaceCompute) else None,
            "pids": self.compute.pids(amphora_id),
            "datagrams": datagrams.NFTABLES if has_datagrams else None,
        }

    def entrance(self, name: str) -> list[str]:
        """The command prefix that runs something in a machine of ours: client, outside, controller, a web server, or an amphora by its id.

        :raises DevError: there is no such machine.
        """
        if name in self.settings.machines:
            if not linux.namespace_exists(self.settings.namespace(name)):
                raise DevError(f"{name} is not up: figlina dev up")
            return linux.enter(self.settings.namespace(name))
        pids = []
        with contextlib.suppress(exceptions.NotFound):  # no id at all
            pids = self.compute.pids(name)
        if pids and self.settings.compute == "qemu":
            raise DevError(
                f"{name} is a virtual machine, which lets nobody in; what it says: {self.state}/embedded/amphorae/{name}/console.log"
            )
        if len(pids) < 2:
            raise DevError(f"there is no machine {name!r} that runs: {', '.join(self.settings.machines)}, or an amphora's id")
        return ["nsenter", f"--target={pids[1]}", "--net", "--mount", "--pid", "--uts", "--ipc", "--"]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two commands on one instance wait for each other."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.state / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def find(state: pathlib.Path, tell: Tell = lambda words: None) -> Instance | None:
    """The instance in a folder; None if there is none.

    :raises DevError: there is one, whose settings can't be read.
    """
    try:
        chosen = settings.load(state)
    except (ValueError, TypeError) as exc:
        raise DevError(f"{state / 'dev.json'} can't be read ({exc}): remove {state}, then figlina dev down") from exc
    return Instance(state, chosen, tell) if chosen else None


def choose(state: pathlib.Path, changes: dict[str, Any], tell: Tell = lambda words: None) -> Instance:
    """The instance to put up in a folder: what it was, with the changes that are not None.

    :raises DevError: a change would take an instance that is up away from its own names.
    """
    known = settings.load(state)
    wanted = {name: value for name, value in changes.items() if value is not None}
    if known is None:
        return Instance(state, settings.Settings(**wanted), tell)
    wanted["options"] = {**known.options, **wanted.get("options", {})}
    chosen = dataclasses.replace(known, **wanted)
    if chosen.prefix != known.prefix and linux.namespace_exists(known.namespace("net")):
        raise DevError(f"the instance in {state} is up under the names {known.prefix}-*: take it down first")
    if chosen.compute != known.compute and linux.namespace_exists(known.namespace("net")):
        raise DevError(f"the amphorae of the instance in {state} are of the kind `{known.compute}`: take it down first")
    return Instance(state, chosen, tell)
