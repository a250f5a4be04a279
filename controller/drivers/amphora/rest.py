"""The way to an amphora's agent: HTTP over mutual TLS (`amphora_agent/protocol/rest.py` is the wire)."""

from __future__ import annotations

import dataclasses
import http.client
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import stevedore.driver
import urllib3
from oslo_config import cfg

from amphora_agent.protocol import boot, rest
from controller import answers, exceptions
from controller.drivers.amphora import connections, interface, links
from controller.drivers.ca import interface as ca
from controller.model.amphora import Amphora
from controller.model.order import Order

LOG = logging.getLogger(__name__)
_NO_ANSWER = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
_NOT_READY = (502, 503, 504)
_END = "-----END CERTIFICATE-----"
_PORTION = 1024 * 1024
"""Bytes of certificates that one request takes to an agent."""
_LONGEST_ANSWER = 1024 * 1024
"""Bytes of an answer's body. An honest one has a few thousand at most, unless it names certificates that are missing."""
_LONGEST_NAME = 128
"""Bytes that the name of a certificate takes in such an answer, and some."""
_LARGEST = 2**63 - 1  # of numbers that are kept in rows
_CERTIFICATE_ROUNDS = 3  # the agent may forget a certificate between our sending it and our using it, but not for ever


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """What an agent has answered, whole."""

    status: int
    data: bytes


_STARTING_RETRY_TIME = 8.0
"""Seconds for which a fresh one is tried again that does not even refuse: its machine may be gone."""
_SERVING_RETRY_TIME = 2.0
"""Seconds for which one that has served before is tried again: enough for an agent that is being restarted. If it is dead, its failover
waits for the lease that the caller holds."""


class RestAmphora(interface.AmphoraDriver):
    """Every request may be repeated with the same effect, so a broken connection is simply tried again for a while.

    `retry_time` is for amphorae that have just been booted and refuse: those announce themselves before their agents listen.
    """

    def __init__(
        self,
        authority: ca.CertificateAuthority,
        *,
        port: int = rest.PORT,
        connect_timeout: float = 3.0,
        read_timeout: float = 60.0,
        retry_time: float = 90.0,
        retry_interval: float = 0.1,
        pool_size: int = 256,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority = authority
        self._links = links.Links(authority, port, pool_size)
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._retry_time = retry_time
        self._retry_interval = retry_interval
        self._sleep = sleep
        self._clock = clock

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> RestAmphora:
        """The driver as `[haproxy_amphora]` says, with the certificates of the authority that `[controller_worker] ca_driver` names."""
        options = conf.haproxy_amphora
        authority: Any = stevedore.driver.DriverManager("figlina.ca", conf.controller_worker.ca_driver).driver
        return cls(
            authority.from_conf(conf),
            port=options.bind_port,
            connect_timeout=options.rest_request_conn_timeout,
            read_timeout=options.rest_request_read_timeout,
            retry_time=options.connection_retry_time,
            retry_interval=options.connection_retry_interval,
            pool_size=options.connection_pool_size,
        )

    def apply(
        self, amphora: Amphora, wanted: rest.WantedState, certificates: Mapping[str, bytes], order: Order | None = None
    ) -> interface.Applied:
        path, body = rest.load_balancer_path(wanted.load_balancer_id), wanted.dump()
        most = _LONGEST_ANSWER + _LONGEST_NAME * len(wanted.certificates)
        answer = self._ask(amphora, "PUT", path, body, order=order, most=most)
        for _ in range(_CERTIFICATE_ROUNDS):
            if answer.status != rest.MISSING_CERTIFICATES:
                break
            self._send_certificates(amphora, wanted, _missing(amphora, answer), certificates, order)
            answer = self._ask(amphora, "PUT", path, body, order=order, most=most)
        _refuse_unless(amphora, answer, 200)
        try:
            receipt = rest.Receipt.parse(answer.data)
            return interface.Applied(receipt.generation, receipt.hash, interface.How(receipt.applied))
        except ValueError as exc:
            raise exceptions.AmphoraRefused(amphora.id, f"its receipt can't be read: {exc}") from exc

    def remove(self, amphora: Amphora, load_balancer_id: str, order: Order | None = None) -> None:
        _refuse_unless(amphora, self._ask(amphora, "DELETE", rest.load_balancer_path(load_balancer_id), order=order), 204)

    def configure(self, amphora: Amphora, config: boot.AgentConfig, order: Order | None = None) -> None:
        _refuse_unless(amphora, self._ask(amphora, "PUT", rest.CONFIG_PATH, config.dump(), order=order), 204)

    def renew(self, amphora: Amphora, identity: boot.Identity, order: Order | None = None) -> None:
        _refuse_unless(amphora, self._ask(amphora, "PUT", rest.IDENTITY_PATH, identity.dump(), order=order), 204)
        self._links.forget(amphora.id)
        given = ssl.PEM_cert_to_DER_cert(identity.server_pem[: identity.server_pem.index(_END) + len(_END)])
        try:
            shown = self._links.now().certificate_of(amphora.id, amphora.management_address or "", self._connect_timeout)
        except OSError as exc:
            raise _unanswered(amphora, exc) from exc
        if shown != given:
            raise exceptions.AmphoraRefused(amphora.id, "it took the new certificate, and shows another one")

    def info(self, amphora: Amphora, timeout: float | None = None) -> interface.AgentInfo:
        answer = self._ask(amphora, "GET", rest.INFO_PATH, timeout=timeout)
        _refuse_unless(amphora, answer, 200)
        try:
            said = _decoded(answer.data)
            running = {str(name): int(generation) for name, generation in said["load_balancers"].items()}
            return interface.AgentInfo(amphora_id=str(said["amphora_id"]), load_balancers=running)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as exc:
            raise exceptions.AmphoraRefused(amphora.id, f"its answer can't be read: {exc!r}") from exc

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._links.close()

    def _send_certificates(
        self,
        amphora: Amphora,
        wanted: rest.WantedState,
        missing: list[str],
        certificates: Mapping[str, bytes],
        order: Order | None,
    ) -> None:
        if unknown := [name for name in missing if name not in certificates]:
            raise exceptions.AmphoraRefused(amphora.id, f"it lacks the certificate {unknown[0]}, which nobody gave us")
        for some in _portions({name: certificates[name] for name in missing}):
            body = json.dumps({name: pem.decode() for name, pem in some.items()}).encode()
            answer = self._ask(amphora, "PUT", rest.certificates_path(wanted.load_balancer_id), body, order=order)
            if answer.status not in (404, 405):
                _refuse_unless(amphora, answer, 204)
                continue
            self._send_one_by_one(amphora, wanted, some, order)

    def _send_one_by_one(self, amphora: Amphora, wanted: rest.WantedState, some: Mapping[str, bytes], order: Order | None) -> None:
        """As agents of before take them; all together may take as long as one request of others."""
        until = self._clock() + self._read_timeout
        for name, pem in some.items():
            if self._clock() > until:
                raise exceptions.AmphoraUnreachable(amphora.id, "it takes its certificates too slowly")
            path = rest.certificate_path(wanted.load_balancer_id, name)
            _refuse_unless(amphora, self._ask(amphora, "PUT", path, pem, order=order), 204)

    def _ask(
        self,
        amphora: Amphora,
        method: str,
        path: str,
        body: bytes | None = None,
        timeout: float | None = None,
        order: Order | None = None,
        most: int = _LONGEST_ANSWER,
    ) -> _Answer:
        """Send a request until there is an answer, or the time for retries is over.

        A caller's own `timeout` is the whole time that there is: then it is tried once. An answer has `most` bytes in its body.
        """
        begun = self._clock()
        any_time = mended = False
        while True:
            try:
                return self._ask_once(amphora, method, path, body, timeout, any_time, order, most)
            except exceptions.AmphoraDistrusted as exc:
                if any_time or mended or not connections.is_out_of_time(exc):
                    raise
                # Asked how it does, or given a new certificate, it need not have a good one; for all else it gets one first.
                any_time = method == "GET" or path == rest.IDENTITY_PATH
                if not any_time:
                    self._mend(amphora, order)
                    mended = True
                continue
            except exceptions.AmphoraUnreachable as exc:
                patience = self._patience(amphora, exc) if timeout is None else 0.0
                if not _may_pass(exc) or self._clock() + self._retry_interval > begun + patience:
                    raise
                LOG.debug("%s; trying again", exc)
            self._sleep(self._retry_interval)

    def _patience(self, amphora: Amphora, exc: exceptions.AmphoraUnreachable) -> float:
        if amphora.applied_generation == 0:
            return self._retry_time if connections.is_refusal(exc) else min(self._retry_time, _STARTING_RETRY_TIME)
        return min(self._retry_time, _SERVING_RETRY_TIME)

    def _mend(self, amphora: Amphora, order: Order | None) -> None:
        """Give an agent whose certificate has run out a new one. Its row tells of it when housekeeping renews it once more."""
        LOG.warning("amphora %s: its certificate is out of its time; it gets a new one", amphora.id)
        issued = self._authority.issue_amphora_certificate(amphora.id)
        roots, names = self._authority.client_roots(), self._authority.client_names()
        self.renew(amphora, boot.Identity(server_pem=issued.pem.decode(), client_roots=roots.decode(), client_names=names), order)

    def _ask_once(
        self,
        amphora: Amphora,
        method: str,
        path: str,
        body: bytes | None,
        timeout: float | None,
        any_time: bool,
        order: Order | None,
        most: int,
    ) -> _Answer:
        if amphora.management_address is None:
            raise exceptions.AmphoraUnreachable(amphora.id, "it has no management address yet")
        limit = self._timeout if timeout is None else urllib3.Timeout(total=timeout)
        pool = self._links.now(any_time=any_time).to(amphora, amphora.management_address)
        headers = {"Content-Type": "application/json"} | ({} if order is None else {rest.LEASE_HEADER: str(order.token)})
        begun = self._clock()
        try:
            said = pool.request(method, path, body=body, headers=headers, timeout=limit, redirect=False, preload_content=False)
            answer = _Answer(said.status, answers.content(said, most))
        except _NO_ANSWER as exc:
            raise _unanswered(amphora, exc) from exc
        LOG.debug("amphora %s: %s %s: %s in %.2f s", amphora.id, method, path, answer.status, self._clock() - begun)
        if answer.status in _NOT_READY:
            unready = exceptions.AmphoraUnreachable(amphora.id, f"it answered {answer.status}: {_said(answer)}")
            unready.is_starting = True
            raise unready
        return answer


def _unanswered(amphora: Amphora, error: Exception) -> exceptions.AmphoraUnreachable | exceptions.HostFault:
    if (lacking := connections.own_trouble(error)) is not None:
        return exceptions.HostFault(f"amphora {amphora.id} could not be asked: {exceptions.HostFault.sentence}: {lacking}")
    if connections.is_distrust(error):
        return exceptions.AmphoraDistrusted(amphora.id, _words(error))
    unreachable = exceptions.AmphoraUnreachable(amphora.id, _words(error))
    unreachable.is_there = isinstance(error, urllib3.exceptions.ReadTimeoutError)
    return unreachable


def _may_pass(unreachable: exceptions.AmphoraUnreachable) -> bool:
    """Whether an agent that is just starting may be the reason: it refuses or drops the connection, or says itself that it isn't ready.

    A time-out was long enough already, what has no end will not get one, and a stranger's certificate will not become the right one.
    """
    refused = urllib3.exceptions.NewConnectionError | urllib3.exceptions.ProtocolError | ConnectionError
    cause = unreachable.__cause__
    return unreachable.is_starting or (isinstance(cause, refused) and connections.endless(cause) is None)


def _words(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # a kind of ConnectTimeoutError, though it came at once
        return str(error).rpartition(": ")[2]
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "connected, but no answer in time"
    if (endless := connections.endless(error)) is not None:
        return str(endless)
    return _POOL.sub("", str(error)) or type(error).__name__


_POOL = re.compile(r"HTTPS?ConnectionPool\([^)]*\): ?")  # it names the address of the amphora, which is no tenant's business


def _portions(certificates: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """All of them, as many at a time as make a body that an agent takes at once."""
    some: dict[str, bytes] = {}
    for name, pem in certificates.items():
        if some and sum(map(len, some.values())) + len(pem) > _PORTION:
            yield some
            some = {}
        some[name] = pem
    yield some


def _missing(amphora: Amphora, answer: _Answer) -> list[str]:
    names = _error(answer).get("missing")
    if not isinstance(names, list):
        raise exceptions.AmphoraRefused(amphora.id, "its answer can't be read: it names no certificates that are missing")
    return [str(name) for name in names]


def _refuse_unless(amphora: Amphora, answer: _Answer, expected: int) -> None:
    if answer.status == expected:
        return
    if answer.status == rest.CONFIG_REFUSED:
        raise exceptions.ConfigRefused(amphora.id, _said(answer))
    if answer.status == rest.STALE_ORDER and (ahead := _ahead(amphora, _error(answer))) is not None:
        raise ahead
    if _error(answer).get("code") == rest.PROGRAM_FAILED:
        raise exceptions.ProgramFailed(amphora.id, _said(answer))
    if _error(answer).get("code") == rest.INTERFACE_MISSING:
        raise exceptions.CardMissing(amphora.id, f"{_said(answer)}; what is plugged towards members is plugged again by the next try")
    raise exceptions.AmphoraRefused(amphora.id, f"{_said(answer)} (HTTP {answer.status})")


def _ahead(amphora: Amphora, error: Mapping[str, Any]) -> exceptions.AmphoraAhead | None:
    """What the agent has seen that is newer; None if it refused for another reason. Agents of older releases name no numbers."""
    if error.get("code") not in rest.STALE_CODES:
        return None
    try:
        token, generation = (int(error.get(name, 0)) for name in ("lease_token", "generation"))
    except (ValueError, TypeError, OverflowError):
        return None
    if max(abs(token), abs(generation)) > _LARGEST:
        return None
    return exceptions.AmphoraAhead(amphora.id, token=token, generation=generation)


def _said(answer: _Answer) -> str:
    """The agent's words; HAProxy's own, where it quotes them."""
    error = _error(answer)
    return str(error.get("details") or error.get("message") or answer.data[:500].decode("utf-8", "replace") or "without a word")


def _error(answer: _Answer) -> Mapping[str, Any]:
    """The agent's error; empty if what it answered makes no sense."""
    try:
        found = _decoded(answer.data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(data: bytes) -> Any:
    """:raises ValueError: it is no JSON, or is nested as no agent's answer is."""
    try:
        return json.loads(data)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
