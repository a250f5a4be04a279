"""`python -m tests.fuzz --count 100000 --seed 1`: figures as one JSON line; 1 if anything was answered or rendered that must not be."""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import sys
import tempfile

from tests.functional.api.conftest import an_api
from tests.fuzz.run import Run


def main() -> int:
    """0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="figlina-fuzz-") as folder:
        path = pathlib.Path(folder)
        with an_api() as api:
            run = Run(api, asked.seed, path)
            seconds = run.go(asked.count)
    for kind, text in run.failures.items():
        sys.stderr.write(f"--- {kind}\n{text}\n")
    print(json.dumps({"fuzz": asked.seed, "seconds": round(seconds, 1), **dict(sorted(run.figures.items()))}))
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
