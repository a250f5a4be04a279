"""What one instance of `figlina dev` is: its state folder, its names and addresses, and the configuration file of its processes."""

import configparser
import dataclasses
import io
import ipaddress
import json
import os
import pathlib
import re
import secrets
from collections.abc import Iterable, Mapping

from controller.embedded import machines

WEB_SERVERS = ("web-1", "web-2", "web-3", "web-4")
API_PROCESS = "api"
CONTROLLER_PROCESSES = ("worker", "health_manager", "housekeeping")
PROCESSES = (API_PROCESS, *CONTROLLER_PROCESSES)
COMPUTE = ("namespace", "qemu")
"""What amphorae can be: network namespaces, or virtual machines."""
_BOOT_TIMEOUT = {"namespace": "60", "qemu": "300"}  # seconds; by emulation, on a busy machine
_WEB_PLACE = 11  # web-1 has the eleventh address of its subnet; the client the tenth
_CLIENT_PLACE = 10
_OUTSIDE_PLACE = 10
_CONTROLLER_PLACE = 2
_PREFIX = re.compile("[a-z][a-z0-9-]{0,59}").fullmatch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Chosen by the first `up`, and kept in the state folder, so that later commands need the folder only."""

    prefix: str = "figlina"
    api_port: int = 9876
    topology: str = "SINGLE"
    compute: str = "namespace"
    image: str = ""  # of virtual machines (compute `qemu`)
    management_cidr: str = "198.19.0.0/20"
    private_cidr: str = "198.19.64.0/20"
    public_cidr: str = "198.19.128.0/24"
    heartbeat_key: str = dataclasses.field(default_factory=lambda: secrets.token_hex(32), repr=False)
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further options of the configuration file: `section.option` to value."""

    def __post_init__(self) -> None:
        """Refuse what nothing could be named by, or nobody could listen on.

        :raises ValueError: the prefix or the port is such; the message says what is possible.
        """
        if not _PREFIX(self.prefix):
            raise ValueError(f"names can't begin with {self.prefix!r}: a prefix has at most 60 small letters, digits and dashes")
        if self.compute not in COMPUTE:
            raise ValueError(f"amphorae can't run as {self.compute!r}: {' or '.join(COMPUTE)}")
        if not 1 <= self.api_port <= 65535:
            raise ValueError(f"{self.api_port} is no TCP port: 1 to 65535")

    @property
    def api_url(self) -> str:
        """Where clients on this machine reach the API."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def controller_address(self) -> str:
        """The controller's address on the management network."""
        return _place(self.management_cidr, _CONTROLLER_PLACE)

    @property
    def tenants(self) -> dict[str, str]:
        """Name and address of every machine on the tenant network that is not an amphora."""
        web = {name: _place(self.private_cidr, _WEB_PLACE + index) for index, name in enumerate(WEB_SERVERS)}
        return {"client": _place(self.private_cidr, _CLIENT_PLACE), **web}

    @property
    def outsiders(self) -> dict[str, str]:
        """Name and address of every machine on the external network."""
        return {"outside": _place(self.public_cidr, _OUTSIDE_PLACE)}

    @property
    def machines(self) -> tuple[str, ...]:
        """The names of all namespaces that are no amphorae: the controller, tenants' machines, machines outside."""
        return ("controller", *self.tenants, *self.outsiders)

    def namespace(self, name: str) -> str:
        """The network namespace of one of them."""
        return f"{self.prefix}-{name}"

    def configuration(self, state: pathlib.Path) -> str:
        """The configuration file. Times are short: on one machine nothing is far away, and whoever tries things does not want to wait."""
        file = configparser.ConfigParser(interpolation=None, default_section="")  # [DEFAULT] is one like the others
        file.read_dict(_sections(self, state))
        for key, value in self.options.items():
            section, _, option = key.partition(".")
            file.read_dict({section: {option: value}})
        text = io.StringIO()
        file.write(text)
        head = "# Written by `figlina dev up`; changes are lost with its next run (give it --set SECTION.OPTION=VALUE instead)."
        return f"{head}\n\n{text.getvalue()}"


def _place(cidr: str, place: int) -> str:
    return str(ipaddress.ip_network(cidr)[place])


def _sections(settings: Settings, state: pathlib.Path) -> dict[str, dict[str, str]]:
    return {
        "database": {"connection": f"sqlite:///{state / 'figlina.db'}"},
        "api_settings": {
            "bind_host": "127.0.0.1",
            "bind_port": str(settings.api_port),
            "auth_strategy": "noauth",
            "noauth_project_id": "demo",
            "embedded_networking": "true",
            "graceful_timeout": "5",
        },
        "controller_worker": {
            "loadbalancer_topology": settings.topology,
            "compute_driver": settings.compute,
            "network_driver": "bridge",
            "amphora_driver": "rest",
            "ca_driver": "local",
            "secrets_driver": "local",
            "boot_timeout": _BOOT_TIMEOUT[settings.compute],
            "claim_expiry": "10",
            "retry_backoff": "1",
            "retry_backoff_max": "10",
        },
        "task_flow": {"wakeup_directory": str(state / "wakeup"), "shutdown_timeout": "8"},
        "health_manager": {
            "bind_ip": settings.controller_address,
            "bind_port": "5555",
            "controller_ip_port_list": f"{settings.controller_address}:5555",
            "heartbeat_key": settings.heartbeat_key,
            "heartbeat_interval": "1",
            "full_report_interval": "10",
            "heartbeat_timeout": "4",
            "health_check_interval": "0.5",
            "question_timeout": "2",
            "boot_timeout": _BOOT_TIMEOUT[settings.compute],
        },
        "house_keeping": {"sweep_interval": "2", "orphan_interval": "10", "orphan_grace": "30"},
        "certificates": {
            "create": "true",
            "ca_path": str(state / "ca"),
            "storage_path": str(state / "secrets"),
        },
        "embedded": {
            "state_path": str(state / "embedded"),
            "namespace_prefix": settings.prefix,
            "management_cidr": settings.management_cidr,
            "private_cidr": settings.private_cidr,
            "public_cidr": settings.public_cidr,
            **({"image": settings.image} if settings.image else {}),
        },
    }


def default_state() -> pathlib.Path:
    """`$FIGLINA_STATE`, or `.figlina` in the checkout (the current folder if this is not a checkout)."""
    if given := os.environ.get("FIGLINA_STATE"):
        return pathlib.Path(given).resolve()
    checkout = pathlib.Path(__file__).resolve().parents[2]
    return (checkout if (checkout / "setup.cfg").is_file() else pathlib.Path.cwd()) / ".figlina"


def image_of(compute: str | None, named: pathlib.Path | None) -> str | None:
    """The image that virtual machines are made of; None: there are none.

    :raises ValueError: it is not there; the message says how to get one.
    """
    if compute != "qemu":
        return None
    image = (named or pathlib.Path(__file__).resolve().parents[2] / "build" / "image" / "amphora.qcow2").resolve()
    if not image.is_file():
        raise ValueError(f"virtual machines need an image, and there is no {image}: `make image` builds one")
    return str(image)


def load(state: pathlib.Path) -> Settings | None:
    """The settings of the instance in this folder; None if there is none."""
    try:
        return Settings(**json.loads((state / "dev.json").read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def save(state: pathlib.Path, settings: Settings) -> bool:
    """Keep the settings, and write the configuration file from them; True if that file is not what it was.

    Both can be read by us alone, for there are keys in them.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, content = state / "figlina.conf", settings.configuration(state)
    changed = not path.exists() or path.read_text() != content
    machines.write(path, content.encode())
    machines.write(state / "dev.json", json.dumps(dataclasses.asdict(settings), indent=1).encode())
    return changed


def parse_options(given: Iterable[str]) -> dict[str, str]:
    """`SECTION.OPTION=VALUE` as from the command line.

    :raises ValueError: one is not of that form.
    """
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or "." not in key or "\n" in text:
            raise ValueError(f"{text!r} is not SECTION.OPTION=VALUE")
        found[key] = value
    return found
