"""The commands of `figlina dev`."""

import argparse
import json
import os
import pathlib
import shlex
import time
from typing import Any

import rich.console

from controller import exceptions
from controller.dev import instance, settings

RESTARTABLE = (*settings.PROCESSES, *settings.WEB_SERVERS)
OUT = rich.console.Console(highlight=False)
ERR = rich.console.Console(stderr=True, highlight=False)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of `figlina dev`; each sets `run`, a function of the parsed options that returns an exit code."""
    words = "state folder (default: $FIGLINA_STATE, or .figlina in the checkout)"
    parser.add_argument("--state", type=pathlib.Path, help=words)
    where = argparse.ArgumentParser(add_help=False)  # after the command it means the same
    where.add_argument("--state", type=pathlib.Path, default=argparse.SUPPRESS, help=words)
    commands = parser.add_subparsers(dest="dev_command", required=True)
    up = commands.add_parser("up", parents=[where], help="put everything up in the background; what is up already stays")
    up.add_argument("--topology", choices=["SINGLE", "ACTIVE_STANDBY"], help="amphorae per load balancer: one, or a pair")
    up.add_argument("--compute", choices=settings.COMPUTE, help="what amphorae are: namespaces or virtual machines (default: namespace)")
    up.add_argument("--image", type=pathlib.Path, help="the image of virtual machines (default: what `make image` built)")
    up.add_argument("--prefix", help="how the names of network namespaces begin (default: figlina)")
    up.add_argument("--api-port", type=int, help="TCP port of the API on the loopback (default: 9876)")
    up.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="an option of the configuration; repeatable")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", parents=[where], help="take everything down; what is down already is fine")
    down.add_argument("--keep", action="store_true", help="keep the state folder: database, keys and logs")
    down.add_argument("--prefix", help="names to take away when the state folder is lost (default: figlina)")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", parents=[where], help="what is up, and where")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)
    execute = commands.add_parser(
        "exec", parents=[where], help="run a command in client, outside, web-1 .. web-4, controller, or an amphora (by its id)"
    )
    execute.add_argument("name")
    execute.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ...")
    execute.set_defaults(run=_exec)
    for word in ("restart", "stop", "start"):
        command = commands.add_parser(word, parents=[where], help=f"{word} one process or web server")
        command.add_argument("name", choices=RESTARTABLE)
        command.set_defaults(run=_act)
    logs = commands.add_parser("logs", parents=[where], help="the end of the logs")
    logs.add_argument("name", nargs="*", help="processes (default: all)")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=20)
    logs.set_defaults(run=_logs)


def run(options: argparse.Namespace) -> int:
    """Run the command that was parsed; errors that are the user's to solve are told in a sentence."""
    try:
        code: int = options.run(options)
        return code
    except (instance.DevError, exceptions.ControllerError, ValueError) as exc:
        ERR.print(f"figlina dev: {exc}", markup=False, soft_wrap=True)
        return 1


def _state(options: argparse.Namespace) -> pathlib.Path:
    return options.state.resolve() if options.state else settings.default_state()


def _found(options: argparse.Namespace) -> instance.Instance:
    found = instance.find(_state(options), _tell)
    if found is None:
        raise instance.DevError(f"nothing is up in {_state(options)}: figlina dev up")
    return found


def _tell(words: str) -> None:
    ERR.print(f"  {words}", style="dim", markup=False)


def _up(options: argparse.Namespace) -> int:
    started = time.monotonic()
    changes: dict[str, Any] = {
        "topology": options.topology,
        "compute": options.compute,
        "image": settings.image_of(options.compute, options.image),
        "prefix": options.prefix,
        "api_port": options.api_port,
        "options": settings.parse_options(options.set),
    }
    chosen = instance.choose(_state(options), changes, _tell)
    chosen.up()
    OUT.print(
        f"Figlina is up after {time.monotonic() - started:.1f} s: API on {chosen.settings.api_url}, state in {chosen.state}", soft_wrap=True
    )
    this = f".venv/bin/figlina dev{'' if chosen.state == settings.default_state() else f' --state {shlex.quote(str(chosen.state))}'}"
    OUT.print(f"Next: {this} status", "[dim](names, and how to call openstack and neutron)[/dim]", soft_wrap=True)
    OUT.print(f"      {this} exec client -- curl http://VIP/", soft_wrap=True)
    return 0


def _down(options: argparse.Namespace) -> int:
    state = _state(options)
    lost = settings.Settings(prefix=options.prefix or "figlina")
    found = instance.find(state, _tell) or instance.Instance(state, lost, _tell)
    found.down(options.keep)
    OUT.print("Figlina is down")
    return 0


def _status(options: argparse.Namespace) -> int:
    found = _found(options).status()
    if options.json:
        print(json.dumps(found))
        return 0
    for title, rows in _lines(found).items():
        for name, *cells in rows:
            OUT.print(f"{title:10} [bold]{name:15}[/bold] {'  '.join(cells)}", soft_wrap=True)
            title = ""
    return 0


def _lines(found: dict[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """The status in words: title to rows of cells."""
    return {
        "reach": [("api", found["api"]), ("client", found["client_namespace"]), ("outside", found["outside_namespace"])],
        "commands": [
            ("openstack", f"OS_AUTH_TYPE=none OS_ENDPOINT={found['api']} .venv/bin/openstack loadbalancer list"),
            ("neutron", f"OS_AUTH_TYPE=none OS_ENDPOINT={found['network_api']} .venv-neutronclient/bin/neutron lbaas-loadbalancer-list"),
            ("", "[dim]the old command line, LBaaS v2; made by[/dim] scripts/make-tool-venv neutronclient"),
        ],
        "network": [
            ("private", found["network_id"]),
            ("private-subnet", found["subnet_id"]),
            ("public", found["public_network_id"], "[dim]floating IPs; reached from[/dim] outside"),
        ],
        "web": [(name, web["http"], web["https"]) for name, web in found["web"].items()],
        "processes": [(name, _ids(pids)) for name, pids in found["processes"].items()],
        "datagrams": [("UDP and SCTP", f"by {found['datagrams']}, in each amphora that has listeners of them")],
        "amphorae": [
            (one["id"], f"{one['role'] or '?':10}", f"of {one['load_balancer_id'] or 'no load balancer'}", *_way(one), _ids(one["pids"]))
            for one in found["amphorae"]
        ],
    }


def _way(amphora: dict[str, Any]) -> list[str]:
    """How it serves UDP and SCTP, if it does."""
    return [f"UDP/SCTP by {amphora['datagrams']}"] if amphora["datagrams"] else []


def _ids(pids: list[int]) -> str:
    return "[dim]pids[/dim] " + " ".join(map(str, pids)) if pids else "[red]down[/red]"


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise instance.DevError("exec needs a command: figlina dev exec client -- curl http://VIP/")
    line = [*_found(options).entrance(options.name), *command]
    os.execvp(line[0], line)


def _act(options: argparse.Namespace) -> int:
    getattr(_found(options), options.dev_command)(options.name)
    return 0


def _logs(options: argparse.Namespace) -> int:
    found = _found(options)
    names = options.name or (*settings.PROCESSES, *settings.WEB_SERVERS)
    files = [str(path) for path in map(found.processes.log, names) if path.exists()]
    if not files:
        raise instance.DevError("there is no log of that name")
    os.execvp("tail", ["tail", f"--lines={options.lines}", *(["-F"] if options.follow else []), *files])
