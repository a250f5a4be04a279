"""HAProxy's part of a load balancer: a frontend per listener, a backend per pool and listener that uses it, a server per member.

The agent applies a change of `server` lines without a reload, so nothing else in the text may follow from members: no sum, no comment, no
`default-server`. Servers can be added and removed at run time only under a dynamic algorithm, hence the consistent hash.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

from amphora_agent.protocol import datagrams, rendered
from controller import exceptions
from controller.model import load_balancer as model
from controller.model.amphora import Amphora
from controller.model.protocols import PROTOCOLS
from controller.model.status import AMPHORA_IN_DELETION, ProvisioningStatus, Topology
from controller.render import access_log, health_checks, l7, safe, templating, tls
from controller.render.settings import Settings

_BALANCE = {
    "ROUND_ROBIN": ("balance roundrobin",),
    "LEAST_CONNECTIONS": ("balance leastconn",),
    "SOURCE_IP": ("balance source", "hash-type consistent"),
}
_COOKIE_OF_ALL_POOLS = "SRV"
_HASHED, _HASH_LENGTH = ",sha2(256),hex", 64
"""What tables keep of an application's cookie: however long sessions are, they are told apart, and who sees a table can use none."""
_SCRAPERS = 20
"""So many connections a PROMETHEUS listener has at most: nobody is to load the amphora by asking how it does."""
_SCRAPE_TIMEOUT = 5000  # milliseconds
_METRICS = (
    f"timeout http-request {_SCRAPE_TIMEOUT}ms",
    "http-request deny deny_status 405 if !METH_GET",
    "http-request deny deny_status 404 if !{ path /metrics }",
    f"default_backend {rendered.METRICS_BACKEND}",
)
_OF_NO_MEMBER = (502, 503, 504)
"""What HAProxy answers by itself when members don't."""
_FIRST_BACKUP_NUMBER = 1 << 30
"""From here on servers are numbered that are backups and whose backend has to know it."""

_INSERT_HEADERS = {
    "X-Forwarded-For": "option forwardfor",
    "X-Forwarded-Port": "http-request set-header X-Forwarded-Port %[dst_port]",
    "X-Forwarded-Proto": "http-request set-header X-Forwarded-Proto {scheme}",
    "X-Forwarded-IP": "http-request set-header X-Forwarded-IP %[src]",
    "X-Client-IP": "http-request set-header X-Client-IP %[src]",
    "X-Real-IP": "http-request set-header X-Real-IP %[src]",
    "X-SSL-Client-Verify": "http-request set-header X-SSL-Client-Verify %[ssl_c_verify]",
    "X-SSL-Client-Has-Cert": "http-request set-header X-SSL-Client-Has-Cert %[ssl_c_used]",
    "X-SSL-Client-DN": "http-request set-header X-SSL-Client-DN %{+Q}[ssl_c_s_dn]",
    "X-SSL-Client-CN": "http-request set-header X-SSL-Client-CN %{+Q}[ssl_c_s_dn(cn)]",
    "X-SSL-Issuer": "http-request set-header X-SSL-Issuer %{+Q}[ssl_c_i_dn]",
    "X-SSL-Client-SHA1": "http-request set-header X-SSL-Client-SHA1 %{+Q}[ssl_c_sha1,hex]",
    "X-SSL-Client-Not-Before": "http-request set-header X-SSL-Client-Not-Before %{+Q}[ssl_c_notbefore]",
    "X-SSL-Client-Not-After": "http-request set-header X-SSL-Client-Not-After %{+Q}[ssl_c_notafter]",
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Peer:
    name: str
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Peers:
    section: str
    members: tuple[_Peer, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Frontend:
    name: str
    mode: str
    binds: list[str]
    max_connections: int
    client_timeout: int
    directives: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Backend:
    name: str
    mode: str
    connect_timeout: int
    server_timeout: int
    directives: list[str]
    servers: list[str]


def config(snapshot: model.Snapshot, amphora: Amphora, settings: Settings) -> str | None:
    """The text for one amphora, the same for both halves of a pair; None if nothing is to run.

    :raises UnsafeValue: a string can't be written into a configuration.
    :raises NotSupported: a protocol, algorithm or monitor type is not known here.
    """
    load_balancer = snapshot.load_balancer
    listeners = [listener for listener in snapshot.listeners if l7.serves(listener) and not _is_of_datagrams(listener)]
    if not l7.serves(load_balancer) or not listeners:
        return None
    peers = _peers(snapshot, amphora, settings)
    frontends: list[_Frontend] = []
    backends: list[_Backend] = []
    for listener in sorted(listeners, key=lambda item: (item.protocol_port, item.id)):
        pool = _default_pool(snapshot, listener)
        policies = _policies(snapshot, listener)
        frontends.append(_frontend(load_balancer, listener, pool, policies, settings))
        used = {one.id: one for one in ((pool,) if pool is not None else ()) + policies.pools}
        backends.extend(_backend(snapshot, listener, one, peers.section, settings) for one in used.values())
        backends.extend(_weights(name, servers, settings) for name, servers in policies.weighed)
    return templating.fill(
        "haproxy.cfg.j2",
        peers=peers if any(_uses_stick_table(backend) for backend in backends) else None,
        access_log=access_log.sections(load_balancer),
        frontends=frontends,
        backends=backends,
        default_connect_timeout=settings.timeout_member_connect,
    )


def peer_name(amphora: Amphora) -> str:
    """HAProxy's own name in the peers section."""
    return safe.object_id("amphora id", amphora.id)


def paired(snapshot: model.Snapshot) -> list[Amphora]:
    """The amphorae that serve together, in an order that does not depend on who asks."""
    return sorted(
        (amphora for amphora in snapshot.amphorae if amphora.vrrp_ip and amphora.status not in AMPHORA_IN_DELETION),
        key=lambda item: item.id,
    )


def _default_pool(snapshot: model.Snapshot, listener: model.Listener) -> model.Pool | None:
    pool = snapshot.pools_by_id.get(listener.default_pool_id) if listener.default_pool_id else None
    return pool if pool is not None and l7.serves(pool) else None


def _uses_stick_table(backend: _Backend) -> bool:
    return any(directive.startswith("stick-table ") for directive in backend.directives)


def _peers(snapshot: model.Snapshot, amphora: Amphora, settings: Settings) -> _Peers:
    """Who shares stick tables. One amphora alone is its own peer: so its tables outlive a reload."""
    section = f"{safe.object_id('load balancer id', snapshot.load_balancer.id).replace('-', '')}_peers"
    port = safe.port("peer port", settings.peer_port)
    if snapshot.load_balancer.topology is Topology.SINGLE:
        return _Peers(section, (_Peer(peer_name(amphora), f"127.0.0.1:{port}"),))
    return _Peers(section, tuple(_Peer(peer_name(one), f"{_vrrp_address(one)}:{port}") for one in paired(snapshot)))


def _vrrp_address(amphora: Amphora) -> str:
    return safe.bracketed(f"VRRP address of amphora {amphora.id!r}", amphora.vrrp_ip or "")


def _is_of_datagrams(listener: model.Listener) -> bool:
    return listener.protocol in PROTOCOLS and PROTOCOLS[listener.protocol].program == datagrams.NAME


def _mode(listener: model.Listener) -> str:
    protocol = PROTOCOLS.get(listener.protocol)
    if protocol is None or protocol.program != "haproxy" or protocol.mode is None:
        raise exceptions.NotSupported(f"An amphora can't serve the protocol {listener.protocol!r} of listener {listener.id!r}.")
    return protocol.mode


def _backend_name(pool: model.Pool, listener: model.Listener) -> str:
    return f"{safe.object_id('pool id', pool.id)}:{safe.object_id('listener id', listener.id)}"


def _policies(snapshot: model.Snapshot, listener: model.Listener) -> l7.Policies:
    if _mode(listener) != "http":
        return l7.Policies()
    return l7.policies(snapshot.l7policies_by_listener.get(listener.id, ()), snapshot.l7rules_by_policy, snapshot.pools_by_id)


def _frontend(
    load_balancer: model.LoadBalancer, listener: model.Listener, pool: model.Pool | None, policies: l7.Policies, settings: Settings
) -> _Frontend:
    mode = _mode(listener)
    directives = access_log.directives(load_balancer, listener, mode, PROTOCOLS[listener.protocol].ends_tls)
    if mode == "http":
        # A client whose idle connection ends in a reload would see an error on its next request: let the old process answer it first.
        directives.append("option idle-close-on-response")
        asked = {name for name, value in listener.insert_headers.items() if value.lower() == "true"}
        wanted = [name for name in _INSERT_HEADERS if name in asked]
        scheme = "https" if PROTOCOLS[listener.protocol].ends_tls else "http"
        directives.extend(_unforged(wanted))
        directives.extend(_INSERT_HEADERS[name].replace("{scheme}", scheme) for name in wanted)
        directives.extend(tls.headers(listener))
        directives.extend(_rate_limit(listener, settings))
        if listener.error_page is not None:
            shown = l7.page(f"error_page of listener {listener.id!r}", listener.error_page)
            directives.extend(f"http-error status {status}{shown}" for status in _OF_NO_MEMBER)
    if listener.timeout_tcp_inspect:
        directives.append(f"tcp-request inspect-delay {listener.timeout_tcp_inspect:d}ms")
    directives.extend((*policies.acls, *policies.requests))
    directives.extend(f"use_backend {_backend_name(redirected, listener)} if {condition}" for redirected, condition in policies.redirects)
    if pool is not None:
        directives.append(f"default_backend {_backend_name(pool, listener)}")
    limit = int(listener.connection_limit if listener.connection_limit > 0 else settings.default_connection_limit)
    client_timeout = int(listener.timeout_client_data or settings.timeout_client_data)
    if PROTOCOLS[listener.protocol].tells_metrics:
        directives.extend(_METRICS)
        limit, client_timeout = min(limit, _SCRAPERS), min(client_timeout, _SCRAPE_TIMEOUT)
    words = f"VIP address of load balancer {load_balancer.id}"
    vips = [safe.bracketed(words, one.ip_address) for one in load_balancer.vip.addresses]
    port = safe.port(f"protocol_port of listener {listener.id}", listener.protocol_port)
    return _Frontend(
        name=safe.object_id("listener id", listener.id),
        mode=mode,
        binds=[f"{vip}:{port:d} {tls.bind(listener)}".rstrip() for vip in vips],
        max_connections=limit,
        client_timeout=client_timeout,
        directives=directives,
    )


def _unforged(names: Sequence[str]) -> list[str]:
    """Refuse requests that make members believe something else than these headers say.

    Applications that know headers by the rules of CGI (RFC 3875, section 4.1.18) take `_` for `-`, so a client could say there what we say.
    And a member that is a proxy itself throws away what `Connection` names (RFC 9110, section 7.6.1), so a client could have it throw
    away what we say.
    """
    if not names:
        return []
    named = [name.lower() for name in names]
    spelled = "|".join(one for name in named for one in _misspelled(name))
    refuse = "http-request deny deny_status 400 if"
    return [
        f"{refuse} {{ req.hdr(Connection) -i {' '.join(named)} }}",
        f"{refuse} {{ req.hdr_names -m sub _ }} {{ req.hdr_names -m reg -i (^|,)({spelled})(,|$) }}",
    ]


def _misspelled(name: str) -> list[str]:
    """Expressions of all ways to write a name with an underscore in it."""
    words = name.split("-")
    return [f"{'[-_]'.join(words[:place])}_{'[-_]'.join(words[place:])}" for place in range(1, len(words))]


def _rate_limit(listener: model.Listener, settings: Settings) -> list[str]:
    """Requests are counted that are let in: whoever goes on asking too often gets as many answers as others. Whoever has one address of
    IPv6 has a /64 of them (RFC 6177), so that counts as one client.
    """
    limit = listener.rate_limit
    if limit is None:
        return []
    size, period = safe.size("haproxy_stick_size", settings.stick_size), int(limit.period)
    return [
        f"stick-table type ipv6 size {size} expire {2 * period}s store gpc0_rate({period}s)",
        "http-request track-sc0 src,ipmask(32,64)",
        "http-request deny deny_status 429 content-type text/plain string 'Too Many Requests' "
        f"hdr Retry-After {period} if {{ sc0_gpc0_rate ge {int(limit.requests)} }}",
        "http-request sc-inc-gpc0(0)",
    ]


def _backend(snapshot: model.Snapshot, listener: model.Listener, pool: model.Pool, peers: str, settings: Settings) -> _Backend:
    mode = _mode(listener)
    balance = _BALANCE.get(pool.lb_algorithm)
    protocol = PROTOCOLS.get(pool.protocol)
    if balance is None or protocol is None or protocol.program != "haproxy":
        raise exceptions.NotSupported(f"An amphora can't balance by {pool.lb_algorithm!r} over {pool.protocol!r} (pool {pool.id!r}).")
    monitor = snapshot.health_monitor_by_pool.get(pool.id)
    vip_address = snapshot.load_balancer.vip.address
    check = health_checks.check(monitor if monitor and l7.serves(monitor) else None, vip_address, with_tls=pool.tls_enabled)
    proxy = _send_proxy(pool, listener)
    slowly = f" slowstart {int(pool.slow_start)}s" if pool.slow_start else ""
    common = f"{check.words}{{}}{slowly}{proxy}{tls.server(pool, listener, mode, bool(check.words) and not check.speaks_http2)}"
    own_words = " check-send-proxy" if proxy else ""
    drain = (f"# drain-timeout {int(pool.drain_timeout)}",) if pool.drain_timeout else ()  # for the agent
    reuse = ("http-reuse safe",) if mode == "http" else ()
    return _Backend(
        name=_backend_name(pool, listener),
        mode=mode,
        connect_timeout=int(listener.timeout_member_connect or settings.timeout_member_connect),
        server_timeout=int(listener.timeout_member_data or settings.timeout_member_data),
        directives=[*drain, *balance, *reuse, *_persistence(pool, mode, peers, settings), *check.directives],
        servers=_servers(pool, snapshot.members_by_pool.get(pool.id, ()), common, own_words if check.words else None),
    )


def _weights(name: str, servers: list[str], settings: Settings) -> _Backend:
    return _Backend(name, "http", settings.timeout_member_connect, settings.timeout_member_data, [], servers)


def _persistence(pool: model.Pool, mode: str, peers: str, settings: Settings) -> list[str]:
    persistence = pool.session_persistence
    if persistence is None:
        return []
    table = f"size {safe.size('haproxy_stick_size', settings.stick_size)} expire {int(settings.stick_expire)}s peers {peers}"
    if persistence.type == "SOURCE_IP":
        return [f"stick-table type ipv6 {table}", "stick on src"]
    if mode != "http":
        return []
    if persistence.type == "APP_COOKIE":
        cookie = safe.cookie_name(f"cookie_name of pool {pool.id}", persistence.cookie_name)
        return [
            f"stick-table type string len {_HASH_LENGTH} {table}",
            f"stick store-response res.cook({cookie}){_HASHED}",
            f"stick match req.cook({cookie}){_HASHED}",
        ]
    if persistence.type == "HTTP_COOKIE":
        return _inserted_cookie(pool, settings)
    raise exceptions.NotSupported(f"An amphora does not know the session persistence {persistence.type!r} of pool {pool.id!r}.")


def _inserted_cookie(pool: model.Pool, settings: Settings) -> list[str]:
    """A cookie of the pool's own: browsers send one name to all ports of a host (RFC 6265, section 8.5), and to all pools of a listener.

    Clients of earlier versions hold a cookie of the one name that all pools had; the value in it is good for the pool that set it.
    """
    pool_id = safe.object_id("pool id", pool.id)
    name = f"{_COOKIE_OF_ALL_POOLS}-{pool_id}"
    former = f"req.cook({_COOKIE_OF_ALL_POOLS})"
    expired = f"{name}=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/"
    return [
        f"http-request add-header Cookie {name}=%[{former}] if {{ {former} -m found }} !{{ req.cook({name}) -m found }}",
        # HAProxy derives a server's cookie from its address and this key: a `cookie` on its line would forbid to add it at run time.
        f"cookie {name} insert indirect nocache dynamic maxidle {int(settings.stick_expire)}s",
        f"dynamic-cookie-key {pool_id}",
        # Whoever was served by a backup member is not bound to it: no cookie.
        f"http-after-response replace-header Set-Cookie ^{name}=.* '{expired}' if {{ srv_id ge {_FIRST_BACKUP_NUMBER} }}",
    ]


def _send_proxy(pool: model.Pool, listener: model.Listener) -> str:
    protocol = PROTOCOLS[pool.protocol]
    word = protocol.send_proxy_of_tls if PROTOCOLS[listener.protocol].ends_tls else protocol.send_proxy
    return f" {word}" if word else ""


def _servers(pool: model.Pool, members: Sequence[model.Member], common: str, own_words: str | None) -> list[str]:
    serving = [member for member in members if member.provisioning_status is not ProvisioningStatus.PENDING_DELETE]
    serving.sort(key=lambda member: member.id)
    kind = pool.session_persistence.type if pool.session_persistence is not None else None
    backup = " backup non-stick" if kind in ("SOURCE_IP", "APP_COOKIE") else " backup"  # clients of backups come back
    lines = [_server(member, common, own_words, backup) for member in serving]
    if pool.lb_algorithm != "SOURCE_IP" and kind != "HTTP_COOKIE":
        return lines
    numbers = _numbers(serving, by_role=kind == "HTTP_COOKIE")
    if pool.lb_algorithm != "SOURCE_IP":
        numbers = {member.id: numbers[member.id] for member in serving if member.backup}
    return [f"{line} id {numbers[member.id]}" if member.id in numbers else line for line, member in zip(lines, serving, strict=True)]


def _numbers(members: Sequence[model.Member], by_role: bool) -> dict[str, int]:
    """The numbers by which a consistent hash knows servers, and, `by_role`, a backend its backups.

    HAProxy would count its lines: then a reload after a change, or the other half of a pair, would send clients to other members.
    """
    taken: dict[int, str] = {}
    for member in members:
        number = zlib.crc32(member.id.encode()) & 0x7FFFFFFF or 1
        if by_role:
            number = number | _FIRST_BACKUP_NUMBER if member.backup else number & (_FIRST_BACKUP_NUMBER - 1) or 1
        while number in taken:
            number = number % 0x7FFFFFFF + 1
        taken[number] = member.id
    return {member_id: number for number, member_id in taken.items()}


def _server(member: model.Member, common: str, own_words: str | None, backup: str) -> str:
    """`common` is what all servers of the pool say, with a place for the target of this one's check; `backup` what backups say.

    `own_words` is what follows a target of its own, None where nobody is checked: such a check sends no PROXY header unless it is told to.
    """
    name = safe.object_id("member id", member.id)
    # This runs for every member: the words for an error are put together only if there is one.
    address = member.address if safe.ipv4(member.address) else safe.bracketed(f"address of member {name}", member.address)
    port = safe.port("protocol_port of a member", member.protocol_port)
    own = _own_check_target(member) + own_words if own_words is not None and (member.monitor_address or member.monitor_port) else ""
    flags = (backup if member.backup else "") + ("" if member.admin_state_up else " disabled")
    return f"{name} {address}:{port:d} weight {member.weight:d}{common.format(own)}{flags}"


def _own_check_target(member: model.Member) -> str:
    words = ""
    if member.monitor_address:
        words += f" addr {safe.bracketed(f'monitor_address of member {member.id!r}', member.monitor_address)}"
    if member.monitor_port:
        words += f" port {safe.port(f'monitor_port of member {member.id!r}', member.monitor_port):d}"
    return words
