"""`figlina`: the operator's command line."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from controller.cmd import ca, cloud, status
from controller.dev import cli, demo, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit code."""
    parser = argparse.ArgumentParser(prog="figlina", description="Load balancers as a service.")
    commands = parser.add_subparsers(dest="command", required=True)
    dev = commands.add_parser("dev", help="all of Figlina on this machine, in network namespaces of its own")
    cli.add_commands(dev)
    story = commands.add_parser("demo", help="the main job, told as it goes; leaves nothing behind")
    authority = commands.add_parser("ca", help="the roots of amphorae and controllers: how one follows another")
    ca.add_commands(authority, commands.add_parser("secrets", help="the `local` store of tenants' certificates"))
    status.add_commands(commands.add_parser("status", help="whether everything is right, here and in the cloud (also: figlina-status)"))
    cloud.add_commands(commands.add_parser("cloud", help="what amphorae need in an OpenStack: make it, delete it"))
    story.add_argument("--compute", choices=settings.COMPUTE, default="namespace", help="what amphorae are (default: network namespaces)")
    story.add_argument("--image", type=pathlib.Path, help="the image of virtual machines (default: what `make image` built)")
    story.set_defaults(run=lambda options: demo.run(options.compute, options.image))
    return cli.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
