"""Starts again what dies: `figlina dev up --supervise` runs this in the background. It ends by SIGTERM, or when its instance is gone."""

import argparse
import pathlib
import signal
import sys
import threading
import time

from controller import exceptions
from controller.dev import instance

INTERVAL = 0.5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", required=True, type=pathlib.Path)
    state = parser.parse_args(arguments).state
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(INTERVAL):
        watched = instance.find(state)
        if watched is None:
            return 0
        try:
            for name in watched.revive():
                print(f"{time.strftime('%H:%M:%S')} started {name}", flush=True)
        except (instance.DevError, exceptions.ControllerError) as exc:
            print(f"{time.strftime('%H:%M:%S')} {exc}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
