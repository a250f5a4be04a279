"""What tenants may read of what went wrong: no path of a server's files, no traceback, and of unexpected faults no address either."""

from __future__ import annotations

import re

_LONGEST = 4000
_TRACEBACK = re.compile(r"\s*Traceback \(most recent call last\):.*", re.DOTALL)
_PATH = re.compile(r"(?<![\w.:/~-])/(?:[\w.@+~-]+/)+([\w.@+~-]*)")
_SYSTEM = "bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var"
_TOP = re.compile(rf"(?<![\w.:/~-])/(?:{_SYSTEM})(?![\w/-])")
_ADDRESS = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)(?:/\d{1,3})?(?::\d{1,5})?"
    r"|(?<![\w.:])(?=[0-9a-fA-F:]*::|(?:[0-9a-fA-F]{1,4}:){7})[0-9a-fA-F:]+(?!\w)"
)


def for_tenants(text: str) -> str:
    """The text with each path of a file shortened to the file's name, and without a traceback."""
    text = _TRACEBACK.sub("", text)
    return _TOP.sub("(a folder)", _PATH.sub(lambda found: found.group(1) or "(a folder)", text))[:_LONGEST]


def unexpected(kind: str, text: str) -> str:
    """What is said of a fault that nobody foresaw: it may hold anything. `kind` is the class of the exception."""
    said = _ADDRESS.sub("(an address)", for_tenants(text)).strip()
    return f"{said or kind} ({ADVICE})"


ADVICE = "a fault of ours: it is tried again by itself, and the log of the worker has the details under the request id"
