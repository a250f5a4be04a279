"""HAProxy's statistics in Prometheus' text format, under the names that dashboards of Octavia's load balancers ask for.

The names are facts of the compatible implementation, which renames what HAProxy's exporter calls otherwise; we make them of the runtime
API's answers, whose fields have one name in all versions. (Text format 0.0.4: prometheus.io, "Exposition formats".)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EXPIRY = "figlina_listener_earliest_cert_expiry"
"""Ours: seconds since 1970, as Prometheus' own probes tell it (`probe_ssl_earliest_cert_expiry`)."""
_STATES = {
    "listener": ("DOWN", "UP"),
    "pool": ("DOWN", "UP"),
    "member": ("DOWN", "UP", "MAINT", "DRAIN", "NOLB", "no check"),
}
_CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


def _table(text: str) -> Mapping[str, str]:
    return dict(pair.split("=") for pair in text.split())


# What each metric is in `show info` and in `show stat` (HAProxy's management guide, sections 9.3 and 9.1).
_PROCESS = _table(
    """
    connections_total=CumConns current_backend_ssl_key_rate=SslBackendKeyRate current_connection_rate=ConnRate current_connections=CurrConns
    current_frontend_ssl_key_rate=SslFrontendKeyRate current_session_rate=SessRate current_ssl_connections=CurrSslConns
    current_ssl_rate=SslRate dropped_logs_total=DroppedLogs frontend_ssl_reuse=SslFrontendSessionReuse_pct
    http_comp_bytes_in_total=CompressBpsIn http_comp_bytes_out_total=CompressBpsOut limit_connection_rate=ConnRateLimit
    limit_http_comp=CompressBpsRateLim limit_session_rate=SessRateLimit limit_ssl_rate=SslRateLimit listeners=Listeners
    max_backend_ssl_key_rate=SslBackendMaxKeyRate max_connection_rate=MaxConnRate max_connections=Maxconn
    max_frontend_ssl_key_rate=SslFrontendMaxKeyRate max_session_rate=MaxSessRate max_ssl_connections=MaxSslConns max_ssl_rate=MaxSslRate
    requests_total=CumReq ssl_cache_lookups_total=SslCacheLookups ssl_cache_misses_total=SslCacheMisses ssl_connections_total=CumSslConns
    """
)
_MEMORY = _table("pool_allocated_bytes=PoolAlloc_bytes pool_failures_total=PoolFailed pool_used_bytes=PoolUsed_bytes")
_OF_ALL = _table(
    "bytes_in_total=bin bytes_out_total=bout failed_header_rewriting_total=wrew responses_denied_total=dresp sessions_total=stot"
)
_OF_ALL_OF_HTTP = _table(
    """
    http_cache_hits_total=cache_hits http_cache_lookups_total=cache_lookups http_comp_bytes_bypassed_total=comp_byp
    http_comp_bytes_in_total=comp_in http_comp_bytes_out_total=comp_out http_comp_responses_total=comp_rsp http_requests_total=req_tot
    requests_denied_total=dreq
    """
)
_OF_SERVERS = _table(
    """
    check_last_change_seconds=lastchg check_up_down_total=chkdown client_aborts_total=cli_abrt connect_time_average_seconds=ctime
    connection_attempts_total=connect connection_errors_total=econ connection_reuses_total=reuse current_queue=qcur
    downtime_seconds_total=downtime last_session_seconds=lastsess loadbalanced_total=lbtot max_connect_time_seconds=ctime_max max_queue=qmax
    max_queue_time_seconds=qtime_max max_response_time_seconds=rtime_max max_total_time_seconds=ttime_max queue_time_average_seconds=qtime
    redispatch_warnings_total=wredis response_errors_total=eresp response_time_average_seconds=rtime retry_warnings_total=wretr
    total_time_average_seconds=ttime
    """
)
_OF_SESSIONS = _table("current_sessions=scur limit_sessions=slim max_session_rate=rate_max max_sessions=smax")
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "listener": {
        **_OF_ALL,
        **_OF_ALL_OF_HTTP,
        **_OF_SESSIONS,
        **_table(
            """
            connections_rate_max=conn_rate_max connections_total=conn_tot denied_connections_total=dcon denied_sessions_total=dses
            http_requests_rate_max=req_rate_max intercepted_requests_total=intercepted limit_session_rate=rate_lim
            request_errors_total=ereq
            """
        ),
    },
    "pool": {
        **_OF_ALL,
        **_OF_ALL_OF_HTTP,
        **_OF_SERVERS,
        **_OF_SESSIONS,
        **_table("active_members=act backup_members=bck member_aborts_total=srv_abrt"),
    },
    "member": {
        **_OF_ALL,
        **_OF_SERVERS,
        **_OF_SESSIONS,
        **_table(
            """
            check_failures_total=chkfail current_throttle=throttle idle_connections_current=srv_icur idle_connections_limit=src_ilim
            queue_limit=qlimit server_aborts_total=srv_abrt weight=weight
            """
        ),
    },
}
_MILLISECONDS = frozenset(("ctime", "ctime_max", "qtime", "qtime_max", "rtime", "rtime_max", "ttime", "ttime_max"))

Labels = tuple[tuple[str, str], ...]
Families = dict[str, dict[Labels, float]]
"""Values by labels, by the name of the metric."""


def text(families: Families, load: Mapping[str, float]) -> str:
    """All metrics, and the machine's `load` (percent of `cpu` and `memory`)."""
    return "".join(_lines(families | {f"octavia_loadbalancer_{name}": {(): value} for name, value in load.items()}))


def families(statistics: str, info: str, is_own: Callable[[str], bool]) -> Families:
    """The metrics of a worker, of its answers to `show stat` and `show info`.

    `is_own` knows the proxies that are no tenant's: there is no word of them.
    """
    found: Families = {}
    _add(found, "octavia_loadbalancer", (), _PROCESS, said := _pairs(info))
    _add(found, "octavia_memory", (), _MEMORY, said)
    rows = csv.DictReader(io.StringIO(statistics.removeprefix("# ")))
    add_rows(found, (row for row in rows if not is_own(row["pxname"]) and row["svname"]))
    return found


def add_rows(families: Families, rows: Iterable[Mapping[str, str]]) -> None:
    """Add what rows of `show stat` say, by the names of its fields."""
    for row in rows:
        _add_row(families, row)


def is_count(name: str) -> bool:
    """Whether the values of a metric only rise."""
    return name.endswith("_total")


def counts(statistics: str, info: str, is_own: Callable[[str], bool]) -> Families:
    """The metrics of `families` that only rise."""
    return {name: samples for name, samples in families(statistics, info, is_own).items() if is_count(name)}


def add(sums: Families, counted: Families) -> None:
    """Add what another worker has counted."""
    for name, samples in counted.items():
        known = sums.setdefault(name, {})
        for labels, value in samples.items():
            known[labels] = known.get(labels, 0.0) + value


def open_connections(of: Mapping[str, int]) -> Families:
    """How many are open, by the names of `report.Statistics.active`, as metrics."""
    found: Families = {}
    for name, number in of.items():
        pool, is_pool, rest = name.partition(":")
        if member := rest.partition("/")[2]:
            _put(found, "octavia_member_current_sessions", (("pool", pool), ("member", member)), float(number))
        elif is_pool:
            _put(found, "octavia_pool_current_sessions", (("pool", pool),), float(number))
        else:
            _put(found, "octavia_listener_current_sessions", (("listener", name),), float(number))
            _put(found, "octavia_loadbalancer_current_connections", (), float(number))
    return found


def of_those_in(present: Families, counted: Families) -> Families:
    """What was counted of the listeners, pools and members that are still there."""
    return {
        name: {labels: value for labels, value in samples.items() if labels in present.get(name, ())} for name, samples in counted.items()
    }


def _add_row(families: Families, row: Mapping[str, str]) -> None:
    pool = row["pxname"].partition(":")[0]
    kind, labels = {"FRONTEND": ("listener", (("listener", row["pxname"]),)), "BACKEND": ("pool", (("pool", pool),))}.get(
        row["svname"], ("member", (("pool", pool), ("member", row["svname"])))
    )
    prefix = f"octavia_{kind}"
    _add(families, prefix, labels, _FIELDS[kind], row)
    state = "UP" if row["status"] == "OPEN" else next((one for one in _STATES[kind] if row["status"].startswith(one)), "DOWN")
    for one in _STATES[kind]:
        _put(families, f"{prefix}_status", (*labels, ("state", one)), float(one == state))
    for code in _CODES:
        if row.get(f"hrsp_{code}"):
            _put(families, f"{prefix}_http_responses_total", (*labels, ("code", code)), float(row[f"hrsp_{code}"]))


def _add(families: Families, prefix: str, labels: Labels, fields: Mapping[str, str], values: Mapping[str, str]) -> None:
    for suffix, field in fields.items():
        if value := values.get(field):
            _put(families, f"{prefix}_{suffix}", labels, float(value) / (1000 if field in _MILLISECONDS else 1))


def _put(families: Families, name: str, labels: Labels, value: float) -> None:
    """A pool that two listeners share is two backends, and one to whoever looks: counts are added, of the rest the most is told."""
    family = families.setdefault(name, {})
    counts = is_count(name) or "_current_" in name
    before = family.get(labels)
    family[labels] = value if before is None else before + value if counts else max(before, value)


def _pairs(info: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)


def _lines(families: Mapping[str, Mapping[Labels, float]]) -> Iterator[str]:
    for name, samples in sorted(families.items()):
        yield f"# TYPE {name} {'counter' if is_count(name) else 'gauge'}\n"
        for labels, value in samples.items():
            named = ",".join(f'{label}="{word}"' for label, word in labels)
            yield f"{name}{{{named}}} {value:.16g}\n" if named else f"{name} {value:.16g}\n"


def load(processor: Sequence[int], before: Sequence[int], memory: Mapping[str, int]) -> dict[str, float]:
    """Percent of the machine that is in use: of its processors since `before` (the first line of `/proc/stat`), and of its memory."""
    spent = [now - then for now, then in zip(processor, before, strict=True)]
    idle = sum(spent[3:5])  # idle, and waiting for a disk (proc(5))
    used = 100 * (1 - idle / sum(spent)) if sum(spent) else 0.0
    return {"cpu": round(used, 1), "memory": round(100 * (1 - memory["MemAvailable"] / memory["MemTotal"]), 1)}
