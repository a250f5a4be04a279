"""Kinds of values: each is a function from what JSON held to what is stored, or a `Reject` with the reason that the client reads.

Strings end up in configurations of HAProxy: none may hold a control character, and those that are written there unquoted have their own
narrow alphabet (the renderer checks them again).
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Parser = Callable[[Any], Any]

_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}").fullmatch
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII).fullmatch
_HOST_NAME = re.compile(r"(?!-)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?", re.ASCII).fullmatch
_URL_PATH = re.compile(r"/[0-9A-Za-z._~!$&'()*+,;=:@/?%-]*", re.ASCII).fullmatch
_STATUS_CODES = r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$"
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+", re.ASCII).fullmatch
_CIPHERS = re.compile(r"[A-Za-z0-9\-+!:@=_.]{0,2048}", re.ASCII).fullmatch
TLS_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
ALPN_PROTOCOLS = ("h2", "http/1.1", "http/1.0")
_TRUE = frozenset({"true", "t", "1", "yes", "y", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "n", "off"})


class Reject(Exception):
    """A value is not of its kind; the message is the reason, as the client reads it."""


def text(longest: int = 255) -> Parser:
    """Printable text in any script."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise Reject("Value should be string")
        if len(value) > longest:
            raise Reject(f"Value should have a maximum character requirement of {longest}")
        if not value.isprintable() and _UNPRINTABLE(value):
            raise Reject("Value should not contain control characters")
        return value

    return parse


name = text()


def boolean(value: Any) -> bool:
    """JSON's true and false, and the words and numbers that clients send for them."""
    if isinstance(value, bool):
        return value
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Reject("Value should be boolean")


def integer(lowest: int | None = None, highest: int | None = None) -> Parser:
    """A whole number, or a string of its digits (some clients send those)."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and _INTEGER(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Reject("Value should be integer")
        if lowest is not None and value < lowest:
            raise Reject(f"Value should be greater or equal to {lowest}")
        if highest is not None and value > highest:
            raise Reject(f"Value should be lower or equal to {highest}")
        return value

    return parse


port = integer(1, 65535)


def one_of(*values: str) -> Parser:
    """One of a few words."""
    known = frozenset(values)

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise Reject(f"Value should be one of: {', '.join(values)}")
        return value

    return parse


def uuid(value: Any) -> str:
    """An id, in its usual form with dashes."""
    if not isinstance(value, str) or not _UUID(value):
        raise Reject("Value should be UUID format")
    if len(value) == 36:
        return value.lower()
    digits = value.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def ip_address(value: Any) -> str:
    """An address, stored as given; one with a scope (`%eth0`) means something on one host only."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        ipaddress.ip_address(value)
    except ValueError:
        raise Reject("Value should be IPv4 or IPv6 format") from None
    return value


def cidr(value: Any) -> str:
    """A range of addresses, in its network form."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise Reject("Value should be IPv4 or IPv6 CIDR format") from None


def list_of(parse_item: Parser, *, unique: bool = False) -> Parser:
    """A list of values of one kind; with `unique`, a repeated one counts once."""

    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Reject("Value should be a list")
        items = [parse_item(item) for item in value]
        return list(dict.fromkeys(items)) if unique else items

    return parse


def anything_in_a_list(value: Any) -> list[Any]:
    """A list, whatever it holds."""
    if not isinstance(value, list):
        raise Reject("Value should be a list")
    return value


def ciphers(value: Any) -> str:
    """OpenSSL's list of ciphers."""
    if not isinstance(value, str) or not _CIPHERS(value):
        raise Reject("Value should match the pattern ^[A-Za-z0-9\\-+!:@=_.]{0,2048}$")
    return value


tags = list_of(name, unique=True)


def headers(known: Collection[str]) -> Parser:
    """HTTP headers to insert: name -> string."""

    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise Reject("Value should be an object of header names and strings")
        for header in value:
            if header not in known:
                raise Reject(f"{header} is not a valid option for insert_headers")
        return {header: name(content) for header, content in value.items()}

    return parse


def url_path(value: Any) -> str:
    """Path, and perhaps query, of a URL."""
    if not isinstance(value, str) or not _URL_PATH(value):
        raise Reject("Value must be a valid URL Path string")
    if len(value) > 2048:
        raise Reject("Value should have a maximum character requirement of 2048")
    return value


def status_codes(value: Any) -> str:
    """HTTP status codes that a healthy server answers: a list, or a range."""
    if not isinstance(value, str) or len(value) > 64 or not re.match(_STATUS_CODES, value, re.ASCII) or "\n" in value:
        raise Reject(f"Value should match the pattern {_STATUS_CODES}")
    codes = [int(code) for code in re.findall(r"\d{3}", value)]
    if not all(100 <= code <= 599 for code in codes):
        raise Reject("Value should hold HTTP status codes from 100 to 599")
    if "-" in value and codes[0] > codes[1]:
        raise Reject("Value should be a range from a lower to a higher HTTP status code")
    return re.sub(r"\s", "", value)


def host_name(value: Any) -> str:
    """A host's name."""
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not _HOST_NAME(value):
        raise Reject("Value must be a valid host name of at most 255 characters")
    return value


def http_version(value: Any) -> float:
    """1.0 or 1.1."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise Reject("Value should be one of: 1.0, 1.1") from None
    if number not in (1.0, 1.1):
        raise Reject("Value should be one of: 1.0, 1.1")
    return number


def token(value: Any) -> str:
    """A cookie's name."""
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not _TOKEN(value):
        raise Reject("Value should be a valid cookie name: letters, digits and !#$%&'*+-.^_`|~, at most 255 of them")
    return value


def timestamp(value: Any) -> datetime.datetime:
    """A time as responses show it: UTC, without a zone."""
    try:
        if not isinstance(value, str):
            raise ValueError
        return datetime.datetime.fromisoformat(value).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise Reject("Value should be a time such as 2026-01-31T12:00:00") from None
