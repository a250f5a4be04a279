"""Certificates as HAProxy knows them: names that stay, behind which other files come.

The text of a configuration, as the agent keeps it, ends in comments that say which file (`<sha256>.pem`) each name stands for, and what is
in each list. So a text with other certificates is another text: it is checked, marked and put back like any other.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import re
import ssl
from collections.abc import Collection, Iterator, Mapping

from amphora_agent import haproxy_runtime, system
from amphora_agent.protocol import rest

NAME = re.compile(r"[0-9a-z][0-9a-z-]{0,63}\.pem").fullmatch
LIST = re.compile(r"[0-9a-z][0-9a-z-]{0,63}\.list").fullmatch
FILE = re.compile(r"[0-9a-f]{64}\.pem").fullmatch
_COMMENT = re.compile(r"(?m)^# certificate (\S+) (\S+)$")
_END = "-----END CERTIFICATE-----"
_NOT_AFTER = re.compile(r"(?m)^notAfter: (.+? GMT)\s*$")  # HAProxy's management guide, section 9.3, "show ssl cert"
_SHOWN = re.compile(r"(?ms)^Filename: (?P<path>[^\n]+)\n(?P<said>.*?)(?=^Filename: |\Z)").finditer
_HOSTS = re.compile(r"(?m)(?:\bDNS:|^Subject: .*/CN=)(?P<host>[^,/\s]+)").findall
_ASKED_IN_ONE_LINE = 50
"""So many certificates fit into one line of commands."""
_LARGEST = 16_000
"""Bytes of a command with its payload: HAProxy's buffer (`tune.bufsize`) has 16,384."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """Which file each name stands for, and which names each list holds, the default first."""

    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def refuse_notes(text: str) -> None:
    """:raises Malformed: a text brings notes of its own."""
    if _comments(text):
        raise rest.Malformed("a configuration notes no certificates: they go beside it")


def refuse_malformed(wanted: rest.WantedState) -> None:
    """:raises Malformed: something is no name, or stands for nothing that is to be there."""
    files = frozenset(wanted.certificates)
    for name, file in wanted.names.items():
        if not NAME(name) or FILE(name) or file not in files:
            raise rest.Malformed(f"{name!r} is not the name of a certificate, or stands for none of those that belong here: {file!r}")
    for name, names in wanted.lists.items():
        if not LIST(name) or not names or not wanted.names.keys() >= set(names):
            raise rest.Malformed(f"{name!r} is not the name of a list of certificates, or holds one that has no name here")


def noted(text: str, wanted: rest.WantedState) -> str:
    """A configuration with the certificates that belong to it."""
    pairs = [*wanted.names.items(), *((name, one) for name, names in wanted.lists.items() for one in names)]
    notes = "".join(f"# certificate {name} {of}\n" for name, of in pairs)
    return f"{text.rstrip()}\n{notes}" if notes else text


@functools.lru_cache(maxsize=2)
def of(text: str) -> Manifest:
    """The certificates that were noted in a text. Kept of the two texts that a change is about, because it asks several times."""
    names: dict[str, str] = {}
    lists: dict[str, tuple[str, ...]] = {}
    for name, value in _comments(text):
        if name.endswith(".list"):
            lists[name] = (*lists.get(name, ()), value)
        else:
            names[name] = value
    return Manifest(names, lists)


def verify_otherwise(old: Manifest, new: Manifest) -> bool:
    """Whether other authorities or revocations are behind the names, or what members are shown: only a reload makes an end of whom the
    former ones let in, and of connections to members under a former name.

    HAProxy takes them at run time, but goes on with the sessions of clients that it remembers, and with its connections to members.
    """
    listed = {name for names in new.lists.values() for name in names}
    return any(old.names.get(name, file) != file for name, file in new.names.items() if name not in listed)


def _comments(text: str) -> list[tuple[str, str]]:
    """Notes stand at the end, so what is before the first is not read: a large configuration takes a while."""
    begin = text.find("# certificate ")
    return [] if begin < 0 else _COMMENT.findall(text, begin)


class Certificates:
    """The directory where the files, the names (symbolic links) and the lists are."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._ends: dict[str, float] = {}  # by file
        self._whole: set[str] = set()  # files that were looked at

    def put(self, manifest: Manifest) -> None:
        """Have the names stand for these files, and the lists hold these names.

        :raises OSError: the disk is full, for instance.
        """
        for name, file in manifest.names.items():
            system.link(self.directory / name, file)
        for name, names in manifest.lists.items():
            content = "".join(f"{one}\n" for one in names).encode()
            if system.read_file(self.directory / name) != content:
                system.write_file(self.directory / name, content, system.FOR_PROGRAMS, durable=False)  # made anew before each start

    def missing(self, files: Collection[str]) -> list[str]:
        """Which of these files are not there, or not as they were sent, as where a disk has lost something. Each is read once."""
        for file in files:
            if file not in self._whole and file_name(system.read_file(self.directory / file) or b"") == file:
                self._whole.add(file)
        there = system.names_in(self.directory)
        return [file for file in files if file not in self._whole or file not in there]

    def keep(self, wanted: rest.WantedState) -> None:
        """Forget all that does not belong to this state."""
        kept = {*wanted.certificates, *wanted.names, *wanted.lists}
        for name in system.names_in(self.directory) - kept:
            if name.endswith((".pem", ".list")):
                (self.directory / name).unlink(missing_ok=True)
        self._whole &= kept

    def lead(self, runtime: haproxy_runtime.RuntimeApi, old: Manifest, new: Manifest) -> None:
        """Give a running HAProxy the certificates that differ; what differs in other ways than these follows from another configuration.

        First what comes, then what is replaced, then what goes: whoever asks meanwhile for a name that a list has before and after is shown
        a certificate of it, also if that one takes the place of another.

        :raises RuntimeFailed: it did not take something, or does not show it afterwards; a reload will do.
        """
        was, now = ({one for names in each.lists.values() for one in names} for each in (old, new))
        lists = {name: (set(old.lists.get(name, names)), set(names)) for name, names in new.lists.items()}
        if others := [name for name, names in new.lists.items() if old.lists.get(name, names)[0] != names[0]]:
            raise haproxy_runtime.RuntimeFailed(f"the default of {', '.join(others)} has another name")
        for name in sorted(now - old.names.keys()):
            runtime.order(f"new ssl cert {self.directory / name}", f"New empty certificate store '{self.directory / name}'!")
            self._replace(runtime, name, new.names[name])
        for name, (before, after) in lists.items():
            self._add(runtime, name, after - before)
        for name, file in new.names.items():
            if name in old.names and old.names[name] != file:
                self._replace(runtime, name, file)
        for name, (before, after) in lists.items():
            self._remove(runtime, name, before - after)
            if before != after and set(self._shown(runtime, name)) != after:
                raise haproxy_runtime.RuntimeFailed(f"HAProxy shows another list {name} than the one that was asked for")
            if changed := _changed(old, new, name):
                self._refuse_rivals(runtime, new.lists[name], changed)
        for name in sorted(was - now):
            runtime.ask(f"del ssl cert {self.directory / name}")

    def ends(self, runtime: haproxy_runtime.RuntimeApi, manifest: Manifest) -> dict[str, float]:
        """When the first certificate of each list ends, in seconds since 1970, by HAProxy's own words; each file is asked for once.

        :raises RuntimeFailed: no answer in time.
        """
        listed = {name: manifest.names[name] for names in manifest.lists.values() for name in names}
        self._ends = known = {file: end for file, end in self._ends.items() if file in listed.values()}
        for name, file in listed.items():
            if file not in known:
                said = runtime.ask(f"show ssl cert {self.directory / name}")
                end, content = _NOT_AFTER.search(said), system.read_file(self.directory / file) or b""
                with contextlib.suppress(ValueError):  # one that makes no sense has no end; the others have
                    if end and _fingerprint(content.decode()) in said:  # else it is about to be given this one
                        known[file] = float(ssl.cert_time_to_seconds(end[1]))
        ends = {one: [known[listed[name]] for name in names if listed[name] in known] for one, names in manifest.lists.items()}
        return {one.removesuffix(".list"): min(found) for one, found in ends.items() if found}

    def _replace(self, runtime: haproxy_runtime.RuntimeApi, name: str, file: str) -> None:
        path, content = self.directory / name, (system.read_file(self.directory / file) or b"").decode()
        command = f"set ssl cert {path} <<\n{content.rstrip()}\n"  # an empty line ends it
        if len(command) > _LARGEST or "\n\n" in command:
            raise haproxy_runtime.RuntimeFailed(f"{name} is too large for a command, or has empty lines")
        said = runtime.ask(command).strip()
        if "ransaction " not in said:  # the command itself holds a key, which no message may repeat
            raise haproxy_runtime.RuntimeFailed(f"HAProxy answers `set ssl cert {name}` with: {said}")
        said = runtime.ask(f"commit ssl cert {path}").strip()
        if not said.endswith("Success!"):
            runtime.ask(f"abort ssl cert {path}")
            raise haproxy_runtime.RuntimeFailed(f"HAProxy answers `commit ssl cert {name}` with: {said}")
        if _fingerprint(content) not in runtime.ask(f"show ssl cert {path}"):
            raise haproxy_runtime.RuntimeFailed(f"HAProxy took {name}, and shows another certificate")

    def _add(self, runtime: haproxy_runtime.RuntimeApi, name: str, come: Collection[str]) -> None:
        for one in sorted(come):
            said = runtime.ask(f"add ssl crt-list {self.directory / name} {self.directory / one}").strip()
            if not said.endswith("Success!"):
                raise haproxy_runtime.RuntimeFailed(f"HAProxy answers `add ssl crt-list {name} {one}` with: {said}")

    def _remove(self, runtime: haproxy_runtime.RuntimeApi, name: str, go: Collection[str]) -> None:
        for one in sorted(go):
            said = runtime.ask(f"del ssl crt-list {self.directory / name} {self.directory / one}").strip()
            if "deleted" not in said or "Can't" in said:
                raise haproxy_runtime.RuntimeFailed(f"HAProxy answers `del ssl crt-list {name} {one}` with: {said}")

    def _refuse_rivals(self, runtime: haproxy_runtime.RuntimeApi, names: Collection[str], changed: Collection[str]) -> None:
        """:raises RuntimeFailed: one that has changed has a host in common with another of its list. HAProxy shows the one that came first,
        and what comes at run time comes last, wherever it stands in the list.
        """
        hosts = self._hosts(runtime, names)
        taken = collections.Counter(host for found in hosts.values() for host in found)
        if common := {host for name in changed for host in hosts.get(name, ()) if taken[host] > 1}:
            raise haproxy_runtime.RuntimeFailed(f"several certificates of a list are for {', '.join(sorted(common))[:200]}")

    def _hosts(self, runtime: haproxy_runtime.RuntimeApi, names: Collection[str]) -> dict[str, set[str]]:
        """By HAProxy's own words, whom each certificate is for."""
        asked = [f"show ssl cert {self.directory / name}" for name in names]
        lines = (";".join(asked[at : at + _ASKED_IN_ONE_LINE]) for at in range(0, len(asked), _ASKED_IN_ONE_LINE))
        shown = (found for line in lines for found in _SHOWN(runtime.ask(line)))
        return {pathlib.Path(found["path"]).name: {host.lower() for host in _HOSTS(found["said"])} for found in shown}

    def _shown(self, runtime: haproxy_runtime.RuntimeApi, name: str) -> Iterator[str]:
        for line in runtime.ask(f"show ssl crt-list {self.directory / name}").splitlines():
            if line.strip() and not line.startswith("#"):
                yield pathlib.Path(line.split()[0]).name


def _changed(old: Manifest, new: Manifest, name: str) -> Collection[str]:
    """Of a list of several certificates, those that came, became others, or all if their order did."""
    was, now = old.lists.get(name, new.lists[name]), new.lists[name]
    if len(now) < 2:
        return ()
    if [one for one in was if one in now] != [one for one in now if one in was]:
        return now
    return [one for one in now if one not in was or old.names.get(one) != new.names[one]]


def file_name(content: bytes) -> str:
    """The name of the file that holds it."""
    return f"{hashlib.sha256(content).hexdigest()}.pem"


def _fingerprint(pem: str) -> str:
    """As HAProxy shows it, of the first certificate."""
    begin = pem.index("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[begin : pem.index(_END, begin) + len(_END)])
    return hashlib.sha1(der).hexdigest().upper()  # noqa: S324  # to tell certificates apart, not to trust one
