"""Checks of what is ours: database, keys, certificates, drivers, and who may call the API."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Iterator
from typing import Any

from keystoneauth1 import loading
from keystoneauth1 import session as sessions
from oslo_config import cfg

from controller import conf as configuration
from controller import exceptions, services
from controller.api import keystone as middleware
from controller.conf import health_manager
from controller.db import migration
from controller.deployment.report import Finding, failure, ok, warning
from controller.deployment.site import Site
from controller.drivers.ca import rollover
from controller.openstack import sessions as bounded

_MONTH = datetime.timedelta(days=30)
_MIGRATE = "figlina-db-manage --config-file FILE upgrade"
_CREATE = "`figlina ca create --config-file FILE` on one host, then copy [certificates] ca_path and storage_path to the others"


def options(site: Site) -> Iterator[Finding]:
    """Is every option's value of its kind? A process would end when it first reads it."""
    for group, known in configuration.list_opts():
        for option in known:
            try:
                if option.dest in site.conf[group]:
                    getattr(site.conf[group], option.dest)
            except (cfg.Error, ValueError) as error:
                yield failure("option", str(error), f"[{group}] {option.dest}; etc/figlina.conf.sample says what it may be")
    yield ok(", ".join(site.conf.config_file or ["no file: the defaults"]))


def database(site: Site) -> Finding:
    """Is the database there, with the newest schema?"""
    schema = migration.Schema(site.conf.database.connection)
    try:
        current = schema.existing()
    except exceptions.Misconfigured as error:
        return failure("database-away", str(error), f"[database] connection; start the server; a new database: {_MIGRATE}")
    if current != schema.newest():
        return failure("database-schema", f"the schema is at {current or 'nothing'}, this program needs {schema.newest()}", _MIGRATE)
    return ok(f"{schema.where} has the schema {current}")


def heartbeat_key(site: Site) -> Finding:
    """Is there a key for heartbeats that nobody guesses?"""
    try:
        keys = health_manager.deployment_keys(site.conf.health_manager.heartbeat_key)
    except ValueError as error:
        return failure("heartbeat-key", str(error), "[health_manager] heartbeat_key = $(openssl rand -hex 32), the same on every host")
    return ok(f"{len(keys)} of good strength")


def certificates(site: Site) -> Finding:
    """Are the roots there which vouch for amphorae and controllers, and how long?"""
    options = site.conf.certificates
    if site.conf.controller_worker.ca_driver != "local":
        return ok(f"the authority `{site.conf.controller_worker.ca_driver}` is its own business")
    folder = pathlib.Path(options.ca_path)
    if not (folder / "server_ca.pem").exists():
        return failure("certificates", f"there is no server_ca.pem in {folder}", _CREATE)
    try:
        services.Services.load(site.conf).ca.trust()
    except exceptions.Misconfigured as error:
        return failure("certificates", str(error), f"mend what the sentence names, or make a new directory: {_CREATE}")
    phrase = options.ca_private_key_passphrase
    roots = rollover.RollOver(folder, phrase.encode() if phrase else None, datetime.timedelta(0)).roots()
    end = min(root.not_after for root in roots)
    if end - datetime.datetime.now(datetime.UTC) < _MONTH:
        return warning("certificates-end", f"a root ends on {end:%Y-%m-%d}", "figlina ca start --config-file FILE")
    return ok(f"{len(roots)} roots, the first ends on {end:%Y-%m-%d}")


def secrets(site: Site) -> Finding:
    """Can tenants' certificates be kept?"""
    if site.conf.controller_worker.secrets_driver == "local" and not pathlib.Path(site.conf.certificates.storage_path).is_dir():
        return failure("secrets", f"there is no folder {site.conf.certificates.storage_path}", _CREATE)
    try:
        kept = services.Services.load(site.conf).secrets
    except exceptions.Misconfigured as error:
        return failure("secrets", str(error), "what the sentence says")
    return ok(f"{type(kept).__name__} opens")


def drivers(site: Site) -> Iterator[Finding]:
    """Are the drivers installed that the configuration names?"""
    worker = site.conf.controller_worker
    named = {kind: getattr(worker, f"{kind}_driver") for kind in ("compute", "network", "amphora", "ca", "secrets")}
    for kind, name in named.items():
        known = sorted(site.host.drivers(kind))
        if name not in known:
            yield failure("driver", f"no driver {name!r} is installed", f"[controller_worker] {kind}_driver = one of {', '.join(known)}")
    if (worker.compute_driver == "nova") != (worker.network_driver == "neutron"):
        yield warning(
            "drivers-apart",
            f"compute is `{worker.compute_driver}` and network is `{worker.network_driver}`: neither knows what the other one makes",
            "[controller_worker] compute_driver = nova, network_driver = neutron",
        )
    yield ok(", ".join(f"{kind} {name}" for kind, name in named.items()))


def strangers(site: Site) -> Finding:
    """Is all that housekeeping takes for ours explained by a row? It deletes the rest, be it another Figlina's of the same name."""
    everything = services.Services.load(site.conf)
    try:
        amphorae = {one.amphora_id for one in everything.compute.list_ours()}
        owners = {port.device_id for port in everything.network.list_ours() if port.device_id}
        vips = {one.removeprefix("lb-") for one in owners if one.startswith("lb-")}
        amphorae |= {one for one in owners if not one.startswith("lb-")}
        with everything.db.read() as tx:
            unknown = {f"amphora {one}" for one in amphorae - tx.housekeeping.living_amphorae(amphorae)}
            unknown |= {f"VIP of {one}" for one in vips - tx.housekeeping.living_load_balancers(vips)}
    finally:
        everything.close()
    if unknown and site.conf.house_keeping.delete_orphans:
        words = f"no row explains {len(unknown)} of {len(amphorae) + len(vips)} amphorae and VIP ports ({', '.join(sorted(unknown)[:3])})"
        fix = (
            "[house_keeping] delete_orphans = false while another one works in this cloud; several Figlinas: [controller_worker] deployment"
        )
        return warning("strangers", f"{words}; housekeeping would delete them", fix)
    return ok(f"{len(amphorae)} amphorae and {len(vips)} VIP ports, {len(unknown)} of them unexplained")


def callers(site: Site) -> Finding:
    """Are callers of the API proved, and can they be?"""
    strategy = site.conf.api_settings.auth_strategy
    if strategy != "keystone":
        word = "whoever reaches the API administers every load balancer"
        return warning("callers-unproved", f"auth_strategy is {strategy}: {word}", "[api_settings] auth_strategy = keystone")
    try:
        auth, session = _as_middleware(site.conf)
        access = auth.get_access(session)
    except exceptions.Misconfigured as error:
        return failure(
            "callers-nobody", str(error), "[keystone_authtoken] auth_type, auth_url, username, password, project_name, ..._domain_name"
        )
    except Exception as error:  # keystoneauth has no class for a password that is missing
        return failure("callers-refused", f"Keystone does not take [keystone_authtoken]: {error}", "the password and project there")
    if not _proves(site, access, session):
        return failure(
            "callers-rights",
            f"{access.username} (roles {', '.join(access.role_names)}) may not prove the tokens of others",
            f"openstack role add --project {access.project_name} --user {access.username} service",
        )
    return ok(f"{access.username} of {access.project_name} proves tokens (roles {', '.join(sorted(access.role_names))})")


def _proves(site: Site, access: Any, session: sessions.Session) -> bool:
    """Tried with the token of the user of `[service_auth]`. A token of one's own proves nothing, so then the roles have to tell."""
    try:
        other = site.access
    except exceptions.ControllerError:
        other = access
    if other.user_id == access.user_id:
        return bool({"admin", "service"} & set(access.role_names))
    sent = {"X-Subject-Token": other.auth_token}
    asked = session.get("/auth/tokens", headers=sent, endpoint_filter={"service_type": "identity", "interface": "public"}, raise_exc=False)
    return bool(asked.status_code == 200)


def _as_middleware(conf: Any) -> tuple[Any, sessions.Session]:
    """As whom tokens are proved.

    :raises Misconfigured: nobody is named, or the options can't be used.
    """
    middleware.guard(conf)
    options = conf[middleware.GROUP]
    auth = loading.load_auth_from_conf_options(conf, options.auth_section or middleware.GROUP)
    verify = not options.insecure and (options.cafile or True)
    session = sessions.Session(auth=auth, verify=verify, timeout=options.http_connect_timeout)
    bounded.bound(session.session)
    return auth, session
