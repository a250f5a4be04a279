"""From a report's bytes to the noun. Bytes are signed, but an amphora may fall into a tenant's hands: everything is checked.

The rows of its load balancer tell what an amphora can have to say. Nothing larger than that is unpacked, and what they do not name is
left out.
"""

import math
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from amphora_agent.protocol import heartbeat as protocol
from controller.db.repositories import health
from controller.health_manager import restarts
from controller.model import heartbeat as model

_COUNTERS = protocol.COUNTERS
_LARGEST = 2**63 - 1  # what a BIGINT column holds
_LONGEST_WORD = 32
_LONGEST_HASH = 64
_ROOM, _ROOM_OF_LISTENER, _ROOM_OF_VIEW, _ROOM_OF_MEMBER = 32 * 1024, 512, 256, 128


class TooLarge(protocol.Rejected):
    """A report that is larger than what was allowed for it."""


def room(extent: health.Extent | None) -> int:
    """Bytes of JSON that a report on this may have: twice of what an agent makes of it, and some; without a load balancer, only some.

    As JSON that can't be compressed becomes hardly larger, so many may travel as well.
    """
    if extent is None:
        return _ROOM
    views = sum(_ROOM_OF_VIEW + _ROOM_OF_MEMBER * members for members in extent.views)
    return min(_ROOM + _ROOM_OF_LISTENER * len(extent.listeners) + views, protocol.MAX_REPORT)


def decode(body: bytes, listeners: Collection[str] | None = None, largest: int | None = None) -> model.Report:
    """The report that a body carries, as far as it speaks of these `listeners` (by default, of all that it names).

    :raises TooLarge: it unpacks to more than `largest` (by default `protocol.MAX_REPORT`) bytes.
    :raises protocol.Rejected: it is not a report.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(body, protocol.MAX_REPORT if largest is None else largest)
        if unpacker.unconsumed_tail:
            raise TooLarge("the report is too large")
        if unpacker.unused_data or not unpacker.eof:
            raise protocol.Rejected("the report is cut, or more follows it")
        return _report(orjson.loads(text), listeners)
    except protocol.Rejected:
        raise
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise protocol.Rejected(f"not a report: {exc}") from exc


def counters(listener: bytes) -> model.ListenerReport:
    """What a beat says of a listener, whose status is that of the last report."""
    values = (min(value, _LARGEST) for value in protocol.decode_counters(listener))
    return model.ListenerReport(status="", **dict(zip(_COUNTERS, values, strict=True)))


def _report(data: Mapping[str, Any], wanted: Collection[str] | None) -> model.Report:
    config_hash = data["hash"]
    if not isinstance(config_hash, str):
        raise ValueError("a hash is a word")
    named: Mapping[str, Any] = data["listeners"]
    listeners = {key: _listener(item) for key, item in named.items() if wanted is None or key in wanted}
    pools = {key: _pool(item) for text, item in data["pools"].items() if (key := _pool_key(text)) and (wanted is None or key[1] in wanted)}
    return model.Report(
        generation=_number(data["generation"]),
        config_hash=config_hash[:_LONGEST_HASH],
        listeners=listeners,
        pools=pools,
        strays=len(named) - len(listeners),
        programs=_programs(data.get("programs") or {}),
        vrrp=_vrrp(data.get("vrrp")),
        named=tuple(sorted(named)),
    )


def _programs(data: Mapping[str, Any]) -> Mapping[str, model.ProgramReport]:
    return {name: _program(data[name]) for name in restarts.PROGRAMS if name in data}


def _program(item: Mapping[str, Any]) -> model.ProgramReport:
    died, hung = (min(_number(item[how]), restarts.MOST) for how in ("died", "hung"))  # more does not fit into the row
    return model.ProgramReport(state=_word(item["state"]), died=died, hung=hung)


def _vrrp(data: Mapping[str, Any] | None) -> model.VrrpReport | None:
    if data is None:
        return None
    if not isinstance(data["holds_vip"], bool):
        raise ValueError("holds_vip is true or false")
    return model.VrrpReport(state=_word(data["state"]), holds_vip=data["holds_vip"])


def _listener(item: Mapping[str, Any]) -> model.ListenerReport:
    stats = item["stats"]
    return model.ListenerReport(status=_word(item["status"]), **{name: _number(stats[name]) for name in _COUNTERS})


def _pool(item: Mapping[str, Any]) -> model.PoolReport:
    members: Mapping[str, str] = item["members"]
    for member_status in members.values():
        _word(member_status)
    return model.PoolReport(status=_word(item["status"]), members=members)


def _pool_key(key: str) -> tuple[str, str]:
    pool_id, colon, listener_id = key.partition(":")
    if not colon:
        raise ValueError("the key of a pool is <pool id>:<listener id>")
    return pool_id, listener_id


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_WORD:
        raise ValueError("a status is a short word")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a counter is a number")
    return min(max(int(value), 0), _LARGEST)
