"""Regular expressions that mean the same to Python, which checks them here, and to PCRE2, by which HAProxy matches them.

A pattern that only one of them knows would be accepted here and refused by every amphora, or match something else there. So what is let
through is what both have: characters, classes (also POSIX's), groups, alternatives, look-around, counts, flags i, m and s.
"""

from __future__ import annotations

import re

HIGHEST_COUNT = 1000
_ROOM = 30_000  # of PCRE2's 64 KiB for a compiled pattern, in the generous weights below
_CHARACTER, _CLASS, _GROUP = 10, 40, 20

_LIKE_POSIX = re.compile(r"\[([:.=])(?:\\[\]\\]|(?!\[\1|\]|\1\]).)*\1\]").match  # where PCRE2 sees a class with a name
_POSIX = re.compile(r"\[:\^?(?:alnum|alpha|ascii|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]").match
_LOOK = ("(?=", "(?!", "(?<")
_OPENING = re.compile(r"\(\?(?:[:=!>]|<[=!]|P<[A-Za-z_][0-9A-Za-z_]{0,30}>|[ims]+(?:-[ims]+)?:|-[ims]+:)").match
_WHOLE = re.compile(r"\(\?(?:P=[A-Za-z_][0-9A-Za-z_]{0,30}|[ims]+)\)").match
_COUNT = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}").match
_COUNT_OF_PYTHON = re.compile(r"\{,[0-9]*\}").match
_OWN_ESCAPES = "uUN"
_NUMBERED = re.compile(r"\\[1-9]").match


class Refused(Exception):
    """The pattern can't be used; the message says why."""


def check(pattern: str) -> None:
    """Let a pattern pass that HAProxy compiles, too.

    :raises Refused: it is no regular expression, one that HAProxy does not know, or too large.
    """
    plain = _Scan(pattern).run()
    try:
        re.compile(plain)
    except (re.error, OverflowError, RecursionError) as error:
        raise Refused(f"the regular expression can't be compiled: {error}") from None


class _Scan:
    """Reads a pattern once: weighs it, and writes it as Python understands it (which has no POSIX classes)."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._plain: list[str] = []
        self._weights = [0]  # of the open groups
        self._looks = [False]  # whether they look around
        self._behind = [False]  # whether they look behind, or are in one that does
        self._last, self._last_is_group, self._last_looks = 0, False, False

    def run(self) -> str:
        """The pattern for Python.

        :raises Refused: see `check()`.
        """
        while self._at < len(self._pattern):
            self._step(self._pattern[self._at])
        if self._weights[0] > _ROOM:
            raise Refused("the regular expression is too large")
        return "".join(self._plain)

    def _step(self, character: str) -> None:
        if character == "\\":
            if _NUMBERED(self._pattern, self._at):
                raise Refused(
                    "HAProxy counts no groups of a regular expression: give one a name, (?P<name>...), and refer to it by (?P=name)"
                )
            self._escape()
            self._weigh(_CHARACTER)
        elif character == "[":
            self._class()
            self._weigh(_CLASS)
        elif character == "(":
            self._open()
        elif character == ")":
            self._take(1)
            self._close()
        elif character == "{":
            self._count()
        else:
            if character in "*+?":
                self._check_repetition()
            self._take(1)
            self._weigh(_CHARACTER)

    def _take(self, length: int) -> None:
        self._plain.append(self._pattern[self._at : self._at + length])
        self._at += length

    def _weigh(self, weight: int, *, group: bool = False, looks: bool = False) -> None:
        self._weights[-1] += weight
        self._last, self._last_is_group, self._last_looks = weight, group, looks

    def _escape(self) -> None:
        escaped = self._pattern[self._at + 1 : self._at + 2]
        if escaped in tuple(_OWN_ESCAPES):
            raise Refused(f"HAProxy does not know \\{escaped} in a regular expression")
        self._take(2)

    def _class(self) -> None:
        if _LIKE_POSIX(self._pattern, self._at):
            raise Refused("HAProxy knows a class with a name only inside of [ and ] in a regular expression")
        self._take(1)
        if self._pattern.startswith("^", self._at):
            self._take(1)
        first = True
        while self._at < len(self._pattern):
            character = self._pattern[self._at]
            if character == "]" and not first:
                self._take(1)
                return
            first = False
            self._of_class(character)
        raise Refused("the regular expression can't be compiled: a [ is not closed")

    def _of_class(self, character: str) -> None:
        if character == "\\":
            self._escape()
        elif _LIKE_POSIX(self._pattern, self._at):
            found = _POSIX(self._pattern, self._at)
            if found is None:
                raise Refused("HAProxy does not know this class of characters in a regular expression")
            self._plain.append(r"\d")
            self._at = found.end()
        elif self._pattern.startswith("--", self._at):
            raise Refused("a class of characters in a regular expression must not hold --")
        else:
            # Python warns of what may become an operation on sets one day; escaped, it is what it is for PCRE2.
            self._plain.append("\\" if character in "[&~|" else "")
            self._take(1)

    def _open(self) -> None:
        whole = _WHOLE(self._pattern, self._at)
        if whole is not None:
            self._take(whole.end() - self._at)
            self._weigh(_CHARACTER)
            return
        length = 1
        if self._pattern.startswith("(?", self._at):
            found = _OPENING(self._pattern, self._at)
            if found is None:
                raise Refused("HAProxy does not know, or would not mean the same by, a group of the regular expression")
            length = found.end() - self._at
        self._looks.append(self._pattern.startswith(_LOOK, self._at))
        self._behind.append(self._behind[-1] or self._pattern.startswith("(?<", self._at))
        self._take(length)
        self._weights.append(_GROUP)

    def _close(self) -> None:
        if len(self._weights) == 1:
            raise Refused("the regular expression can't be compiled: a ) was never opened")
        self._behind.pop()
        self._weigh(self._weights.pop(), group=True, looks=self._looks.pop())

    def _check_repetition(self) -> None:
        if self._last_looks or self._behind[-1]:
            raise Refused("what looks around, or is in what looks behind, can't be repeated in a regular expression")

    def _count(self) -> None:
        if _COUNT_OF_PYTHON(self._pattern, self._at):
            raise Refused("a count in a regular expression must begin with a number")
        found = _COUNT(self._pattern, self._at)
        if found is None:
            self._take(1)
            self._weigh(_CHARACTER)
            return
        self._check_repetition()
        counts = [int(number[:9]) for number in (found[1], found[3]) if number]
        if max(counts) > HIGHEST_COUNT:
            raise Refused(f"counts in a regular expression can't be above {HIGHEST_COUNT}")
        self._take(found.end() - self._at)
        times = max(counts)
        self._weights[-1] += self._last * times if self._last_is_group else times
