"""Where packages come from: the apt configuration of this machine, with the release that the image has."""

from __future__ import annotations

import pathlib
import re

from images.builder import commands

RELEASES = {"13": "trixie", "12": "bookworm"}
"""Debian's releases that the image can be made of."""

_PASSED_ON = re.compile(r"^Acquire::(?:https?::|Retries|ForceIPv|Check-)")


def of_host(release: str) -> list[str]:
    """One-line sources for a release, from wherever this machine has its packages.

    :raises BuildError: this machine's apt has no source of Debian.
    """
    shown = commands.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Identifier: Packages"]).decode()
    components: dict[tuple[str, str], list[str]] = {}
    for line in shown.splitlines():
        uri, suite, component = line.split()
        suffix = re.search(r"^[a-z]+(-updates|-security)?$", suite)
        if suffix is not None:
            components.setdefault((uri, release + (suffix[1] or "")), []).append(component)
    if not components:
        raise commands.BuildError(
            "apt on this machine has no source of Debian packages: see `man sources.list`, then run `apt-get update`."
        )
    return [f"deb {uri} {suite} {' '.join(sorted(set(names)))}" for (uri, suite), names in sorted(components.items())]


def write(release: str, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Write the sources, and the options of apt that matter for downloads (proxies and the like); returns both files."""
    listed, options = folder / "sources.list", folder / "apt.conf"
    listed.write_text("\n".join(of_host(release)) + "\n")
    dump = commands.run(["apt-config", "dump"]).decode().splitlines()
    options.write_text("".join(f"{line}\n" for line in dump if _PASSED_ON.match(line)))
    return listed, options
