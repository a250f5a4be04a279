"""Keystone's middleware, as we want it: bounded waits, and a token cache that all threads of a process share."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import cachetools
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from keystonemiddleware import auth_token, opts
from oslo_config import cfg

from controller import exceptions
from controller.openstack import sessions

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

GROUP = "keystone_authtoken"
DEFAULTS = {
    "http_connect_timeout": 10,  # seconds; the middleware's own default is to wait for ever
    "http_request_max_retries": 1,  # each waits longer, and holds a thread of the API meanwhile
    "service_type": "load-balancer",  # so that application credentials may be restricted to parts of our API
}
_CACHE = "figlina.tokens"
_REMEMBERED = 4000  # tokens; with a catalog, each takes some kilobytes


class Tokens:
    """What Keystone said about tokens, by their hash, in this process: the client of memcached that the middleware expects, without one.

    The middleware's own in-process cache is one for each thread, never bounded, and looked through as a whole in every request.
    """

    def __init__(self, size: int = _REMEMBERED, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._known = cachetools.TLRUCache[str, tuple[float, bytes], float](size, lambda _key, kept, now: now + kept[0], clock)

    def get(self, key: str) -> bytes | None:
        """What was set, unless its time is over."""
        with self._lock:
            kept = self._known.get(key)
        return None if kept is None else kept[1]

    def set(self, key: str, value: bytes, time: int = 0) -> bool:
        """Remember for so many seconds (a negative number: not at all); what nobody asks for is forgotten when there are too many."""
        with self._lock:
            self._known[key] = (time or float("inf"), value)
        return time >= 0


def register_options(conf: cfg.ConfigOpts) -> None:
    """[keystone_authtoken], with our defaults."""
    for group, options in opts.list_auth_token_opts():
        conf.register_opts(options, group=group)
    for name, value in DEFAULTS.items():
        conf.set_default(name, value, group=GROUP)


def list_opts() -> list[tuple[str, list[Any]]]:
    """For the sample of the configuration: the middleware's options with our defaults, and how the service user logs in by password."""
    listed = [(group, list(options)) for group, options in opts.list_auth_token_opts()]
    for _, options in listed:
        cfg.set_defaults(options, **DEFAULTS)
        options.extend(loading.get_auth_plugin_conf_options("password"))
    return listed


def guard(conf: cfg.ConfigOpts) -> Callable[[WSGIApplication], WSGIApplication]:
    """Make the middleware that lets only the bearers of good tokens pass.

    :raises Misconfigured: the configuration does not say as whom, or where, to ask Keystone.
    """
    register_options(conf)
    options = conf[GROUP]
    section = options.auth_section or GROUP
    loading.register_auth_conf_options(conf, section)
    if not conf[section].auth_type:
        raise exceptions.Misconfigured(
            f"[api_settings] auth_strategy is keystone, but [{section}] has no auth_type: name there the user as whom tokens are checked "
            "(auth_type, auth_url, username, password ...), or set auth_strategy = noauth, which makes every caller an administrator"
        )
    # Whoever comes without a good token is sent away here: the option would let them pass, for applications that decide it themselves.
    settings: dict[str, Any] = {"oslo_config_config": conf, "delay_auth_decision": False}
    tokens = None
    if options.memcached_servers and importlib.util.find_spec("memcache") is None:
        raise exceptions.Misconfigured(f"[{GROUP}] memcached_servers needs the package python-memcached: `pip install python-memcached`")
    if not options.memcached_servers and not options.cache:
        settings["cache"] = _CACHE
        tokens = Tokens()

    def wrap(application: WSGIApplication) -> WSGIApplication:
        try:
            middleware: Any = auth_token.AuthProtocol(application, dict(settings))
            sessions.bound(middleware._session.session)
        except (keystone_exceptions.ClientException, cfg.Error) as error:
            raise exceptions.Misconfigured(f"[{section}] can't be used: {error}") from error
        if tokens is None:
            return cast("WSGIApplication", middleware)

        def with_cache(environ: Any, start_response: Any) -> Any:
            environ[_CACHE] = tokens
            return middleware(environ, start_response)

        return with_cache

    return wrap
