"""[health_manager]: heartbeats of amphorae, and what silence means."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from oslo_config import cfg

from controller.model import strength

GROUP = "health_manager"
OPTS = [
    cfg.StrOpt("bind_ip", default="127.0.0.1", help="Address on which heartbeats are received, on the management network."),
    cfg.PortOpt("bind_port", default=5555, help="UDP port on which heartbeats are received."),
    cfg.ListOpt(
        "controller_ip_port_list",
        default=[],
        help="Health managers that a new amphora is told to report to, as address:port, an IPv6 address in brackets. Name at least two in "
        "a deployment of more than one controller.",
    ),
    cfg.ListOpt(
        "heartbeat_key",
        default=[],
        secret=True,
        help="Keys of the deployment, from which each amphora's own heartbeat key is made; each of 16 random characters or more "
        "(`openssl rand -hex 32`). The first one is given to new amphorae, all of them verify: to change the key, put a new one in front, "
        "and take the old one away when the last amphora made with it is gone, or was told the new one (PUT of its config). Required; one "
        "that could be guessed (short, repeated, a sequence, words, from an example) is refused at the start.",
    ),
    cfg.FloatOpt("heartbeat_interval", default=10.0, min=0.05, help="Seconds between two beats of an amphora."),
    cfg.FloatOpt(
        "full_report_interval",
        default=60.0,
        min=0.1,
        help="Seconds between two full reports of a steady amphora. A change of a status is reported at once.",
    ),
    cfg.FloatOpt(
        "counters_interval",
        default=8.0,
        min=0.1,
        help="Seconds after which a beat goes even before its time if it has news of the statistics: with a second or two for looking and "
        "writing, that is how old they may be. Every beat carries them.",
    ),
    cfg.FloatOpt(
        "heartbeat_timeout",
        default=60.0,
        min=0.2,
        help="Seconds of silence after which an amphora is asked over TLS and, if it is silent there too, failed over. Keep it at three "
        "heartbeat intervals or more, so that one lost packet costs nothing.",
    ),
    cfg.FloatOpt("health_check_interval", default=3.0, min=0.05, help="Seconds between two looks for silent amphorae."),
    cfg.IntOpt(
        "failover_threshold",
        min=1,
        help="If this many amphorae or more are silent at once, none is failed over until they are fewer: the fault is then rather in the "
        "network or in the controller. Default: more than five and more than a fifth of the fleet.",
    ),
    cfg.IntOpt("failover_threads", default=10, min=1, help="Silent amphorae that are asked over TLS side by side."),
    cfg.IntOpt("failovers_per_minute", default=60, min=1, help="Failovers that one health manager starts in a minute, at most."),
    cfg.FloatOpt("question_timeout", default=5.0, min=0.1, help="Seconds that a silent amphora has for its answer over TLS."),
    cfg.FloatOpt(
        "boot_timeout",
        default=120.0,
        min=1,
        help="Seconds after which an amphora that was made and never heard raises an alarm (an event, and a fault on the load balancer).",
    ),
    cfg.FloatOpt(
        "replacement_interval",
        default=86400.0,
        min=1,
        help="Seconds in which an amphora that beats, and its successors, are replaced once at most because of what it or the other half "
        "of its pair reports (another configuration, two holders of the VIP, none). What is then still so is an event and a fault.",
    ),
    cfg.FloatOpt(
        "time_window",
        default=300.0,
        min=1,
        help="Seconds by which the clock of an amphora may differ from ours as long as it has not answered a question of ours; what is "
        "older is taken for a replay. Once it has answered, the difference is known, and its clock may be as wrong as it likes.",
    ),
    cfg.IntOpt(
        "receive_buffer",
        default=64 * 1024 * 1024,
        min=65536,
        help="Bytes of the socket's buffer. Beyond net.core.rmem_max it takes CAP_NET_ADMIN; the log says what was got.",
    ),
]


def deployment_keys(values: Sequence[str]) -> tuple[bytes, ...]:
    """The keys of `heartbeat_key`; the first is for new amphorae.

    :raises ValueError: there is none, or one that could be guessed; the message says how to make a good one.
    """
    if not values:
        raise ValueError("[health_manager] heartbeat_key is not set: make one with `openssl rand -hex 32`")
    for place, value in enumerate(values, 1):
        if strength.is_guessable(value):
            raise ValueError(
                f"key {place} of [health_manager] heartbeat_key is too easy to guess (short, repeated, a sequence, words, or from an "
                "example): make one with `openssl rand -hex 32`, and give every health manager and worker the same"
            )
    return tuple(value.encode() for value in values)


def endpoints(values: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The addresses and ports of `controller_ip_port_list`.

    :raises ValueError: one is not address:port.
    """
    found = []
    for value in values:
        address, _, port = value.rpartition(":")
        try:
            found.append((str(ipaddress.ip_address(address.strip("[]"))), int(port)))
        except ValueError as exc:
            raise ValueError(f"{value!r} in [health_manager] controller_ip_port_list is not address:port") from exc
    return tuple(found)
