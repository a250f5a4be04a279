"""What flows work with: the database, the drivers that the configuration names, and the values that tasks need."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, Generic, TypeVar

from oslo_config import cfg
from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exceptions

from controller import exceptions, render, threads
from controller.conf import health_manager
from controller.db import database, fence, recent
from controller.drivers.amphora import interface as amphora_interface
from controller.drivers.amphora import waiting
from controller.drivers.ca import interface as ca_interface
from controller.drivers.compute import interface as compute_interface
from controller.drivers.compute import watch
from controller.drivers.network import interface as network_interface
from controller.drivers.network import remembered
from controller.drivers.secrets import cipher as ciphers
from controller.drivers.secrets import interface as secrets_interface
from controller.model import renewal

T = TypeVar("T")

_PAUSES = 100  # a lifetime has room for so many further tries at least
_PUSHES = 1024
"""Amphorae that this process asks something side by side, over all its flows: each that hangs has a thread, whether its flow still waits
or has given it up. As many threads are made as are needed at once.
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Values of the configuration that tasks need; times in seconds. `deployment_key` makes the heartbeat keys of amphorae."""

    deployment_key: bytes = dataclasses.field(default=b"", repr=False)
    health_managers: tuple[tuple[str, int], ...] = ()
    heartbeat_interval: float = 10.0
    heartbeat_timeout: float = 60.0
    full_report_interval: float = 60.0
    counters_interval: float = 8.0
    agent_port: int = 9443
    haproxy_command: str = "haproxy"
    keepalived_command: str = "keepalived"
    boot_timeout: float = 600.0
    image_tag: str | None = None
    compute_flavor: str | None = None
    ssh: bool = False  # whether somebody may log in: then a machine gets a host key
    cert_renew_after: float = renewal.RENEW_AFTER
    cert_first_pause: float = renewal.FIRST_PAUSE
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)  # those of `boot.AgentConfig` on former workers of HAProxy
    render: render.Settings = dataclasses.field(default_factory=render.Settings)

    @property
    def agent(self) -> dict[str, Any]:
        """What an agent lives by, as `render.boot` is told it.

        :raises Misconfigured: nobody would hear it.
        """
        if not self.health_managers:
            raise exceptions.Misconfigured(
                "[health_manager] controller_ip_port_list is empty: name the addresses to which amphorae are to send their heartbeats"
            )
        intervals = ("heartbeat_interval", "full_report_interval", "counters_interval")
        told = {"deployment_key": self.deployment_key, "health_managers": self.health_managers, "limits": self.limits}
        return told | {name: getattr(self, name) for name in intervals}

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Settings:
        """The values of a configuration.

        :raises ValueError: a heartbeat key that can be guessed, or a health manager's address that is none; the message says which.
        """
        worker, health = conf.controller_worker, conf.health_manager
        return cls(
            deployment_key=health_manager.deployment_keys(health.heartbeat_key)[0],
            health_managers=health_manager.endpoints(health.controller_ip_port_list),
            heartbeat_interval=health.heartbeat_interval,
            heartbeat_timeout=health.heartbeat_timeout,
            full_report_interval=health.full_report_interval,
            counters_interval=health.counters_interval,
            agent_port=conf.haproxy_amphora.bind_port,
            haproxy_command=conf.haproxy_amphora.haproxy_cmd,
            keepalived_command=conf.haproxy_amphora.keepalived_cmd,
            boot_timeout=worker.boot_timeout,
            image_tag=worker.amp_image_tag,
            compute_flavor=worker.amp_flavor_id,
            ssh=bool(worker.amp_ssh_key_name),
            cert_renew_after=conf.certificates.cert_renew_after,
            cert_first_pause=min(renewal.FIRST_PAUSE, conf.certificates.cert_validity_time / _PAUSES),
            limits={name: conf.haproxy_amphora[name] for name in ("hard_stop_after", "max_former_workers", "memory_reserve")},
            render=render.Settings.from_conf(conf),
        )


class _Made(Generic[T]):
    """An attribute of services that is made when it is first asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, services: Services, owner: type) -> T:
        with services.lock:
            if self._name not in services.made:
                services.made[self._name] = services.make(self._name)
            found: T = services.made[self._name]
        return found


class Services:
    """One per process. Drivers are made when they are first used, so a process that needs few of them names few in its configuration."""

    def __init__(
        self,
        db: database.Database,
        compute: compute_interface.ComputeDriver | None = None,
        network: network_interface.NetworkDriver | None = None,
        amphora: amphora_interface.AmphoraDriver | None = None,
        ca: ca_interface.CertificateAuthority | None = None,
        secrets: secrets_interface.SecretStore | None = None,
        settings: Settings | None = None,
        cipher: ciphers.Cipher | None = None,
        wake: Callable[[], None] = lambda: None,
        make: Callable[[str], Any] | None = None,
    ) -> None:
        """Drivers that are not given are made by `make(kind)`. `wake` rings the workers after a job was posted."""
        self.db = db
        self.wake = wake
        self.lock = threading.RLock()
        given: dict[str, Any] = {"compute": compute, "network": network, "amphora": amphora, "ca": ca, "secrets": secrets}
        given |= {"settings": settings, "cipher": cipher}
        self.made = {kind: driver for kind, driver in given.items() if driver is not None}
        self.make = make or _missing

    @classmethod
    def load(cls, conf: cfg.ConfigOpts, db: database.Database | None = None, wake: Callable[[], None] = lambda: None) -> Services:
        """The services of a configuration; drivers are found by their entry points."""
        db = db or database.Database(conf.database.connection, conf.database.busy_timeout)
        return cls(db, wake=wake, make=functools.partial(_from_conf, conf))

    compute = _Made[compute_interface.ComputeDriver]()
    """Boots and deletes machines."""
    network = _Made[network_interface.NetworkDriver]()
    """Makes and removes ports."""
    amphora = _Made[amphora_interface.AmphoraDriver]()
    """Speaks to agents."""
    ca = _Made[ca_interface.CertificateAuthority]()
    """Issues agents' certificates."""
    secrets = _Made[secrets_interface.SecretStore]()
    """Keeps tenants' certificates and keys."""
    cipher = _Made[ciphers.Cipher]()
    """Encrypts the copies of tenants' certificates."""
    settings = _Made[Settings]()
    """Values of the configuration."""

    @functools.cached_property
    def networks(self) -> remembered.RememberedNetworks:
        """Facts of networks and subnets, some seconds old."""
        return self.network.remembered

    @functools.cached_property
    def machines(self) -> watch.Watch:
        """What the compute service says of machines that are to come up."""
        return watch.Watch(self.compute)

    @functools.cached_property
    def waiting(self) -> waiting.Waiting:
        """Whose work waits for an agent just now."""
        return waiting.Waiting()

    @functools.cached_property
    def fence(self) -> fence.Fence:
        """Looks at the lease around every write to the outside."""
        return fence.Fence(self.db, self.wake)

    @functools.cached_property
    def snapshots(self) -> recent.RecentSnapshots:
        """Load balancers as the rows say, with a memory for what can't have changed."""
        return recent.RecentSnapshots(self.db)

    @functools.cached_property
    def pushers(self) -> futures.Executor:
        """Threads for what goes to several amphorae side by side; its work never waits for other work of its own."""
        return threads.Pool(_PUSHES, thread_name_prefix="push")

    def close(self) -> None:
        """End the threads and give the database's connections back."""
        if "pushers" in self.__dict__:
            self.pushers.shutdown()
        self.db.close()


def _missing(kind: str) -> Any:
    if kind == "settings":
        return Settings()
    if kind == "cipher":
        return ciphers.ephemeral()
    raise LookupError(f"these services were made without {kind}")


def _from_conf(conf: cfg.ConfigOpts, kind: str) -> Any:
    """The driver that the configuration names.

    :raises LookupError: no driver of that kind bears that name; the message says where it is named.
    """
    if kind == "settings":
        return Settings.from_conf(conf)
    if kind == "cipher":
        return ciphers.from_conf(conf)
    name = conf.controller_worker[f"{kind}_driver"]
    try:
        found: Any = stevedore_driver.DriverManager(f"figlina.{kind}", name, on_load_failure_callback=_broken)
    except stevedore_exceptions.NoMatches as exc:
        raise LookupError(f"[controller_worker] {kind}_driver: no driver {name!r} of kind figlina.{kind} is installed") from exc
    return found.driver.from_conf(conf)


def _broken(_manager: Any, entry_point: Any, error: BaseException) -> None:
    raise LookupError(f"the driver {entry_point.name!r} ({entry_point.value}) can't be loaded: {error}") from error
