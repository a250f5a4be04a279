"""All API tests of tempest's plug-in for load balancing, with IPv4 and with IPv6: what `make test-tempest` runs. Needs root."""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

import pytest

from tests.integration import keystone
from tests.tempest import cloud, expected, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 if everything passed but what is expected to fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.tempest", description=__doc__)
    parser.add_argument("--select", default=run.ALL, help="a regular expression of test ids (all API tests)")
    parser.add_argument("--jobs", type=int, default=2, help="how many run side by side")
    parser.add_argument("--ip", choices=("4", "6", "both"), default="both", help="the version of IP of VIPs where tests do not care")
    parser.add_argument("--folder", type=pathlib.Path, help="where logs are left (a temporary folder, whose name is told)")
    chosen = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("tempest runs against network namespaces, which only root can make: run it as root")
        return 1
    try:
        run.install()
        keystone.install()
    except (run.NotInstalled, pytest.skip.Exception) as exc:
        print(f"tempest or Keystone can't be installed here: {exc}")
        return 1
    folder = chosen.folder or pathlib.Path(tempfile.mkdtemp(prefix="figlina-tempest-"))
    folder.mkdir(parents=True, exist_ok=True)
    listed = expected.read(expected.LIST.read_text())
    results: list[run.Result] = []
    with cloud.running(folder) as there:
        for version in ("4", "6") if chosen.ip == "both" else (chosen.ip,):
            began = time.monotonic()
            own = folder / f"ipv{version}"
            found = run.run(own, there.configuration(own, ipv6=version == "6"), select=chosen.select, jobs=chosen.jobs)
            results += found
            counts = collections.Counter(one.status for one in found)
            print(f"IPv{version}: {dict(sorted(counts.items()))} in {time.monotonic() - began:.0f} s; log: {own / 'run.log'}", flush=True)
    wrong = expected.complaints(results, listed, whole=chosen.select == run.ALL and chosen.ip == "both")
    for sentence in wrong:
        print(sentence)
    print(f"{len(listed)} tests are expected to fail: {expected.LIST}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
