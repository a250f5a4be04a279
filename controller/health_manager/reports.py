"""From a report's bytes to the noun. Bytes are signed, but an amphora may fall into a tenant's hands: everything is checked."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from amphora_agent.protocol import heartbeat as protocol
from controller.model import heartbeat as model

_COUNTERS = ("bytes_in", "bytes_out", "active_connections", "total_connections", "request_errors")
_LARGEST = 2**63 - 1  # what a BIGINT column holds
_LONGEST_WORD = 32


def decode(body: bytes) -> model.Report:
    """The report that a body carries.

    :raises protocol.Rejected: it is not one, or unpacks to more than `protocol.MAX_REPORT` bytes.
    """
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(body, protocol.MAX_REPORT)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise protocol.Rejected("the report is cut, or too large")
        return _report(orjson.loads(text))
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError) as exc:
        raise protocol.Rejected(f"not a report: {exc}") from exc


def _report(data: Mapping[str, Any]) -> model.Report:
    return model.Report(
        generation=_number(data["generation"]),
        config_hash=str(data["hash"])[:64],
        listeners={listener_id: _listener(item) for listener_id, item in data["listeners"].items()},
        pools={_pool_key(key): _pool(item) for key, item in data["pools"].items()},
    )


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
    if not isinstance(value, int | float) or value != value:
        raise ValueError("a counter is a number")
    return min(max(int(value), 0), _LARGEST)
