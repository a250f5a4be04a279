"""Who may do what. Each route asks `current.authorize()` with the name of its rule (`<resource>:<action>`) and a project.

Who asks is a `Context`, made once for each request by `gate.py`.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
import os
import pathlib
import threading
import time
import warnings
from typing import Any

from oslo_config import cfg
from oslo_policy import opts as policy_options
from oslo_policy import policy as oslo_policy

from controller import exceptions
from controller.api import policies

LOG = logging.getLogger(__name__)

_POLICY_FILE = "policy.yaml"  # the default, which need not be there
_LOOK_AGAIN = 1.0  # seconds after which the files are looked at again
_DECISIONS = 20_000  # remembered at most, a few hundred bytes each
_Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The caller, and the names under which logs know the request."""

    request_id: str
    project_id: str | None
    is_admin: bool
    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()  # of the service that passes a user's request on
    domain_id: str | None = None  # of a token that is good for a domain, not for a project
    user_domain_id: str | None = None
    project_domain_id: str | None = None
    system_scope: str | None = None  # `all`, or none
    token: str | None = dataclasses.field(default=None, repr=False)  # to ask other services with the caller's rights; never logged
    global_request_id: str | None = None

    def credentials(self) -> dict[str, Any]:
        """What policy rules can ask for. What the caller has not got is left out, so that it equals nothing."""
        known = {name: getattr(self, name) for name in _NAMED} | {"tenant_id": self.project_id}
        present = {name: value for name, value in known.items() if value is not None}
        return {"is_admin": self.is_admin, "roles": list(self.roles), "service_roles": list(self.service_roles), **present}


_NAMED = ("user_id", "project_id", "domain_id", "user_domain_id", "project_domain_id", "system_scope")
_identity = operator.attrgetter("is_admin", "roles", "service_roles", *_NAMED)
"""All that rules can ask for, as a key."""


class Policy:
    """The rules of the code and of the operator's files, which are read again when they change.

    oslo.policy itself looks at the files in every call, and reloads in place while other threads read: they would see half of the rules,
    and refuse what is allowed. So each state of the files gets an enforcer of its own, which is exchanged as a whole.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """:raises Misconfigured: a policy file can't be read, or contradicts itself."""
        register_options(conf)
        self._conf = conf
        self._lock = threading.Lock()
        self._next_look = time.monotonic() + _LOOK_AGAIN
        self._seen = self._look()
        self._rules = _Rules(load(conf))

    def allows(self, action: str, project_id: str | None, context: Context) -> bool:
        """Whether the caller may do this with an object of that project. An action may be a base rule (`policies.READ`): for what is
        not part of the load balancing API.
        """
        name = action.removeprefix("rule:") if action.startswith("rule:") else policies.PREFIX + action
        return self._current().allow(name, project_id, context)

    def known(self, context: Context) -> Context:
        """The same caller, made administrator if the rules say so."""
        is_admin = self._current().allow("context_is_admin", context.project_id, context)
        return dataclasses.replace(context, is_admin=is_admin)

    def _current(self) -> _Rules:
        if time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._reload_if_changed()
            finally:
                self._next_look = time.monotonic() + _LOOK_AGAIN
                self._lock.release()
        return self._rules

    def _reload_if_changed(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._rules = _Rules(load(self._conf))
        except exceptions.Misconfigured as error:
            LOG.error("The old policies stay in force: %s", error)
        else:
            LOG.info("The policies were read again: a file changed")

    def _look(self) -> _Fingerprint:
        """What tells one state of the files from the next."""
        found = (self._conf.find_file(name) for name in (self._conf.oslo_policy.policy_file, *self._conf.oslo_policy.policy_dirs))
        paths = [pathlib.Path(path) for path in found if path]
        files = [*paths, *(entry for path in paths if path.is_dir() for entry in path.iterdir())]
        return tuple(sorted(_state(path) for path in files))


class _Rules:
    """The rules of one state of the files, and what they decided: oslo.policy takes up to 400 microseconds for what is always the same."""

    def __init__(self, enforcer: oslo_policy.Enforcer) -> None:
        self._enforcer = enforcer
        self._decided: dict[tuple[Any, ...], bool] = {}
        # Rules that ask another server may be answered otherwise next time.
        self._remembers = not any("http:" in str(check) or "https:" in str(check) for check in enforcer.rules.values())

    def allow(self, rule: str, project_id: str | None, context: Context) -> bool:
        key = (rule, project_id, _identity(context))
        decision = self._decided.get(key)
        if decision is None:
            target = {} if project_id is None else {"project_id": project_id, "tenant_id": project_id}
            decision = bool(self._enforcer.authorize(rule, target, context.credentials()))
            if self._remembers:
                if len(self._decided) >= _DECISIONS:
                    self._decided.clear()
                self._decided[key] = decision
        return decision


def _state(path: pathlib.Path) -> tuple[str, int, int, int]:
    try:
        status = os.stat(path)
    except OSError:  # gone since it was listed
        return str(path), 0, 0, 0
    return str(path), status.st_ino, status.st_mtime_ns, status.st_size


def register_options(conf: cfg.ConfigOpts) -> None:
    """[oslo_policy], with the old definitions in force until an operator has given out Keystone's roles."""
    for group, options in policy_options.list_opts():
        conf.register_opts(options, group=group)
    conf.set_default("enforce_new_defaults", False, group="oslo_policy")


def load(conf: cfg.ConfigOpts) -> oslo_policy.Enforcer:
    """An enforcer for the rules as they are now; it never looks at the files again.

    :raises Misconfigured: a policy file can't be read, or contradicts itself.
    """
    named = conf.oslo_policy.policy_file
    if named != _POLICY_FILE and not conf.find_file(named):
        raise exceptions.Misconfigured(f"[oslo_policy] policy_file {named} can't be found: without it, other rules than yours would apply")
    enforcer = _enforcer(conf)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that were deprecated; `oslopolicy-list-redundant` and the sample tell of them
            enforcer.load_rules()
        enforcer.check_rules(raise_on_violation=True)
    except Exception as error:  # YAML that is none, a list instead of a mapping, rules in a circle
        raise exceptions.Misconfigured(f"the policies of [oslo_policy] policy_file {named} can't be used: {error}") from error
    unknown = [name for name in enforcer.file_rules if name.startswith(policies.PREFIX) and name not in enforcer.registered_rules]
    if unknown:
        LOG.warning("Rules in %s that nothing asks for: %s", named, ", ".join(sorted(unknown)))
    enforcer.use_conf = False
    return enforcer


def _enforcer(conf: cfg.ConfigOpts) -> oslo_policy.Enforcer:
    enforcer = oslo_policy.Enforcer(conf)
    enforcer.suppress_default_change_warnings = True
    enforcer.register_defaults(policies.list_rules())
    return enforcer


def enforcer_for_tools() -> oslo_policy.Enforcer:
    """The entry point of `oslopolicy-policy-generator`, `-list-redundant` and `-validator`; they have read `--config-file FILE` already."""
    register_options(cfg.CONF)
    return _enforcer(cfg.CONF)


def list_opts() -> list[tuple[str, list[Any]]]:
    """For the sample of the configuration: oslo.policy's options with our defaults."""
    listed = [(group, list(options)) for group, options in policy_options.list_opts()]
    for _, options in listed:
        cfg.set_defaults(options, enforce_new_defaults=False)
    return listed
