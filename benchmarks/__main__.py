"""All benchmarks, one after the other, each in a process of its own: `make bench`. Names as arguments choose some."""

from __future__ import annotations

import pathlib
import subprocess
import sys

_NOT_BENCHMARKS = {"__init__", "__main__", "harness"}


def main() -> int:
    """0 if every benchmark ran to its end."""
    known = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("*.py") if path.stem not in _NOT_BENCHMARKS)
    chosen = sys.argv[1:] or known
    if unknown := set(chosen) - set(known):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    failed = [name for name in chosen if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode]
    if failed:
        sys.stderr.write(f"did not run to their end: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
