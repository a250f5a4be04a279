"""The protocols that listeners speak with clients and pools with members, in one table: whoever asks about a protocol asks here.

Which pools go below which listeners, which monitors probe which pools, and which headers can be inserted is as in the Octavia API, whose
reference lists them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
HEADERS_OF_TLS = (
    "X-SSL-Client-Verify",
    "X-SSL-Client-Has-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-CN",
    "X-SSL-Issuer",
    "X-SSL-Client-SHA1",
    "X-SSL-Client-Not-Before",
    "X-SSL-Client-Not-After",
)

_MONITORS_OF_STREAMS = ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")
_MONITORS_OF_DATAGRAMS = ("HTTP", "SCTP", "TCP", "UDP-CONNECT")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is known of one."""

    name: str
    transport: str = "tcp"  # tcp, udp or sctp: ports of different ones are different; TLS is spoken over tcp only
    program: str = "haproxy"  # of an amphora, which serves it
    mode: str | None = None  # HAProxy's, where it is the program
    ends_tls: bool = False  # a listener decrypts what clients send
    tells_metrics: bool = False  # a listener's clients are answered by the amphora itself
    pools: tuple[str, ...] | None = None  # the protocols of pools that go below a listener; None: no listener speaks it
    lbaasv2_pools: tuple[str, ...] = ()  # those that LBaaS v2 lets go below; with none, it has no such listener
    headers: tuple[str, ...] = ()  # that a listener can insert
    monitors: tuple[str, ...] | None = None  # the types that probe a pool's members; None: no pool speaks it
    has_cookies: bool = False  # what a pool passes on may be HTTP, so a cookie can keep clients on a member
    send_proxy: str = ""  # HAProxy's word on a server that is told the client's address before all else (the PROXY protocol)
    send_proxy_of_tls: str = ""  # the same below a listener that ends TLS: members are told of it, too

    @property
    def has_requests(self) -> bool:
        """Whether a listener sees requests that L7 policies can tell apart."""
        return self.mode == "http" and bool(self.pools)


PROTOCOLS: Mapping[str, Protocol] = {
    one.name: one
    for one in (
        Protocol(
            name="HTTP",
            mode="http",
            pools=("HTTP", "PROXY", "PROXYV2"),
            lbaasv2_pools=("HTTP",),
            headers=HEADERS,
            monitors=_MONITORS_OF_STREAMS,
            has_cookies=True,
        ),
        Protocol(
            name="HTTPS",
            mode="tcp",
            pools=("TCP", "HTTPS", "PROXY", "PROXYV2"),
            lbaasv2_pools=("HTTPS",),
            monitors=_MONITORS_OF_STREAMS,
        ),
        Protocol(name="PROXY", monitors=_MONITORS_OF_STREAMS, has_cookies=True, send_proxy="send-proxy", send_proxy_of_tls="send-proxy"),
        Protocol(
            name="PROXYV2",
            monitors=_MONITORS_OF_STREAMS,
            has_cookies=True,
            send_proxy="send-proxy-v2",
            send_proxy_of_tls="send-proxy-v2-ssl-cn",
        ),
        Protocol(name="SCTP", transport="sctp", program="datagrams", pools=("SCTP",), monitors=_MONITORS_OF_DATAGRAMS),
        Protocol(name="PROMETHEUS", mode="http", pools=(), tells_metrics=True),
        Protocol(
            name="TCP",
            mode="tcp",
            pools=("TCP", "HTTP", "HTTPS", "PROXY", "PROXYV2"),
            lbaasv2_pools=("TCP",),
            monitors=_MONITORS_OF_STREAMS,
        ),
        Protocol(
            name="TERMINATED_HTTPS",
            mode="http",
            ends_tls=True,
            pools=("HTTP", "PROXY", "PROXYV2"),
            lbaasv2_pools=("HTTP",),
            headers=HEADERS + HEADERS_OF_TLS,
        ),
        Protocol(name="UDP", transport="udp", program="datagrams", pools=("UDP",), monitors=_MONITORS_OF_DATAGRAMS),
    )
}

OF_LISTENERS = tuple(one.name for one in PROTOCOLS.values() if one.pools is not None)
OF_POOLS = tuple(one.name for one in PROTOCOLS.values() if one.monitors is not None)
OF_LISTENERS_IN_LBAASV2 = tuple(one.name for one in PROTOCOLS.values() if one.lbaasv2_pools)
OF_POOLS_IN_LBAASV2 = tuple(name for name in OF_POOLS if any(name in one.lbaasv2_pools for one in PROTOCOLS.values()))
"""Names, as the API lists them."""


def fits(pool: str, listener: str) -> bool:
    """Whether a pool of one protocol can go below a listener of the other."""
    return pool in (PROTOCOLS[listener].pools or ())
