"""Options, one module per section of the configuration file. Each has `GROUP` and `OPTS`; only `cmd` reads the file, others get values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oslo_config import cfg
from oslo_log import log

from controller.conf import (
    api_settings,
    certificates,
    cinder,
    clients,
    controller_worker,
    database,
    embedded,
    haproxy_amphora,
    health_manager,
    house_keeping,
    keepalived_vrrp,
    lbaasv2,
    networking,
    nova,
    quotas,
    service_auth,
    task_flow,
)

_SECTIONS = (
    api_settings,
    certificates,
    cinder,
    controller_worker,
    database,
    embedded,
    haproxy_amphora,
    health_manager,
    house_keeping,
    keepalived_vrrp,
    lbaasv2,
    networking,
    nova,
    quotas,
    service_auth,
    task_flow,
)


def _sections() -> list[tuple[str, list[cfg.Opt]]]:
    return [*((one.GROUP, one.OPTS) for one in _SECTIONS), *((group, clients.options(name)) for group, name in clients.PLAIN.items())]


def register(conf: cfg.ConfigOpts) -> None:
    """Make every option known to a configuration, those of oslo.log included."""
    log.register_options(conf)
    for group, options in _sections():
        conf.register_opts(options, group=group)


def load(arguments: Sequence[str], config_files: Sequence[str] | None = None) -> cfg.ConfigOpts:
    """Read the configuration as a process of ours does: `--config-file FILE` (repeatable) in `arguments`, or `config_files`.

    :raises cfg.ConfigFilesNotFoundError: a named file can't be read.
    :raises cfg.ConfigFileValueError: an option's value is not of its kind; the message names both.
    """
    conf = cfg.ConfigOpts()
    register(conf)
    conf(list(arguments), project="figlina", default_config_files=list(config_files) if config_files is not None else None)
    return conf


def load_files(files: Iterable[str]) -> cfg.ConfigOpts:
    """The same of these files, for commands whose other arguments are their own."""
    return load([word for path in files for word in ("--config-file", path)])


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For `oslo-config-generator`, which writes `etc/figlina.conf.sample`."""
    return [*_sections(), (service_auth.GROUP, service_auth.LOADED_BY_TYPE)]
