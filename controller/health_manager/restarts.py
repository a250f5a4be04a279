"""Programs that died or hung in an amphora and were started again -> events, each told once, whichever manager hears of it first.

Reports carry counts that only rise; a row keeps how much of them was told. Who moves the row on writes the events, in one transaction.
"""

import logging
from collections.abc import Mapping

from controller.db import database
from controller.model import heartbeat as model
from controller.model import load_balancer

LOG = logging.getLogger(__name__)
_NAMES = {
    "agent": "its agent",
    "haproxy": "HAProxy",
    "datagrams": "what serves UDP",
    "keepalived": "keepalived",
    "former": "former HAProxy",
}
PROGRAMS = tuple(_NAMES)
"""Those of which a report may speak."""
MOST = 10**9
"""Counts beyond are not told apart: the row has room for this."""


def tell(tx: database.Transaction, load_balancer_id: str, amphora_id: str, programs: Mapping[str, model.ProgramReport]) -> bool:
    """Write an event for each program that was started again since the last time; False if all was told before."""
    told = tx.health.told_restarts(amphora_id)
    before = {name: (int(died), int(hung)) for name, died, hung in (word.split(":") for word in (told or "").split())}
    now = {name: (program.died, program.hung) for name, program in programs.items() if name in _NAMES}
    if told is None or now == before or (not told and not any(sum(counts) for counts in now.values())):
        return False
    words = " ".join(f"{name}:{died}:{hung}" for name, (died, hung) in sorted({**before, **now}.items()))
    if not tx.health.tell_restarts(amphora_id, told, words):
        return False  # another manager was faster
    for name, (died, hung) in now.items():
        was_died, was_hung = before.get(name, (0, 0))
        for cause, count in (("died", died - was_died), ("hung", hung - was_hung)):
            if count > 0:
                message, code = (
                    (_cut(count), "connections_cut") if name == "former" else (_sentence(_NAMES[name], cause, count), "restarted")
                )
                LOG.warning("Amphora %s: %s", amphora_id, message)
                tx.faults.add_event(load_balancer_id, "amphora", amphora_id, load_balancer.Fault(code=code, message=message))
    return True


def _sentence(name: str, cause: str, count: int) -> str:
    times = "" if count == 1 else f" {count} times"
    return f"{name} {cause}{times} and was started again"


def _cut(count: int) -> str:
    which = "a process of HAProxy" if count == 1 else f"{count} processes of HAProxy"
    return f"its memory is short: {which} that finished connections of before a change, idle for longest, was ended, and they were cut"
