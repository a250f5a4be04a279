"""The access log of a load balancer: lines of JSON as syslog (RFC 5424) to the tenant's target, over UDP, TCP or TLS.

HAProxy sends datagrams by itself. What goes over TCP waits in a ring, which forgets the oldest lines while nobody takes them, so no client
ever waits for it.

A worker sends nothing of its ring any more once it has a successor. So lines that it writes then have a blank before the last brace, by
which the agent finds them and sends them (`amphora_agent/former_logs.py`).

A frontend also says when it is stopped, as a warning, and that is no JSON: lines about requests and connections are made errors, less is
not sent, and what is sent is marked as information (`err info`).
"""

from __future__ import annotations

import dataclasses

from controller.model import load_balancer as model
from controller.render import safe

_NAME = "access-log"
AUTHORITY = f"{_NAME}-ca.pem"
"""The file of the authority that signs the target's certificate."""
_LONGEST = 8192
"""Bytes of a line. It is never cut: HAProxy keeps 1,024 of the request's first line, of each header what `_HEADERS` says, and a byte
of these becomes six at most (`\\u00HH`)."""
_RING = 1 << 20  # bytes
_HEADERS = {"host": 255, "user_agent": 256, "referer": 256}
_TIME = '"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]"'
_POOL = '"pool_id":%{+Q}[be_name,regsub(:.*|^[^:]*$,)]'
"""Of the backend `<pool>:<listener>`; empty where the backend has no pool."""
_CLIENT = '"client_address":"%ci","client_port":%cp'
_VERSION = "txn.version"
"""A variable: what is captured of a request calls HTTP/2 HTTP/1.1."""
_LATE = '%[stopping,iif(" }",})]'
_END = f'"bytes_in":%U,"bytes_out":%B,{_POOL},"member_id":%{{+Q}}[srv_name],"termination":"%ts"'


@dataclasses.dataclass(frozen=True, slots=True)
class Sections:
    """What stands beside frontends and backends to send lines over a connection: where, and with what words."""

    name: str
    server: str
    longest: int = _LONGEST
    size: int = _RING


def sections(load_balancer: model.LoadBalancer) -> Sections | None:
    """None: lines are sent as datagrams, or not at all.

    :raises UnsafeValue: the target can't be written into a configuration.
    """
    target = load_balancer.access_log
    if target is None or _protocol(target) == "UDP":
        return None
    return Sections(_NAME, f"target {_address(target)}{_tls(target)} log-proto octet-count")


def directives(load_balancer: model.LoadBalancer, listener: model.Listener, mode: str, ends_tls: bool) -> list[str]:
    """What a frontend says, before everything else: who is turned away is written down, too.

    :raises UnsafeValue: the target can't be written into a configuration.
    """
    target = load_balancer.access_log
    if target is None:
        return []
    to = _address(target) if _protocol(target) == "UDP" else f"ring@{_NAME}"
    own = f'"load_balancer_id":"{safe.object_id("load balancer id", load_balancer.id)}","listener_id":"%f"'
    if mode == "http":
        captured = [f"capture request header {name.replace('_', '-')} len {length}" for name, length in _HEADERS.items()]
        captured.append(f"http-request set-var({_VERSION}) req.ver")
        headers = ",".join(f'"{name}":{_json(f"capture.req.hdr({place})")}' for place, name in enumerate(_HEADERS))
        version = f'"http_version":{_json(f"var({_VERSION}),regsub(^,HTTP/)")}'
        request = f'"method":{_json("capture.req.method")},"path":{_json("capture.req.uri")},{version}'
        spoken = ',"tls_version":%{+Q}[ssl_fc_protocol]' if ends_tls else ""
        line = f'{_TIME},{own},{_CLIENT},{request},{headers}{spoken},"status":%ST,"duration_ms":%Ta,{_END}'
        raised = "http-request set-log-level err"
    else:
        captured, line, raised = [], f'{_TIME},{own},{_CLIENT},"duration_ms":%Tt,{_END}', "tcp-request content set-log-level err"
    log = f"log {to} len {_LONGEST} format rfc5424 local0 err info"
    end = "}" if _protocol(target) == "UDP" else _LATE
    return [log, "option log-separate-errors", raised, *captured, f"log-format '{{{line}{end}'"]


def _json(sample: str) -> str:
    """A string of JSON, whatever bytes a client sent; empty where there is none."""
    return f"%{{+Q}}[{sample},json(utf8s)]"


def _protocol(target: model.AccessLog) -> str:
    return safe.one_of("protocol of access_log", target.protocol, ("UDP", "TCP", "TLS"))


def _address(target: model.AccessLog) -> str:
    return f"{safe.bracketed('address of access_log', target.address)}:{safe.port('port of access_log', target.port)}"


def _tls(target: model.AccessLog) -> str:
    if target.protocol != "TLS":
        return ""
    named = "" if target.host_name is None else f" sni str({safe.host_name('host_name of access_log', target.host_name)})"
    return f" ssl verify required ca-file {AUTHORITY}{named} ssl-min-ver TLSv1.2"
