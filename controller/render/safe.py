"""The last guard before a template: every string that goes into a configuration is one word there, or is refused.

Each check returns the value as it is to be written, and knows the few characters that its kind of value may hold. What the API let through
by mistake, or what was put into the database by hand, can't start another argument, directive or comment.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import NoReturn

from controller import exceptions

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}").fullmatch
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}", re.ASCII).fullmatch
_HOST_NAME = re.compile(r"(?!-)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?").fullmatch
_GRPC_SERVICE = re.compile(r"[0-9A-Za-z_./-]{0,100}").fullmatch
_URL_PATH = re.compile(r"/[0-9A-Za-z._~!$&'()*+,;=:@/?%#-]*").fullmatch
_COOKIE_NAME = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+").fullmatch
_STATUS_CODES = re.compile(r"[1-5][0-9]{2}(?:-[1-5][0-9]{2})?(?:,[1-5][0-9]{2}(?:-[1-5][0-9]{2})?)*").fullmatch
_URL = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://[0-9A-Za-z._~!$&'()*+,;=:@/?#%\[\]-]+").fullmatch
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,256}").fullmatch
_CIPHERS = re.compile(r"[0-9A-Za-z+!:@=_.-]*").fullmatch
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII).fullmatch
_DN_FIELD = re.compile(r"[0-9A-Za-z.-]{1,64}", re.ASCII).fullmatch
_SIZE = re.compile(r"[1-9][0-9]{0,9}[kKmM]?").fullmatch
_LONGEST_CONTENT = 4096
_PLAIN_BYTES = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz./:;,=<>+-")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}").fullmatch


def object_id(field: str, value: str) -> str:
    """An id: letters, digits and dashes.

    :raises UnsafeValue: anything else.
    """
    return value if _ID(value) else _refuse(field, value)


def ipv4(value: str) -> bool:
    """Whether this is an IPv4 address in its usual form."""
    return _IPV4(value) is not None


def address(field: str, value: str) -> str:
    """An IP address, as it stands alone.

    :raises UnsafeValue: not an address, or one with a scope.
    """
    if _IPV4(value):
        return value
    try:
        parsed = ipaddress.IPv6Address(value)
    except ValueError:
        return _refuse(field, value)
    return str(parsed) if parsed.scope_id is None else _refuse(field, value)


def bracketed(field: str, value: str) -> str:
    """An IP address, as it stands before `:port` (and wherever HAProxy would take the last group of an IPv6 address for a port).

    :raises UnsafeValue: not an address, or one with a scope.
    """
    return value if _IPV4(value) else f"[{address(field, value)}]"


def network(field: str, value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A subnet in CIDR notation.

    :raises UnsafeValue: not a subnet.
    """
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        _refuse(field, value)


def port(field: str, value: int) -> int:
    """A TCP port.

    :raises UnsafeValue: not a number from 1 to 65535.
    """
    return value if isinstance(value, int) and 0 < value < 65536 else _refuse(field, value)


def mac(field: str, value: str | None) -> str:
    """A MAC address, in lower case.

    :raises UnsafeValue: not a MAC address.
    """
    return value.lower() if value is not None and _MAC(value) else _refuse(field, value)


def host_name(field: str, value: str) -> str:
    """A host's name.

    :raises UnsafeValue: it holds what no host name does (a `%` would start a variable here).
    """
    return value if len(value) <= 255 and _HOST_NAME(value) else _refuse(field, value)


def grpc_service(field: str, value: str) -> str:
    """The name of a service of gRPC.

    :raises UnsafeValue: anything else.
    """
    return value if _GRPC_SERVICE(value) else _refuse(field, value)


def url_path(field: str, value: str) -> str:
    """Path and query of a URL, escaped.

    :raises UnsafeValue: it does not start with `/`, or holds a character that a URL must hold percent-encoded.
    """
    if not _URL_PATH(value):
        _refuse(field, value)
    return value.replace("#", "\\#").replace("'", "\\'")


def quoted(field: str, value: str) -> str:
    """Printable ASCII of any kind, in quotes that leave nothing of it a meaning.

    :raises UnsafeValue: anything else.
    """
    return _in_quotes(value) if _PRINTABLE(value) else _refuse(field, value)


def url_format(field: str, value: str | None) -> str:
    """A URL as a log format, in which a `%` would start a variable, and in quotes.

    :raises UnsafeValue: it is not one of the web, or holds a character that a URL must hold percent-encoded.
    """
    return _in_quotes(value.replace("%", "%%")) if value is not None and _URL(value) else _refuse(field, value)


def _in_quotes(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def content(field: str, value: str) -> str:
    """A document as one word: whatever might mean something to HAProxy is written as bytes (`\\xHH`) of UTF-8.

    :raises UnsafeValue: there is none, or too much of it.
    """
    if not 0 < len(raw := value.encode(errors="surrogatepass")) <= _LONGEST_CONTENT:
        _refuse(field, value)
    return "".join(chr(byte) if byte in _PLAIN_BYTES else f"\\x{byte:02x}" for byte in raw)


def cookie_name(field: str, value: str | None) -> str:
    """The name of a cookie or a header, escaped to stand in brackets behind a fetch method (which takes quotes away once more).

    :raises UnsafeValue: not an HTTP token.
    """
    if value is None or not _COOKIE_NAME(value):
        return _refuse(field, value)
    return value.replace("#", "\\#").replace("'", "\\\\\\'")


def status_codes(field: str, value: str) -> str:
    """HTTP status codes: numbers and ranges with commas between.

    :raises UnsafeValue: anything else.
    """
    compact = value.replace(" ", "")
    return compact if _STATUS_CODES(compact) else _refuse(field, value)


def ciphers(field: str, value: str) -> str:
    """A list of ciphers as OpenSSL writes it.

    :raises UnsafeValue: it holds what no such list does.
    """
    return value if len(value) <= 2048 and _CIPHERS(value) else _refuse(field, value)


def number(field: str, value: str) -> str:
    """A whole number.

    :raises UnsafeValue: anything else.
    """
    return value if _NUMBER(value) else _refuse(field, value)


def dn_field(field: str, value: str | None) -> str:
    """A field of a distinguished name, such as `CN`.

    :raises UnsafeValue: anything else.
    """
    return value if value is not None and _DN_FIELD(value) else _refuse(field, value)


def size(field: str, value: str) -> str:
    """A number of entries, such as `10k`.

    :raises UnsafeValue: anything else.
    """
    return value if _SIZE(value) else _refuse(field, value)


def one_of(field: str, value: str, known: Collection[str]) -> str:
    """One of a few known words.

    :raises UnsafeValue: another one.
    """
    return value if value in known else _refuse(field, value)


def _refuse(field: str, value: object) -> NoReturn:
    shown = repr(value)
    raise exceptions.UnsafeValue(f"{field} can't be written into a configuration: {shown if len(shown) <= 80 else shown[:77] + '...'}")
