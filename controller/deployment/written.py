"""The file that `figlina cloud prepare --write` hands to controllers: its options are set there, and all else stays as it is."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from oslo_config import iniparser

from controller import exceptions
from controller.drivers import files

_MADE = "# Made by `figlina cloud prepare`"
HEAD = f"{_MADE}, which sets its options anew and leaves all else; give it beside your own file, with a second --config-file."


class Written:
    """What is in the file, or in no file yet; `merge` changes that, `write` the file.

    :raises Misconfigured: the file is somebody else's or can't be read as a configuration, or its folder takes no file.
    """

    def __init__(self, file: pathlib.Path | None) -> None:
        self._file = file
        if file is not None and not (file.parent.is_dir() and os.access(file.parent, os.W_OK | os.X_OK)):
            raise exceptions.Misconfigured(f"{file} can't be written: make the folder {file.parent}, or name another file with --write")
        text = file.read_text(errors="surrogateescape") if file is not None and file.exists() else HEAD
        if not text.startswith(_MADE):
            raise exceptions.Misconfigured(f"{file} was not written by this command: name another file with --write")
        self._lines = text.splitlines()
        self._lines[0] = HEAD
        try:
            self._parsed()
        except iniparser.ParseError as error:
            raise exceptions.Misconfigured(f"{file} can't be read ({error}): mend it, or name another file with --write") from error

    def get(self, section: str, name: str) -> str | None:
        """An option's value as controllers read it."""
        found = [one for one in self._parsed().options if one.fits(section, name)]
        return found[-1].value.replace("$$", "$") if found else None

    def has(self, section: str) -> bool:
        """Whether the section says anything."""
        return any(one.section == section for one in self._parsed().options)

    def merge(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        """Set these options; sections, options and comments that are not named stay."""
        for section, values in settings.items():
            if "auth_type" in values:
                self._drop(section, "cloud")  # it would win
            for name, value in values.items():
                self._set(section, name, value)

    @property
    def text(self) -> str:
        """As it is to be in the file."""
        return "\n".join(self._lines) + "\n"

    def write(self) -> None:
        """In one step, with mode 0600; a file that is there keeps its owner, for the processes' user reads it, and shall go on to."""
        if self._file is None:
            return
        before = self._file.stat() if self._file.exists() else None
        files.write(self._file, self.text.encode(errors="surrogateescape"))
        if before is not None and os.geteuid() == 0:
            os.chown(self._file, before.st_uid, before.st_gid)

    def _parsed(self) -> _Parser:
        parser = _Parser()
        parser.parse([*self._lines, ""])
        return parser

    def _set(self, section: str, name: str, value: str) -> None:
        value = value.replace("$", "$$")
        found = [one for one in self._parsed().options if one.fits(section, name)]
        if found and found[-1].value == value:
            return
        line = f'{name} = "{value}"' if value[:1] in ("'", '"') else f"{name} = {value}"  # a pair of quotes is taken off when it is read
        if found:
            self._lines[found[-1].first : found[-1].end] = [line]
            return
        end = self._parsed().ends.get(section)
        if end is None:
            self._lines += ["", f"[{section}]", line]
        else:
            self._lines.insert(end, line)

    def _drop(self, section: str, name: str) -> None:
        for one in reversed(self._parsed().options):
            if one.fits(section, name):
                del self._lines[one.first : one.end]


@dataclasses.dataclass(frozen=True)
class _Option:
    """One that stands in the lines from `first` to before `end`."""

    section: str
    name: str
    value: str
    first: int
    end: int

    def fits(self, section: str, name: str) -> bool:
        return (self.section, self.name) == (section, name)


class _Parser(iniparser.BaseParser):
    """Reads as the processes do; `ends` are the lines before which a section's next option would stand."""

    def __init__(self) -> None:
        super().__init__()
        self._section: str | None = None
        self.options: list[_Option] = []
        self.ends: dict[str, int] = {}

    def new_section(self, section: str) -> None:
        self._section = section if section == "DEFAULT" else section.lower()
        self.ends[self._section] = self.lineno

    def assignment(self, key: str, value: list[str]) -> None:
        """Called with the line after it; `value` has an element for each of its own lines."""
        if self._section is None:
            raise self.parse_exc("No section before this option", self.lineno - len(value), key)
        end = self.lineno - 1
        self.options.append(_Option(self._section, key, "\n".join(value), end - len(value), end))
        self.ends[self._section] = end
