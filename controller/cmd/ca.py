"""`figlina ca` and `figlina secrets`: what an operator does with roots and keys."""

from __future__ import annotations

import argparse
import datetime
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from controller import conf as configuration
from controller import exceptions, services
from controller.changes import secrets as uploads
from controller.cmd import process
from controller.db.repositories import certificates as rows
from controller.drivers.ca import rollover
from controller.drivers.secrets import local as local_secrets
from controller.model import status
from controller.providers import amphora as amphora_provider
from controller.providers import interface as provider
from controller.resources import secret

_Act = Callable[[cfg.ConfigOpts, argparse.Namespace], int]
_PHASES = {
    "start": (
        rollover.RollOver.start,
        "make the next roots, and trust them beside those of now",
        "The next roots are made, and trusted, too.",
    ),
    "switch": (rollover.RollOver.switch, "let the next roots issue, once every amphora trusts both", "The next roots issue."),
    "finish": (
        rollover.RollOver.finish,
        "trust only the roots that issue, once every amphora has a certificate by them",
        "Only the roots that issue are trusted. Amphorae forget the others with one more renewal (`figlina ca status`).",
    ),
}
"""By which commands a roll-over goes from one phase to the next: what each does, its help, and what is said then."""
_NEXT = dict(zip(rollover.Phase, _PHASES, strict=True))


def add_commands(ca: argparse.ArgumentParser, secrets: argparse.ArgumentParser) -> None:
    """Add the commands; each sets `run`, a function of the parsed options that returns an exit code."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--config-file", action="append", default=[], help="configuration file, as the controllers have it; repeatable")
    commands, stored = ca.add_subparsers(dest="ca_command", required=True), secrets.add_subparsers(dest="secrets_command", required=True)

    def add(below: Any, word: str, act: _Act, words: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = below.add_parser(word, parents=[where], help=words)
        command.set_defaults(run=functools.partial(_run, act))
        return command

    words = "make the first roots, the controllers' certificate and the key of the `local` secret store; what is there stays"
    add(commands, "create", _create, words)
    add(commands, "status", _status, "which roots are trusted, which one issues, and how many amphorae have followed")
    for word, (_, words, _) in _PHASES.items():
        add(commands, word, _go_on, words)
    store = add(stored, "store", _store, "give a certificate to the `local` store, and print its reference")
    store.add_argument("files", nargs="+", type=pathlib.Path, help="PEM (certificate, key, chain, in any order) or one PKCS #12 file")
    store.add_argument("--project", required=True, help="id of the project whose load balancers may name it")
    store.add_argument("--name", default="", help="a name for people")
    store.add_argument("--kind", choices=secret.KINDS, default=secret.CERTIFICATE, help="what it is")
    store.add_argument("--passphrase-file", type=pathlib.Path, help="file with the passphrase of the private key")
    forget = add(stored, "delete", _forget, "forget a secret of the `local` store; what is served with it is served on")
    forget.add_argument("reference")
    forget.add_argument("--project", required=True, help="id of its project")
    refresh = add(stored, "refresh", _refresh, "have a load balancer take up secrets that were changed in the store")
    refresh.add_argument("load_balancer")
    add(stored, "reencrypt", _reencrypt, "encrypt every secret of the `local` store with its first key")


def _run(act: _Act, options: argparse.Namespace) -> int:
    try:
        return act(configuration.load_files(options.config_file), options)
    except (exceptions.ControllerError, cfg.Error, ValueError, LookupError, OSError) as exc:
        print(f"figlina: {exc}", file=sys.stderr)
        return 1


def _create(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    conf.set_override("create", True, group="certificates")
    everything = services.Services.load(conf)
    for what, made, folder in (
        ("roots and the controllers' certificate", everything.ca, conf.certificates.ca_path),
        ("secret store", everything.secrets, conf.certificates.storage_path),
    ):
        print(
            f"{what}: {type(made).__name__}{f' in {folder}' if type(made).__name__.startswith('Local') else ', which is its own business'}"
        )
    assert everything.cipher is not None
    print(f"keys of tenants' certificates: in {conf.certificates.storage_path}")
    print("Copy these folders to every host that runs a worker, a health manager or housekeeping, for the service's user only (0700).")
    return 0


def _status(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    roll_over, progress = _roll_over(conf), _progress(conf)
    phase = roll_over.phase()
    print(f"phase: {phase}")
    for root in roll_over.roots():
        word = "issues, trusted" if root.issues else "trusted"
        print(f"{root.authority}: {root.name}, key {root.key_id[:16]}, until {root.not_after:%Y-%m-%d}: {word}")
    print(f"amphorae: {progress.following} of {progress.fleet} have followed")
    if progress.others:
        print(f"not yet: {', '.join(progress.others)}{' ...' if progress.fleet - progress.following > len(progress.others) else ''}")
        print("wait until housekeeping has renewed them; an amphora that hangs behind for long: see its events, or fail it over")
    elif phase is not rollover.Phase.NONE:
        print(f"next: figlina ca {_NEXT[phase]}")
    return 0


def _go_on(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    roll_over, (act, _, said) = _roll_over(conf), _PHASES[options.ca_command]
    if options.ca_command != "start":
        _refuse_unless_all_follow(conf)
    act(roll_over)
    print(f"{said} Where hosts have copies of the directory, copy it to each.")
    if (phase := roll_over.phase()) is not rollover.Phase.NONE:
        print(f"Then wait until `figlina ca status` says that every amphora has followed, and go on with `figlina ca {_NEXT[phase]}`.")
    return 0


def _refuse_unless_all_follow(conf: cfg.ConfigOpts) -> None:
    """:raises Conflict: an amphora would be left behind."""
    progress = _progress(conf)
    if progress.following < progress.fleet:
        raise exceptions.Conflict(
            f"{progress.fleet - progress.following} of {progress.fleet} amphorae have not followed yet ({', '.join(progress.others[:5])}): "
            "wait until housekeeping has renewed them, or fail over those that can't be."
        )


def _progress(conf: cfg.ConfigOpts) -> rows.Progress:
    everything = services.Services.load(conf)
    try:
        trust = everything.ca.trust()
        with everything.db.read() as tx:
            return tx.certificates.progress(trust)
    finally:
        everything.close()


def _roll_over(conf: cfg.ConfigOpts) -> rollover.RollOver:
    options = conf.certificates
    if conf.controller_worker.ca_driver != "local":
        raise exceptions.NotSupported(f"The roots of the authority {conf.controller_worker.ca_driver} are changed where they are made.")
    passphrase = options.ca_private_key_passphrase
    return rollover.RollOver(
        pathlib.Path(options.ca_path), passphrase.encode() if passphrase else None, datetime.timedelta(seconds=options.ca_validity_time)
    )


def _store(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    content = b"".join(path.read_bytes() for path in options.files)
    passphrase = options.passphrase_file.read_bytes().strip() if options.passphrase_file else None
    given = uploads.Given(options.kind, options.name, content, passphrase)
    print(uploads.keep(services.Services.load(conf).secrets, options.project, given))
    return 0


def _forget(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    services.Services.load(conf).secrets.delete(options.project, options.reference)
    return 0


def _refresh(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    ring = process.bell(conf)
    everything = services.Services.load(conf)
    with everything.db.begin() as tx:
        change = provider.Update(load_balancer_id=options.load_balancer, allowed=status.MUTABLE, request_id="figlina secrets refresh")
        generation = amphora_provider.AmphoraProvider().accept(tx, change)
        count = tx.tenant_certificates.ask_again(options.load_balancer, None, generation)
    ring()
    print(f"{count} secrets are read anew; the load balancer is ACTIVE again when its amphorae have them.")
    return 0


def _reencrypt(conf: cfg.ConfigOpts, options: argparse.Namespace) -> int:
    everything = services.Services.load(conf)
    store = everything.secrets
    secrets = store.reencrypt() if isinstance(store, local_secrets.LocalSecrets) else 0
    copies, missed = 0, 1
    while missed:
        with everything.db.begin() as tx:
            copies, missed = tx.tenant_certificates.reencrypt(everything.cipher.rotate)
    print(f"{secrets} secrets and {copies} copies are encrypted with the first key: older keys can be taken away.")
    return 0
