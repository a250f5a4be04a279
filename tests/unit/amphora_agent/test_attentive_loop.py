"""The event loop of probes, in a process that is stopped: an answer that came in meanwhile came in time."""

from __future__ import annotations

import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

_LIMIT = 1.0  # seconds
_ASKS = f"""
import asyncio, socket, sys
from amphora_agent import attentive_loop

async def ask():
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"?")
    try:
        async with asyncio.timeout({_LIMIT}):
            return (await loop.sock_recv(sock, 100)).decode()
    except TimeoutError:
        return "timed out"

print(attentive_loop.AttentiveLoop().run_until_complete(ask()), flush=True)
"""


def _answered_late(answer: bytes) -> str | None:
    """What one finds who is stopped as soon as they have asked, for longer than the time-out, and gets this answer meanwhile.

    None: their time was up before they could be stopped.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", _ASKS, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        with child:
            try:
                assert ours.recv(1) == b"?"
                while _state(child.pid) != "S":  # waits for the answer
                    if child.poll() is not None:
                        return None
                os.kill(child.pid, signal.SIGSTOP)
                while _state(child.pid) != "T":
                    time.sleep(0.01)
                if select.select([child.stdout], [], [], 0)[0]:
                    return None
                ours.sendall(answer)
                time.sleep(1.2 * _LIMIT)
            finally:
                os.kill(child.pid, signal.SIGCONT)
            return child.communicate(timeout=60)[0].strip()


def _state(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.lengthy
@pytest.mark.parametrize(("answer", "found"), [(b"well", "well"), (b"", "timed out")])
def test_time_outs_stand_still_while_the_process_is_stopped_and_pass_all_the_same(answer: bytes, found: str) -> None:
    assert next(one for one in (_answered_late(answer) for _ in range(10)) if one is not None) == found
