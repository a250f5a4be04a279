"""A worker that stops itself (SIGSTOP, as a paused machine does) just before a write to the outside, and goes on when it is continued.

    python tests/pausing_worker.py --before network.set_vip_access --count 2 --config-file F     before the second such call
    python tests/pausing_worker.py --list --config-file F                                        no stop: a line per write

Which calls are writes follows from the contracts of the drivers (`tests/pausing.py`). All other arguments go to `figlina-worker`.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from controller import services
from controller.cmd import worker
from tests import pausing


def main() -> int:
    """Run the worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--before", help="the write, such as amphora.apply")
    what.add_argument("--list", action="store_true", help="print the writes instead")
    parser.add_argument("--count", type=int, default=1, help="which of its calls, counted from 1")
    options, others = parser.parse_known_args()

    def before(name: str, count: int) -> None:
        sys.stdout.write(f"write {name} {count}\n")
        sys.stdout.flush()
        if (name, count) == (options.before, options.count):
            sys.stdout.write("stands still\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.2)  # another thread may take the signal: this one is not to go on before all stand still

    make = services.Services.__init__

    def watched(self: services.Services, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        pausing.watch(self, before)

    services.Services.__init__ = watched  # type: ignore[method-assign]
    return worker.main(others)


if __name__ == "__main__":
    sys.exit(main())
