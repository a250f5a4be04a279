"""`figlina cloud`: make what a cloud lacks for amphorae, and delete it again."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import os
import pathlib
import sys
from collections.abc import Callable, Mapping

from oslo_config import cfg

from controller import conf as configuration
from controller import exceptions
from controller.deployment import prepare, removal, written
from controller.openstack import cloud


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands; each sets `run`, a function of the parsed options that returns an exit code."""
    commands = parser.add_subparsers(dest="cloud_command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--os-cloud", help="an administrator's name in clouds.yaml (default: $OS_CLOUD, or OS_* of the environment)")
    common.add_argument(
        "--config-file", action="append", default=[], help="configuration file, for what it says of regions and ports; repeatable"
    )
    common.add_argument("--prefix", default="figlina", help="how the names of all that is made begin (default: figlina)")
    common.add_argument("--dry-run", action="store_true", help="only say what would be done")
    make = commands.add_parser("prepare", parents=[common], help="make what is missing; what is there stays, so it can be run again")
    make.add_argument("--project", help="the project of amphorae, made if it is missing (default: that of --os-cloud)")
    make.add_argument("--user", help="the service user, made if it is missing, with the roles admin and service in --project")
    make.add_argument(
        "--password-file", type=pathlib.Path, help="the password of a new user (default: a random one, in what is printed or written)"
    )
    make.add_argument("--cidr", type=_network, default=prepare.Wishes.cidr, help=f"management network (default: {prepare.Wishes.cidr})")
    make.add_argument("--gateway", help="address of a router on it (default: none, controllers are on the network themselves)")
    make.add_argument("--network-type", help="provider network type: flat, vlan, ...")
    make.add_argument("--physical-network", help="provider physical network")
    make.add_argument(
        "--controller", action="append", default=[], type=_network, help="who may reach agents, as CIDR; repeatable (default: all)"
    )
    make.add_argument("--memory", type=int, default=prepare.Wishes.memory, help=f"MiB of an amphora (default: {prepare.Wishes.memory})")
    make.add_argument("--cpus", type=int, default=prepare.Wishes.cpus, help="virtual processors of an amphora (default: 1)")
    make.add_argument("--disk", type=int, default=prepare.Wishes.disk, help="GiB of an amphora, at least those of the image (default: 1)")
    make.add_argument(
        "--image", type=pathlib.Path, help="image file, as `make image` builds it; it is uploaded unless the same bits are there"
    )
    make.add_argument("--tag", help="tag of the image (default: [controller_worker] amp_image_tag)")
    make.add_argument("--visibility", choices=["private", "shared", "community", "public"], default="private", help="who may see the image")
    make.add_argument("--public-key", type=pathlib.Path, help="SSH public key for images that take one; port 22 is opened, too")
    make.add_argument("--endpoint", help="where clients reach figlina-api, for the catalogue")
    make.add_argument("--region", help="region of the endpoint")
    make.add_argument("--skip", action="append", default=[], choices=list(prepare.STEPS), help="leave a step out; repeatable")
    make.add_argument("--write", type=pathlib.Path, metavar="FILE", help="write the lines for figlina.conf there instead of printing them")
    make.set_defaults(run=_guarded(_prepare))
    gone = commands.add_parser("remove", parents=[common], help="delete what `prepare` made: image, flavor, groups, network, service")
    gone.add_argument("--project", help="the project of amphorae, as for `prepare` (default: that of --os-cloud)")
    gone.set_defaults(run=_guarded(_remove))


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _guarded(act: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        try:
            return act(options)
        except (exceptions.ControllerError, cfg.Error, ValueError, OSError) as exc:
            print(f"figlina: {exc}", file=sys.stderr)
            print("figlina: what was done until now stays; when this is mended, the same command goes on", file=sys.stderr)
            return 1

    return run


def _prepare(options: argparse.Namespace) -> int:
    if (options.user is None) != (options.project is None):
        raise ValueError("--user and --project belong together: the user gets its roles in that project")
    file = written.Written(options.write)  # before anything is made
    conf, where = _cloud(options)
    fields = {field.name for field in dataclasses.fields(prepare.Wishes)}
    wishes = prepare.Wishes(
        **{name: value for name, value in vars(options).items() if name in fields - {"tag", "skip"}},
        password=options.password_file.read_text().strip() if options.password_file else None,
        known_password=_known_password(file, options),
        controllers=options.controller,
        agent_port=conf.haproxy_amphora.bind_port,
        heartbeat_port=conf.health_manager.bind_port,
        tag=options.tag or conf.controller_worker.amp_image_tag,
        skip=frozenset(options.skip),
        dry=options.dry_run,
    )

    def keep(settings: Mapping[str, Mapping[str, str]]) -> None:
        file.merge(settings)
        if not options.dry_run:
            file.write()

    work = prepare.Preparation(where, wishes, _tell, keep)
    try:
        work.run()
    finally:
        _hand_over(file, work.settings, options)
    print(f"{work.made} {'to make' if options.dry_run else 'made'}, {len(work.refused)} refused")
    return 1 if work.refused else 0


def _remove(options: argparse.Namespace) -> int:
    removal.remove(_cloud(options)[1], options.prefix, _tell, project=options.project, dry=options.dry_run)
    return 0


def _cloud(options: argparse.Namespace) -> tuple[cfg.ConfigOpts, cloud.Cloud]:
    """As the administrator, wherever the configuration says that the services are."""
    conf = configuration.load_files(options.config_file)
    conf.set_override("cloud", options.os_cloud or os.environ.get("OS_CLOUD") or "envvars", group="service_auth")
    return conf, cloud.Cloud.from_conf(conf)


def _known_password(file: written.Written, options: argparse.Namespace) -> str | None:
    """What a former run wrote of the service user.

    :raises Misconfigured: it wrote of another one, whose password may be nowhere else.
    """
    name = file.get("service_auth", "username")
    if options.user and name and name != options.user:
        raise exceptions.Misconfigured(f"{options.write} is of the user {name}: for {options.user}, name another file with --write")
    return file.get("service_auth", "password")


def _hand_over(file: written.Written, settings: Mapping[str, Mapping[str, str]], options: argparse.Namespace) -> None:
    """The lines for figlina.conf, as far as they are known; those of a former run that are not reached stay."""
    file.merge(settings)
    if options.os_cloud and not options.user and not file.has("service_auth"):
        file.merge({"service_auth": {"cloud": options.os_cloud}})
    if options.write is None or options.dry_run:
        print(file.text)
        return
    try:
        file.write()
    except OSError:
        print(file.text)  # a new user's password would be known to nobody
        raise
    print(f"written: {options.write}")


def _tell(word: str, what: str) -> None:
    print(f"{word:9} {what}", flush=True)
