"""Members that are their own load balancer are told as long as they are: at a VIP, or at a floating IP that leads to one.

The API refuses the first as far as it knows the VIP; a floating IP can be given to the VIP at any time after the member was made, and rows
may be older than the rule. Rendering leaves such members out, so that no request goes round and round; here that is noticed and said.
"""

import logging
from collections.abc import Collection, Sequence

from controller import jobs
from controller.db import database
from controller.model import load_balancer as model

LOG = logging.getLogger(__name__)

CODE, OVER = "member_loop", "member_loop_over"
_WORDS = "its address leads back to this load balancer, so it is left out: give it the address of a server, or delete it"
_NAMED = 5


def is_news(db: database.Database, snapshot: model.Snapshot, floating: Collection[str]) -> bool:
    """Whether something else was said of its members than these addresses mean; `floating` as in `look`."""
    return _said(db, snapshot) != snapshot.loops(floating).keys()


def look(db: database.Database, snapshot: model.Snapshot, floating: Collection[str]) -> bool:
    """Say which members are the load balancer itself now, and which are not any more; True if a repair was posted for what changed.

    `floating` are the addresses that lead to its VIP.
    """
    load_balancer_id = snapshot.load_balancer.id
    loops, said = snapshot.loops(floating), _said(db, snapshot)
    if said == loops.keys():
        return False
    with db.begin() as tx:
        tx.load_balancers.lock(load_balancer_id)
        tx.faults.put(load_balancer_id, sorted(loops.keys() - said), model.Fault(code=CODE, message=_WORDS))
        for member_id in said - loops.keys():
            tx.faults.clear_code(member_id, CODE)
        if is_news := _tell(tx, load_balancer_id, _event(sorted(set(loops.values())))):
            tx.jobs.post(jobs.RepairLoadBalancer(load_balancer_id=load_balancer_id))
    return is_news


def _said(db: database.Database, snapshot: model.Snapshot) -> set[str]:
    with db.read() as tx:
        return {key for key, fault in tx.faults.of_load_balancer(snapshot.load_balancer.id).items() if fault.code == CODE}


def _event(found: Sequence[str]) -> model.Fault:
    if not found:
        return model.Fault(code=OVER, message="no member leads back to this load balancer any more: all are served")
    named = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
    return model.Fault(
        code=CODE, message=f"members at {named} lead back to this load balancer, and are left out: give them addresses of servers"
    )


def _tell(tx: database.Transaction, load_balancer_id: str, event: model.Fault) -> bool:
    """Unless it was said last: the fault of a failed job may only have taken the place of a member's meanwhile."""
    last = [row for row in tx.faults.events(load_balancer_id) if row["code"] in (CODE, OVER)][:1]
    if [(row["code"], row["message"]) for row in last] == [(event.code, event.message)]:
        return False
    tx.faults.add_event(load_balancer_id, "load_balancer", load_balancer_id, event)
    LOG.warning("load balancer %s: %s", load_balancer_id, event.message)
    return True
