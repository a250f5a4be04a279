"""TLS as HAProxy speaks it: to clients below a `bind`, to members on a `server`, and the files by whose names it knows certificates.

A name in a configuration stays while what it stands for changes: it is that of the listener or the pool and a word, so a renewed
certificate is no other configuration. What each name stands for (`<sha256>.pem`) goes beside the configuration.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping

from amphora_agent.protocol import rendered
from controller import exceptions
from controller.model import load_balancer as model
from controller.model.protocols import PROTOCOLS
from controller.model.tls import Kind, Need
from controller.render import access_log, l7, safe
from controller.resources import kinds

_VERIFY = {"NONE": "none", "OPTIONAL": "optional", "MANDATORY": "required"}
_VERSIONS = {name: name.replace("TLSv1", "TLSv1.0") if name == "TLSv1" else name for name in kinds.TLS_VERSIONS}
_ABSENT = {name: f"no-{name.lower().replace('.', '')}" for name in _VERSIONS.values()}
_SUITE = "TLS_"
"""How the names of TLS 1.3's cipher suites begin; HAProxy and OpenSSL have them in a list of their own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """By the names that the configuration uses: which file each stands for, and which names each list holds, the default first."""

    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def needs(snapshot: model.Snapshot) -> frozenset[Need]:
    """What of the secret store has to be known to render a snapshot."""
    return frozenset(need for _, need in _named(snapshot))


def lacking(snapshot: model.Snapshot, unread: Collection[Need]) -> Iterator[tuple[model.NamesSecrets, Need]]:
    """The listeners and pools that need one of these, each with the first of them; and the load balancer whose access log needs it."""
    for one in (snapshot.load_balancer, *_users(snapshot)):
        if found := [need for _, need in _named_by(one) if need in unread]:
            yield one, found[0]


def needs_of(one: model.NamesSecrets) -> frozenset[Need]:
    """What of the secret store one of them needs by itself."""
    speaks_tls = one.tls_enabled if isinstance(one, model.Pool) else isinstance(one, model.LoadBalancer) or _ends_tls(one)
    return frozenset(need for _, need in _named_by(one)) if speaks_tls else frozenset()


def files(snapshot: model.Snapshot, known: Mapping[Need, str]) -> Files:
    """The files of a snapshot; `known` are the hashes of what it needs."""
    lists = {f"{listener.id}.list": tuple(_served(listener)) for listener in _listeners(snapshot)}
    return Files({name: known[need] for name, need in sorted(_named(snapshot))}, lists)


def bind(listener: model.Listener) -> str:
    """What follows the address of a listener that ends TLS; nothing of another one."""
    if not _ends_tls(listener):
        return ""
    name = safe.object_id("listener id", listener.id)
    words = [f'ssl crt-list "${{{rendered.CERTIFICATES_VARIABLE}}}/{name}.list"']
    if listener.client_ca_tls_container_ref:
        words.append(f"ca-file {name}-ca.pem verify {_VERIFY[listener.client_authentication]}")
        if listener.client_crl_container_ref:
            words.append(f"crl-file {name}-crl.pem")
    return " ".join([*words, *_spoken(f"of listener {name}", listener)])


def headers(listener: model.Listener) -> Iterator[str]:
    """What a listener that ends TLS adds to all its answers (HSTS, RFC 6797)."""
    if _ends_tls(listener) and listener.hsts_max_age is not None:
        more = ("; includeSubDomains" if listener.hsts_include_subdomains else "") + ("; preload" if listener.hsts_preload else "")
        yield f'http-after-response set-header Strict-Transport-Security "max-age={listener.hsts_max_age:d}{more}"'


def server(pool: model.Pool, listener: model.Listener, mode: str, asks_http1: bool) -> str:
    """What a server's line says of TLS to the member, with a blank before; nothing of a pool without it.

    The name that a client asked for is passed on, and then it is by this name that the member's certificate is verified. `asks_http1`: so
    does a check, which asks one question: HTTP/2 would be no better for it.
    """
    if not pool.tls_enabled:
        return ""
    name = safe.object_id("pool id", pool.id)
    words = ["ssl"]
    if _ends_tls(listener):
        words.append("sni ssl_fc_sni")
    if pool.tls_container_ref:
        words.append(f"crt {name}.pem")
    words.append(f"verify required ca-file {name}-ca.pem" if pool.ca_tls_container_ref else "verify none")
    if pool.crl_container_ref and pool.ca_tls_container_ref:
        words.append(f"crl-file {name}-crl.pem")
    spoken = _spoken(f"of pool {name}", pool, with_protocols=mode == "http")
    if asks_http1 and mode == "http" and pool.alpn_protocols:
        spoken.append("check-alpn http/1.1")
    return " " + " ".join([*words, *spoken])


def _ends_tls(listener: model.Listener) -> bool:
    protocol = PROTOCOLS.get(listener.protocol)
    return protocol is not None and protocol.ends_tls


def _listeners(snapshot: model.Snapshot) -> list[model.Listener]:
    if not l7.serves(snapshot.load_balancer):
        return []
    return [listener for listener in snapshot.listeners if l7.serves(listener) and _ends_tls(listener)]


def _pools(snapshot: model.Snapshot) -> list[model.Pool]:
    return [pool for pool in snapshot.pools if l7.serves(pool) and pool.tls_enabled] if l7.serves(snapshot.load_balancer) else []


def _users(snapshot: model.Snapshot) -> list[model.Listener | model.Pool]:
    return [*_listeners(snapshot), *_pools(snapshot)]


def _served(listener: model.Listener) -> dict[str, str]:
    """The names of what a listener serves with their references: first the default, then those that are chosen by name (SNI)."""
    references = [one for one in (listener.default_tls_container_ref, *listener.sni_container_refs) if one]
    if not references:
        raise exceptions.NotSupported(f"An amphora can't serve {listener.protocol} without a certificate (listener {listener.id!r}).")
    default, *others = dict.fromkeys(references)
    return {f"{listener.id}.pem": default} | {f"sni-{hashlib.sha256(one.encode()).hexdigest()[:32]}.pem": one for one in others}


def _named(snapshot: model.Snapshot) -> Iterator[tuple[str, Need]]:
    for one in (snapshot.load_balancer, *_users(snapshot)):
        yield from _named_by(one)


def _named_by(one: model.NamesSecrets) -> Iterator[tuple[str, Need]]:
    if isinstance(one, model.LoadBalancer):
        if l7.serves(one) and one.access_log is not None and one.access_log.ca_tls_container_ref:
            yield access_log.AUTHORITY, Need(one.access_log.ca_tls_container_ref, Kind.AUTHORITIES)
        return
    if isinstance(one, model.Listener):
        yield from ((name, Need(reference, Kind.BUNDLE)) for name, reference in _served(one).items())
        yield from _verifying(one.id, one.client_ca_tls_container_ref, one.client_crl_container_ref)
        return
    if one.tls_container_ref:
        yield f"{one.id}.pem", Need(one.tls_container_ref, Kind.BUNDLE)
    yield from _verifying(one.id, one.ca_tls_container_ref, one.crl_container_ref)


def _verifying(name: str, authority: str | None, revocations: str | None) -> Iterator[tuple[str, Need]]:
    if authority:
        yield f"{name}-ca.pem", Need(authority, Kind.AUTHORITIES)
        if revocations:
            yield f"{name}-crl.pem", Need(revocations, Kind.REVOCATIONS)


def _spoken(named: str, one: model.Listener | model.Pool, with_protocols: bool = True) -> list[str]:
    """Ciphers, versions and application protocols."""
    ciphers = [cipher for cipher in safe.ciphers(f"tls_ciphers {named}", one.tls_ciphers or "").split(":") if cipher]
    older = [cipher for cipher in ciphers if not cipher.startswith(_SUITE)]
    suites = [cipher for cipher in ciphers if cipher.startswith(_SUITE)]
    asked = one.tls_versions or ("TLSv1.2", "TLSv1.3")
    versions = [version for version in kinds.TLS_VERSIONS[1:] if version in asked] or list(asked)  # nobody speaks SSLv3 any more
    if suites and not older and "TLSv1.3" in versions:
        versions = ["TLSv1.3"]  # older ones would have no cipher, so HAProxy would take those of its own
    words = [f"ciphers {':'.join(older)}"] if older else []
    words += [f"ciphersuites {':'.join(suites)}"] if suites else []
    words += _bounds(versions, with_holes=isinstance(one, model.Listener))
    if with_protocols and one.alpn_protocols:
        words.append(f"alpn {','.join(safe.one_of(f'alpn_protocols {named}', each, kinds.ALPN_PROTOCOLS) for each in one.alpn_protocols)}")
    return words


def _bounds(versions: Iterable[str], *, with_holes: bool) -> list[str]:
    """HAProxy takes a lowest and a highest version; where one between is left out, all that are. To members it speaks those between in
    any case (seen with 2.6, which warns of it)."""
    wanted, known = [_VERSIONS[version] for version in versions], list(_VERSIONS.values())
    lowest, highest = known.index(wanted[0]), known.index(wanted[-1])
    if not with_holes or known[lowest : highest + 1] == wanted:
        return [f"ssl-min-ver {wanted[0]} ssl-max-ver {wanted[-1]}"]
    return [_ABSENT[version] for version in known if version not in wanted]
