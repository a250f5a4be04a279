"""A cloud, its services, and one call to one of them."""

from __future__ import annotations

import io
import logging
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import openstack.connection
import openstack.exceptions
import requests
import urllib3
from keystoneauth1 import adapter, loading
from keystoneauth1 import exceptions as keystone
from oslo_config import cfg

from controller import exceptions
from controller.openstack import documents, errors, sessions

LOG = logging.getLogger(__name__)

SECTIONS = {"compute": "nova", "network": "neutron", "image": "glance", "key_manager": "barbican", "block_storage": "cinder"}
"""The services that are asked, by the names that openstacksdk has for them, and the sections that say how."""

_ADDRESS = "[service_auth] has neither `auth_type` nor `cloud`: name there the user as whom the cloud is asked"
_TRIES = 3
_PAUSE = 0.5  # seconds before the second try; doubled before the third
_LONGEST_PAUSE = 5.0  # a service that asks for more patience is asked again by the flow
_REPEATABLE = {"GET", "HEAD", "PUT", "DELETE"}  # RFC 9110, section 9.2.2
_POOL = 4
"""Connections to each service that are kept open by a process; more are made when more are needed. Services on eventlet (Neutron) answer at
most a hundred connections at once, idle ones included (`wsgi_default_pool_size`), and all processes of all controllers share these."""
_PIECE = 1024 * 1024  # bytes of a file that are sent at once


class Service:
    """One API of a cloud. Paths are relative to its versioned endpoint; answers are documents, which see (`documents.py`): to read of one
    what it has not raises Unreadable, which is Transient.

    Every call may raise

    :raises Missing: 404; :raises Contradicted: 409; :raises QuotaMet: the project's quota; :raises NotAllowed: 401 and 403;
    :raises ServiceRefused: any other refusal, `status`, `kind` and `words` tell which;
    :raises Transient: no answer, or one that asks for patience, also after further tries where the method may be repeated;
    :raises Misconfigured: the cloud has no such service, or does not believe who we are.
    """

    def __init__(self, connection: openstack.connection.Connection, name: str, patience: float) -> None:
        self._connection = connection
        self.name = name
        self._patience = patience
        self._proxy: Any = None

    @property
    def _section(self) -> str:
        return SECTIONS.get(self.name, self.name)

    @property
    def _option(self) -> str:
        """The one that says where the service is."""
        return f"[{self._section}] endpoint_override" if self.name in SECTIONS else "[service_auth] auth_url"

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, microversion: str | None = None) -> Any:
        """What the service answers to a GET, as JSON; errors as of `call`."""
        return self.call("GET", path, params=params, microversion=microversion)

    def post(self, path: str, body: Any, *, microversion: str | None = None) -> Any:
        """Make something. It is not repeated when no answer came: whoever calls looks first whether it was made."""
        return self.call("POST", path, body, microversion=microversion)

    def put(self, path: str, body: Any = None, *, microversion: str | None = None) -> Any:
        """The same to a PUT with a body of JSON."""
        return self.call("PUT", path, body, microversion=microversion)

    def delete(self, path: str, *, microversion: str | None = None) -> None:
        """Delete something; gone already is fine."""
        try:
            self.call("DELETE", path, microversion=microversion)
        except errors.Missing:
            LOG.debug("%s: %s is gone already", self.name, path)

    def upload(self, path: str, file: BinaryIO) -> None:
        """Send a file's bytes, however many and however long it takes; all of them again where a token was refused midway."""
        self._ask("PUT", path, {"data": _Whole(file), "headers": {"Content-Type": "application/octet-stream"}, "timeout": 3600.0})

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        microversion: str | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Any:
        """One request, with further tries where that is safe, as us or as the bearer of a `token`. Returns what its answer says: a
        document, or whatever is decoded otherwise.
        """
        arguments: dict[str, Any] = {"timeout": self._patience, "headers": dict(headers or {})}
        if token is not None:
            arguments["headers"]["X-Auth-Token"], arguments["authenticated"] = token, False
        arguments |= {} if body is None else {"json": body}
        arguments |= {} if params is None else {"params": dict(params)}
        arguments |= {} if microversion is None else {"microversion": microversion}
        for attempt in range(1, _TRIES + 1):
            try:
                return self._ask(method, path, arguments, decode)
            except exceptions.Transient as error:
                pause = _pause(error, method, attempt)
                if pause is None:
                    raise
                LOG.warning("%s; it is asked again in %.1f s", error, pause)
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def microversions(self) -> tuple[str, str] | None:
        """The lowest and the highest that the service speaks now; two empty strings: it has none. None: it does not tell.

        :raises Transient: it does not answer now.
        """
        try:
            data = self.translated("GET /", self._told_anew)
            if data is not None and data.max_microversion is not None:
                return _dotted(data.min_microversion), _dotted(data.max_microversion)
            found = self.get("/")  # an endpoint of the configuration's own: openstacksdk does not look
        except errors.ServiceRefused as error:
            if error.status != 404 and (isinstance(error, exceptions.Transient) or error.status >= 500):
                raise
            return None
        except errors.Unreadable:
            return None
        version = _version_in(found)
        return None if version is None else (str(version.get("min_version", "")), str(version.get("version", "")))

    def _told_anew(self, proxy: Any) -> Any:
        """keystoneauth keeps what services said of their versions for as long as the process lives: this one's is forgotten."""
        endpoint = str(proxy.get_endpoint() or "")
        for keeper in (proxy.session, proxy.session.auth):
            kept = getattr(keeper, "_discovery_cache", {})
            for url in [one for one in list(kept) if endpoint.startswith(one.rstrip("/"))]:
                kept.pop(url, None)
        return proxy.get_endpoint_data()

    def _ask(self, method: str, path: str, arguments: Mapping[str, Any], decode: Callable[[bytes], Any] | None = None) -> Any:
        """Bodies are never logged: they may hold an amphora's keys."""
        quietly = {"raise_exc": False, "log": False, "connect_retries": 0, "status_code_retries": 0, "stream": True}
        begun = time.monotonic()
        response = self.translated(f"{method} {path}", lambda proxy: proxy.request(path, method, **quietly, **arguments))
        content = content_of(response, f"{self.name}: {method} {path}", begun + max(self._patience, arguments["timeout"]))
        level = logging.DEBUG if method == "GET" else logging.INFO
        took, traced = time.monotonic() - begun, errors.request_id(response.headers)
        LOG.log(level, "%s: %s %s: %s in %.2f s, request %s", self.name, method, path, response.status_code, took, traced or "without id")
        if response.status_code >= 400:
            raise errors.of_answer(f"{self.name}: {method} {path}", response.status_code, response.headers, content)
        origin = documents.Origin(self.name, f"{self.name}: {method} {path}, request {traced or 'without id'}", self._option)
        try:
            return documents.read(content, origin) if decode is None else decode(content)
        except (ValueError, RecursionError) as error:
            raise origin.lacks("is no JSON") from error

    def _found(self, call: str) -> Any:
        """openstacksdk's proxy of the service, at an endpoint that has a version.

        Where the catalog names none, the service is asked for its versions. If it does not tell, openstacksdk goes on without one for as
        long as the process lives, and everything is "not found": such a proxy is forgotten again.
        """
        proxy = getattr(self._connection, self.name)
        endpoint = adapter.Adapter.get_endpoint(proxy) or ""  # the identity service has another method of that name
        if not re.search(r"/v\d", endpoint):
            self._connection._proxies.pop(self.name.replace("_", "-"), None)
            words = f"let [{self._section}] endpoint_override name its endpoint with one, if it does not answer there"
            raise errors.NoAnswer(f"{call}: the service did not tell its versions: {words}")
        self._proxy = proxy
        return proxy

    def translated(self, what: str, ask: Callable[[Any], Any], *, of_keystone: bool = False) -> Any:
        """Let openstacksdk's proxy of this service do something; its errors are ours, see above."""
        call, section = f"{self.name}: {what}", self._section
        try:
            return ask(None if of_keystone else self._proxy or self._found(call))
        except (keystone.Unauthorized, keystone.MissingRequiredOptions, keystone.AuthorizationFailure) as error:
            raise exceptions.Misconfigured(f"{call}: Keystone does not accept [service_auth]: {error}") from error
        except (keystone.EndpointNotFound, keystone.VersionNotAvailable, openstack.exceptions.ServiceDisabledException) as error:
            raise exceptions.Misconfigured(
                f"{call}: the catalog has no endpoint for it ({error}); register one, or set [{section}] endpoint_override"
            ) from error
        except keystone.HttpError as error:  # Keystone's own: answers of the service are not raised
            raise errors.of_answer(f"{call}: Keystone", error.http_status, {}, str(error.message or error).encode()) from error
        except openstack.exceptions.NotSupported as error:
            raise exceptions.Misconfigured(f"{call}: {error}") from error
        except (keystone.ClientException, openstack.exceptions.SDKException, requests.RequestException) as error:
            raise errors.NoAnswer(f"{call}: no answer: {errors.without_addresses(error)}") from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:  # of a library that read what it did not understand
            raise errors.Unreadable(call, f"can't be understood ({type(error).__name__}: {error})", self._option) from error
        except Exception as error:
            if type(error) is not Exception:
                raise
            # keystoneauth says so, without a class, that a password or another option is missing
            raise exceptions.Misconfigured(f"{call}: [service_auth] can't be used: {error}") from error


class _Whole:
    """A file that is read from its beginning each time that it is sent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __len__(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        yield from iter(lambda: self._file.read(_PIECE), b"")


class Cloud:
    """The services of one cloud, as one user of it: one token, one pool of connections for all threads of the process."""

    def __init__(self, connection: openstack.connection.Connection, patience: float, conf: cfg.ConfigOpts | None = None) -> None:
        self._connection = connection
        self._patience = patience
        self._conf = conf  # not given to anybody else in memory for as long as this is in use

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Cloud:
        """The cloud of `[service_auth]` and of the services' sections; made once for a configuration, while anybody uses it.

        :raises Misconfigured: it is not said as whom the cloud is asked, or what is said can't be used.
        """
        with _LOCK:
            known = _CLOUDS.get(id(conf))
            if known is None:
                known = _CLOUDS[id(conf)] = cls(_connection(conf), conf.service_auth.timeout or _PATIENCE, conf)
            return known

    @property
    def project_id(self) -> str:
        """The project of ours in this cloud, to which amphorae belong.

        :raises Transient: Keystone did not answer; :raises Misconfigured: it does not accept who we are.
        """
        return str(self.service("identity").translated("our project", lambda _: self._connection.current_project_id, of_keystone=True))

    @property
    def user_id(self) -> str:
        """The id of our user in this cloud.

        :raises Transient: Keystone did not answer; :raises Misconfigured: it does not accept who we are.
        """
        return str(self.service("identity").translated("who we are", lambda _: self._connection.current_user_id, of_keystone=True))

    def service(self, name: str) -> Service:
        """One of them by openstacksdk's name for it: `compute`, `network`, `image`, `identity`, `key_manager`, `block_storage`."""
        return Service(self._connection, name, self._patience)

    def close(self) -> None:
        """Give the connections back. Whoever asks on makes new ones."""
        self._connection.session.session.close()


_PATIENCE = 60.0  # seconds
_LOCK = threading.Lock()
_CLOUDS: weakref.WeakValueDictionary[int, Cloud] = weakref.WeakValueDictionary()


def _connection(conf: cfg.ConfigOpts) -> openstack.connection.Connection:
    group = conf.service_auth
    settings: dict[str, Any] = {"app_name": "figlina"}
    for name, section in SECTIONS.items():
        options = conf[section]
        wanted = {
            "region_name": options.region_name,
            "interface": options.valid_interfaces[0],
            "endpoint_override": options.endpoint_override,
        }
        settings |= {f"{name}_{key}": value for key, value in wanted.items() if value}
    try:
        if group.cloud:
            made = openstack.connection.Connection(cloud=group.cloud, **settings)
        elif group.auth_type:
            auth = loading.load_auth_from_conf_options(conf, "service_auth")
            asked = loading.load_session_from_conf_options(conf, "service_auth", auth=auth, app_name="figlina")
            made = openstack.connection.Connection(session=asked, region_name=group.region_name, **settings)
        else:
            raise exceptions.Misconfigured(_ADDRESS)
    except (keystone.ClientException, openstack.exceptions.SDKException, cfg.Error) as error:
        raise exceptions.Misconfigured(f"[service_auth] can't be used: {error}") from error
    sessions.bound(made.session.session, _POOL)
    return made


def _pause(error: exceptions.Transient, method: str, attempt: int) -> float | None:
    """Seconds until the next try; None: there is none. What may have been carried out is repeated only if that makes no difference."""
    carried_out = not (isinstance(error, errors.TryAgain) and error.status in (429, 503))
    if attempt == _TRIES or (carried_out and method not in _REPEATABLE):
        return None
    asked: float | None = getattr(error, "after", None)
    if asked is not None:
        return asked if asked <= _LONGEST_PAUSE else None
    return _PAUSE * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311


def content_of(response: requests.Response, call: str, until: float) -> bytes:
    """The whole body of an answer that is read as a stream.

    :raises Transient: it does not end, or it was cut.
    """
    content = bytearray()
    try:
        while part := response.raw.read1(65536, decode_content=True):
            content += part
            if len(content) > sessions.LARGEST or time.monotonic() > until:
                response.close()
                raise errors.NoAnswer(f"{call}: the answer does not end")
        response.raw.release_conn()
    except urllib3.exceptions.ReadTimeoutError as error:
        raise errors.NoAnswer(f"{call}: the answer does not end") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise errors.NoAnswer(f"{call}: the answer was cut: {errors.without_addresses(error)}") from error
    return bytes(content)


def _version_in(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a service's document of versions says of the one at this endpoint, if it is one."""
    listed = found.get("versions")
    version = found.get("version") or (listed[0] if isinstance(listed, list) and listed else None)
    return version if isinstance(version, Mapping) else None


def _dotted(version: tuple[int, ...] | None) -> str:
    return "" if version is None else ".".join(map(str, version))
