"""Pure: the sections and keywords that an amphora takes in a configuration, whoever sends it.

They are what a controller renders, and some harmless neighbours; what is not named here (`global`, `lua-load`, `program`, keepalived's
scripts) could run programs or read files. Each line is read as HAProxy and keepalived read it, but for one thing: the word that decides may
hold neither quotes nor escapes, which they would take away from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from amphora_agent import certificates, haproxy_config
from amphora_agent.protocol import rendered, rest


class NotAllowed(rest.Malformed):
    """A line that an amphora does not take; the message names it."""


_Check = Callable[[list[str]], bool]

_ADDRESS = re.compile(r"(?:\*|[0-9.]+|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:]*):[0-9]{1,5}").fullmatch
_NAMED_LIST = re.compile(rf'"\$\{{{rendered.CERTIFICATES_VARIABLE}\}}/[0-9a-z][0-9a-z-]{{0,63}}\.list"').fullmatch
_FILES = frozenset(("ca-file", "crl-file", "crt"))
_PING = ["command", f'"${{{rendered.CHECKS_VARIABLE}}}/ping"']
_NO_VERSIONS = ("no-sslv3", "no-tlsv10", "no-tlsv11", "no-tlsv12", "no-tlsv13")
_SERVER_FLAGS = frozenset(
    (
        *("backup", "check", "check-send-proxy", "check-ssl", "disabled", "enabled", "non-stick", "send-proxy", "send-proxy-v2"),
        *("send-proxy-v2-ssl-cn", "ssl", *_NO_VERSIONS),
    )
)
_SERVER_VALUES = frozenset(
    (
        *(
            "addr",
            "agent-inter",
            "agent-port",
            "alpn",
            "check-alpn",
            "check-sni",
            "ciphers",
            "ciphersuites",
            "cookie",
            "downinter",
            "fall",
            "fastinter",
            "id",
        ),
        *(
            "init-state",
            "inter",
            "log-proto",
            "maxconn",
            "minconn",
            "pool-max-conn",
            "pool-purge-delay",
            "port",
            "rise",
            "slowstart",
            "sni",
            "ssl-max-ver",
        ),
        *("ssl-min-ver", "track"),
        *("verify", "weight"),
    )
)
_BIND_FLAGS = frozenset((*_NO_VERSIONS, "ssl", "v4v6", "v6only", "transparent"))
_BIND_VALUES = frozenset(("alpn", "ciphers", "ciphersuites", "ssl-min-ver", "ssl-max-ver", "verify"))


def _anything(words: list[str]) -> bool:
    return True


def _one_of(*known: str) -> _Check:
    return lambda words: words[:1] != [] and words[0] in known


def _options(words: list[str], flags: frozenset[str], values: frozenset[str]) -> bool:
    """Whether all words are known ones, each with its value; a file is one of the certificates that were sent here."""
    rest_of = iter(words)
    for word in rest_of:
        if word in _FILES or word == "crt-list":
            if not (certificates.NAME if word in _FILES else _NAMED_LIST)(next(rest_of, "")):
                return False
        elif word in values:
            next(rest_of, None)
        elif word not in flags:
            return False
    return True


def _bind(words: list[str]) -> bool:
    return bool(words) and _ADDRESS(words[0]) is not None and _options(words[1:], _BIND_FLAGS, _BIND_VALUES)


def _server(words: list[str]) -> bool:
    return len(words) > 1 and _ADDRESS(words[1]) is not None and _options(words[2:], _SERVER_FLAGS, _SERVER_VALUES)


def _peer(words: list[str]) -> bool:
    return len(words) == 2 and _ADDRESS(words[1]) is not None


def _acl(words: list[str]) -> bool:
    """A flag `-f` would read a file, so its flags end with `--`, and before that stand a fetch method, its modifiers and `-i`, `-m`."""
    if "--" not in words[2:]:
        return False
    flags = words[2 : words.index("--", 2)]
    return all(word in ("-i", "-m", "str", "beg", "end", "sub", "reg", "dir", "dom", "found", "int") for word in flags)


_RULES = frozenset(
    (
        "add-header",
        "deny",
        "redirect",
        "replace-header",
        "sc-inc-gpc0(0)",
        "set-header",
        "set-log-level",
        "set-var(txn.version)",
        "track-sc0",
    )
)
_OF_SPLIT = re.compile(rf"set-var\({re.escape(rendered.SPLIT_VARIABLE)}[0-9_]{{0,16}}\)").fullmatch
_RING_OF_LOG = re.compile(r"ring@[a-z-]{1,64}").fullmatch


def _log(words: list[str]) -> bool:
    """To a ring, or as datagrams to an address, and nothing else: no socket in the file system, no descriptor."""
    return words[:1] != [] and (_ADDRESS(words[0]) or _RING_OF_LOG(words[0])) is not None


def _answer(words: list[str]) -> bool:
    """An answer whose content is given as it is: `status`, and perhaps `content-type` and `string`, in this order and nothing else."""
    has_content = words[2:3] == ["content-type"] and words[4:5] == ["string"]
    return words[:1] == ["status"] and words[1:2] != [] and words[1].isdigit() and words[6 if has_content else 2 :][:1] in ([], ["if"])


def _is_literal(words: list[str], place: int) -> bool:
    """Whether a word is the type or the text of such an answer, which HAProxy does not evaluate."""
    before = {"http-request": 2, "http-error": 1}.get(words[0], 0)
    return bool(before) and words[1] in ("return", "status") and place - before in (3, 5) and _answer(words[before:])


def _header_rule(words: list[str]) -> bool:
    if words[:1] == ["return"]:
        return _answer(words[1:])
    known = words[:1] != [] and (words[0] in _RULES or _OF_SPLIT(words[0]) is not None)
    return known and not any(_plain(word) in ("errorfile", "errorfiles", "file", "lf-file") for word in words)


def _plain(word: str) -> str:
    """What HAProxy makes of a word: no quotes, and of an escape (`\\x6d`, `\\m`) the character that it means."""
    return _MARKS.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2] or "", word)


_TIMEOUTS = _one_of(
    "check", "client", "client-fin", "connect", "http-keep-alive", "http-request", "queue", "server", "server-fin", "tunnel"
)
_HTTP_RULES: Mapping[str, _Check] = dict.fromkeys(("http-request", "http-response", "http-after-response"), _header_rule)
_OPTIONS = _one_of(
    *("allbackups", "external-check", "forwardfor", "httpchk", "idle-close-on-response", "log-separate-errors", "redispatch"), "tcp-check"
)
_COMMON: Mapping[str, _Check] = {"mode": _one_of("http", "tcp"), "option": _OPTIONS, "timeout": _TIMEOUTS, "retries": _anything}
_BACKEND: Mapping[str, _Check] = {
    **_COMMON,
    **_HTTP_RULES,
    "balance": _anything,
    "cookie": _anything,
    "dynamic-cookie-key": _anything,
    "external-check": lambda words: words == _PING,
    "fullconn": _anything,
    "hash-type": _anything,
    "http-check": _one_of("disable-on-404", "expect", "send"),
    "http-reuse": _anything,
    "server": _server,
    "stick": _one_of("match", "on", "store-request", "store-response"),
    "stick-table": _anything,
    "tcp-check": _one_of("connect", "expect", "send", "send-binary"),
}
_FRONTEND: Mapping[str, _Check] = {
    **_COMMON,
    **_HTTP_RULES,
    "acl": _acl,
    "bind": _bind,
    "capture": lambda words: words[:2] == ["request", "header"],
    "default_backend": _anything,
    "http-error": _answer,
    "log": _log,
    "log-format": _anything,
    "maxconn": _anything,
    "stick-table": _anything,
    "tcp-request": lambda words: words[:1] == ["inspect-delay"] or words[:2] == ["content", "set-log-level"],
    "use_backend": _anything,
}
_DEFAULTS: Mapping[str, _Check] = {
    **_COMMON,
    "default-server": lambda words: _options(words, _SERVER_FLAGS, _SERVER_VALUES),
    "load-server-state-from-file": _one_of("global", "none"),
}
_SECTIONS: Mapping[str, Mapping[str, _Check]] = {
    "backend": _BACKEND,
    "defaults": _DEFAULTS,
    "frontend": _FRONTEND,
    "peers": {"peer": _peer},
    "ring": {
        **dict.fromkeys(("format", "maxlen", "size"), _anything),
        "server": _server,
        "timeout": _one_of("connect", "server"),
    },
}

_WORD = re.compile(r"""(?:[^\s\\"'#]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+|#.*""")
_MARKS = re.compile(r"""\\(?:x([0-9A-Fa-f]{2})|(.))|["']""")
_READS = re.compile(r"\b(?:env|map(?:_[a-z_]+)?)\(|\blua\.")
_NAMED = re.compile(r"\b(?:re[qs]\.(?:cook|f?hdr)|ssl_c_s_dn|str)\([^()]*\)")
"""A cookie, a header, a field of a name or a text in an expression, as a tenant named it: it may be called `lua.x`."""
_EVALUATED = re.compile(r"(?<!%)(?:%%)*%(?:\([^)]*\)|\{[^}]*\})*\[(.*)")
_SUSPECT = re.compile(r"""[\\"'#%(]|lua\.|-f(?:\s|$)""").search
"""Without any of it, words are what stands between blanks, and none of them reads a file (`_reads_files`)."""
_VRRP_KEYWORDS = frozenset(
    (
        *(
            "accept",
            "advert_int",
            "garp_master_delay",
            "garp_master_refresh",
            "garp_master_refresh_repeat",
            "garp_master_repeat",
            "interface",
        ),
        *("native_ipv6", "nopreempt", "preempt_delay", "priority", "state", "unicast_src_ip", "version", "virtual_router_id"),
    )
)
_VIRTUAL_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?(?: dev [A-Za-z0-9]{1,15})?(?: (?:nodad|no_track))*").fullmatch
_VRRP_BLOCKS = {
    "unicast_peer": re.compile(r"[0-9A-Fa-f.:]+").fullmatch,
    "virtual_ipaddress": _VIRTUAL_ADDRESS,
    "virtual_ipaddress_excluded": _VIRTUAL_ADDRESS,
    "track_script": re.compile(r"haproxy_alive(?: weight -?[0-9]{1,3})?").fullmatch,
}
_VRRP_WORD = re.compile(r"[A-Za-z0-9_.:/-]+").fullmatch


def check_haproxy(text: str, taken: str = "") -> None:
    """Make sure that a configuration of HAProxy has none but known sections and keywords. Sections and lines of one that was `taken` are
    not looked at again, for a large one takes a while; none of those that are taken anywhere harms in another section.

    :raises NotAllowed: the first line that has another one.
    """
    _refuse_foreign(text)
    section: Mapping[str, _Check] | None = None
    before, now = haproxy_config.cut(taken), haproxy_config.cut(text)
    same = frozenset(before).intersection(now)
    known = {line.strip(" ") for chunk in before if chunk not in same for line in chunk.split("\n")}
    place = 0
    for chunk in now:
        place = text.index(chunk, place)
        if chunk in same:
            section = _SECTIONS.get(chunk.split(maxsplit=1)[0], section)
            continue
        for number, line in enumerate(chunk.split("\n"), text.count("\n", 0, place) + 1):
            section = _check_line(number, line.strip(" "), section, known)


def _check_line(number: int, line: str, section: Mapping[str, _Check] | None, known: Collection[str]) -> Mapping[str, _Check] | None:
    """The section in which the next line stands."""
    if line in known:
        return _SECTIONS.get(line.partition(" ")[0], section)
    words = line.split()
    if _SUSPECT(line):
        words = [word for word in _WORD.findall(line) if not word.startswith("#")]
        if _WORD.sub("", line).strip(" ") or _reads_files(words):
            raise NotAllowed(_sentence("HAProxy", number, line))
    if not words:
        return section
    first, others = words[0], words[1:]
    if first in _SECTIONS:
        return _SECTIONS[first]
    if section is None or first not in section or not section[first](others):
        raise NotAllowed(_sentence("HAProxy", number, line))
    return section


def check_keepalived(text: str) -> None:
    """Make sure that a configuration of keepalived has VRRP instances alone, and in them nothing that runs or reads anything.

    :raises NotAllowed: the first line that has something else.
    """
    inside: list[str] = []
    for number, line in _lines(text):
        words = line.split()
        if words and not _takes(inside, words):
            raise NotAllowed(_sentence("keepalived", number, line))


def _reads_files(words: list[str]) -> bool:
    """Whether a condition, or what is evaluated in it or in a format, reads a file or the environment."""
    before = words[: words.index("--", 3)] if words[:1] == ["acl"] and "--" in words[3:] else words  # behind it stand plain values
    for place, word in enumerate(before):
        if _is_literal(before, place):
            continue
        plain = _plain(word)
        found = _EVALUATED.findall(plain) if _is_no_expression(before, place) else [plain, *_EVALUATED.findall(plain)]
        is_file = plain == "-f" and not (words[0] in ("bind", "server") and before[place - 1] == "ciphers")
        if is_file or any(_READS.search(one) and _READS.search(_NAMED.sub("", one)) for one in found):
            return True
    return False


def _is_no_expression(words: list[str], place: int) -> bool:
    """Whether a word is a text for HAProxy, or a format, in which a tenant may write what looks like an expression."""
    if words[0] == "http-check":
        return True
    if words[0] in ("server", "default-server", "bind"):
        return words[place - 1] in ("check-sni", "ciphers", "ciphersuites")
    return words[:2] == ["http-request", "redirect"] and place == 3 and words[2] in ("location", "prefix")


def _takes(inside: list[str], words: list[str]) -> bool:
    """Whether a line may stand here; `inside` are the blocks that are open, and is brought up to date."""
    if words == ["}"]:
        return bool(inside) and bool(inside.pop())
    opens = words[-1] == "{"
    if not all(map(_VRRP_WORD, words[:-1] if opens else words)):
        return False
    if not inside:
        inside.append("vrrp_instance")
        return opens and len(words) == 3 and words[0] == "vrrp_instance"
    if inside == ["vrrp_instance"]:
        if opens:
            inside.append(words[0])
            return len(words) == 2 and words[0] in _VRRP_BLOCKS
        return words[0] in _VRRP_KEYWORDS
    return not opens and _VRRP_BLOCKS[inside[-1]](" ".join(words)) is not None


def _lines(text: str) -> list[tuple[int, str]]:
    """:raises NotAllowed: a character or a line is not as it has to be."""
    _refuse_foreign(text)
    return [(number, line.strip(" ")) for number, line in enumerate(text.split("\n"), 1)]


def _refuse_foreign(text: str) -> None:
    """:raises NotAllowed: there is a character that is no printable ASCII, or a line that ends in a backslash."""
    printable = text.isascii() and text.replace("\n", " ").isprintable()
    if not printable or "\\\n" in text or text.endswith("\\"):
        raise NotAllowed("an amphora takes printable ASCII in configurations, and no line that goes on in the next one")


def _sentence(program: str, number: int, line: str) -> str:
    shown = line if len(line) <= 80 else f"{line[:77]}..."
    return f"an amphora does not take line {number} of {program}'s configuration: {shown}"
