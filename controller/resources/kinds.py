"""Kinds of values: each is a function from what JSON held to what is stored, or a `Reject` with the reason that the client reads; and
the JSON Schema of what clients should send, from which the OpenAPI document is made. (The function may take more: old clients send words
for booleans, and strings of digits.)

Strings end up in configurations of HAProxy: none may hold a control character, and those that are written there unquoted have their own
narrow alphabet (the renderer checks them again).
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
Parser = Callable[[Any], Any]
JsonSchema = Mapping[str, Any]

_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}").fullmatch
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_BLANKS = str.maketrans("\t\n\r", "   ")
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII).fullmatch
_STATUS_CODES = r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$"
_CIPHERS_PATTERN = r"^[A-Za-z0-9\-+!:@=_.]{0,2048}$"
_CIPHERS = re.compile(_CIPHERS_PATTERN[1:-1], re.ASCII).fullmatch
TLS_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
"""From the oldest to the newest."""
ALPN_PROTOCOLS = ("h2", "http/1.1", "http/1.0")
_TRUE = frozenset({"true", "t", "1", "yes", "y", "on"})
_FALSE = frozenset({"false", "f", "0", "no", "n", "off"})


WHOLE: Final = object()


class Reject(Exception):
    """A value is not of its kind; the message is the reason, as the client reads it.

    `key` and `value` are of the part that is wrong, where the kind knows it: a key in dots below the field, and what it held.
    """

    def __init__(self, reason: str, *, key: str = "", value: Any = WHOLE) -> None:
        super().__init__(reason)
        self.key = key
        self.value = value


@dataclasses.dataclass(frozen=True, slots=True)
class Described(Generic[T]):
    """A function from JSON values (a kind) or to them (a view), the JSON Schema of these values, and one of them as an example."""

    function: Callable[[Any], T]
    schema: JsonSchema
    example: Any = None
    length: int | None = None  # characters of the longest string, where the JSON Schema does not say it

    def __call__(self, value: Any) -> T:
        """Call the function."""
        return self.function(value)


def described(kind: str, *, example: Any = None, length: int | None = None, **more: Any) -> Callable[[Callable[[Any], T]], Described[T]]:
    """Decorate a function with the JSON Schema of its values (their type, and keywords) and an example."""
    return lambda function: Described(function, {"type": kind, **more}, example, length)


def schema_of(function: Callable[[Any], Any] | None) -> JsonSchema | None:
    """The JSON Schema of what a kind takes, or a view gives; None: nobody has described it."""
    return function.schema if isinstance(function, Described) else None


def example_of(function: Callable[[Any], Any] | None) -> Any:
    """A value of JSON that a kind takes, or that a view gives."""
    return function.example if isinstance(function, Described) else None


def length_of(kind: Parser) -> int | None:
    """Characters of the longest string of a kind; None: the JSON Schema lists all that there are."""
    if not isinstance(kind, Described):
        return None
    longest: int | None = kind.length or kind.schema.get("maxLength")
    return longest


def text(longest: int = 255, *, example: str = "web") -> Described[str]:
    """Printable text in any script."""

    @described("string", example=example, maxLength=longest, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$")
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


@described("string", example="https://keys.example.com/v1/containers/5d1f8d3a-7b0a-4a3f-9a35-6f1b1d1f2c3e", maxLength=255)
def reference(value: Any) -> str | None:
    """A reference to the secret store; clients that take one away send an empty one."""
    return name(value) or None


def document(longest: int) -> Described[str]:
    """Text that may have lines and tabs, as JSON has."""
    line = text(longest)

    @described("string", example="Front of the shop", maxLength=longest)
    def parse(value: Any) -> str:
        line(value.translate(_BLANKS) if isinstance(value, str) else value)
        return str(value)

    return parse


@described("boolean", example=True)
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


def integer(lowest: int | None = None, highest: int | None = None, *, example: int = 10) -> Described[int]:
    """A whole number, or a string of its digits (some clients send those)."""
    limits = {name: limit for name, limit in (("minimum", lowest), ("maximum", highest)) if limit is not None}

    @described("integer", example=example, **limits)
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


port = integer(1, 65535, example=80)


def one_of(*values: str, example: str = "") -> Described[str]:
    """One of a few words."""
    known = frozenset(values)

    @described("string", example=str(example or values[0]), enum=[str(value) for value in values])
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise Reject(f"Value should be one of: {', '.join(values)}")
        return value

    return parse


@described("string", example="8f2a3c1e-5d64-4b1f-9c0a-7e6b2d9f4a10", length=36, format="uuid")
def uuid(value: Any) -> str:
    """An id, in its usual form with dashes."""
    if not isinstance(value, str) or not _UUID(value):
        raise Reject("Value should be UUID format")
    if len(value) == 36:
        return value.lower()
    digits = value.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@described("string", example="192.0.2.10", length=64, anyOf=[{"format": "ipv4"}, {"format": "ipv6"}])
def ip_address(value: Any) -> str:
    """An address, stored as given; one with a scope (`%eth0`) means something on one host only."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        ipaddress.ip_address(value)
    except ValueError:
        raise Reject("Value should be IPv4 or IPv6 format") from None
    return value


@described("string", example="255.255.255.0", length=64, anyOf=[{"format": "ipv4"}, {"format": "ipv6"}])
def netmask(value: Any) -> str:
    """A mask of addresses, for IPv4 or for IPv6, written as an address: ones, and then zeros."""
    mask = ipaddress.ip_address(ip_address(value))
    zeros = int(mask) ^ ((1 << mask.max_prefixlen) - 1)
    if zeros & (zeros + 1):
        raise Reject("Value should be a netmask, such as 255.255.255.0")
    return str(value)


@described(
    "string", example="192.0.2.0/24", length=64, format="cidr", description="A range of IPv4 or IPv6 addresses, such as 192.0.2.0/24."
)
def cidr(value: Any) -> str:
    """A range of addresses, in its network form."""
    try:
        if not isinstance(value, str) or "%" in value:
            raise ValueError
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise Reject("Value should be IPv4 or IPv6 CIDR format") from None


MOST_ITEMS = 1000
"""Of a list in a body, unless it says otherwise."""
MOST_OBJECTS = 10_000
"""Objects of one kind in a body that makes or changes many."""


def no_more_than(most: int, value: list[Any]) -> None:
    """:raises Reject: the list is longer."""
    if len(value) > most:
        raise Reject(f"Value should have at most {most} items")


def _item(parse_item: Parser, item: Any) -> Any:
    try:
        return parse_item(item)
    except Reject as reason:
        raise Reject(str(reason), key=reason.key, value=item if reason.value is WHOLE else reason.value) from None


def list_of(parse_item: Parser, *, unique: bool = False, most: int = MOST_ITEMS) -> Described[list[Any]]:
    """A list of values of one kind; with `unique`, a repeated one counts once: also one that has other blanks at its end, which MariaDB and
    MySQL take for the same.
    """

    @described("array", example=[example_of(parse_item)], items=schema_of(parse_item) or {}, maxItems=most)
    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Reject("Value should be a list")
        no_more_than(most, value)
        items = [_item(parse_item, item) for item in value]
        return list(dict(zip(map(_without_padding, items), items, strict=True)).values()) if unique else items

    return parse


def _without_padding(item: Any) -> Any:
    return item.rstrip(" ") if isinstance(item, str) else item


@described("string", example="ECDHE-RSA-AES128-GCM-SHA256", length=2048, pattern=_CIPHERS_PATTERN)
def ciphers(value: Any) -> str | None:
    """OpenSSL's list of ciphers; an empty one is none."""
    if not isinstance(value, str) or not _CIPHERS(value):
        raise Reject(f"Value should match the pattern {_CIPHERS_PATTERN}")
    return value or None


_CONTENT_TYPE_PATTERN = r"^[0-9A-Za-z!#$&^_.+-]{1,60}/[0-9A-Za-z!#$&^_.+-]{1,60}(?:; ?charset=[0-9A-Za-z-]{1,30})?$"
_CONTENT_TYPE = re.compile(_CONTENT_TYPE_PATTERN[1:-1], re.ASCII).fullmatch


@described("string", example="text/html; charset=utf-8", pattern=_CONTENT_TYPE_PATTERN, maxLength=160)
def content_type(value: Any) -> str:
    """The type of a document, perhaps with its character set (RFC 9110, section 8.3)."""
    if not isinstance(value, str) or not _CONTENT_TYPE(value):
        raise Reject("Value should be a content type such as text/html or text/html; charset=utf-8")
    return value


def page(shortest: int = 0, longest: int = 4096) -> Described[str]:
    """A document for clients' eyes, with its limits in bytes of UTF-8."""
    lines = document(longest)

    @described("string", example="<h1>We are back at noon.</h1>", minLength=shortest, maxLength=longest)
    def parse(value: Any) -> str:
        text_of_it = lines(value)
        if not shortest <= len(text_of_it.encode()) <= longest:
            raise Reject(f"Value should have from {shortest} to {longest} bytes in UTF-8")
        return text_of_it

    return parse


tags = list_of(name, unique=True, most=100)
description = document(255)


def headers(known: Collection[str]) -> Described[dict[str, str]]:
    """HTTP headers to insert: name -> string."""

    one = {**name.schema, "description": 'The string "true", for this header to be added.'}

    @described("object", example={next(iter(known)): "true"}, properties=dict.fromkeys(known, one), additionalProperties=False)
    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise Reject("Value should be an object of header names and strings")
        for header in value:
            if header not in known:
                raise Reject(f"{header} is not a valid option for insert_headers")
        return {header: name(content) for header, content in value.items()}

    return parse


def matching(pattern: str, reason: str, *, example: str, longest: int) -> Described[str]:
    """A string of a narrow alphabet; `reason` is what the client of another one reads."""
    is_good = re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII).fullmatch

    @described("string", example=example, pattern=pattern, maxLength=longest)
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not is_good(value):
            raise Reject(reason)
        if len(value) > longest:
            raise Reject(f"Value should have a maximum character requirement of {longest}")
        return value

    return parse


url_path = matching(r"^/[0-9A-Za-z._~!$&'()*+,;=:@/?%-]*$", "Value must be a valid URL Path string", example="/health", longest=2048)
"""Path, and perhaps query, of a URL."""


@described("string", example="200-299", length=255, pattern=_STATUS_CODES, maxLength=64)
def status_codes(value: Any) -> str:
    """HTTP status codes that a healthy server answers: a list, or a range. Blanks between them are kept: a client that compares what it
    asked for with what there is would want to change it for ever.
    """
    if not isinstance(value, str) or len(value) > 64 or not re.match(_STATUS_CODES, value, re.ASCII) or "\n" in value:
        raise Reject(f"Value should match the pattern {_STATUS_CODES}")
    codes = [int(code) for code in re.findall(r"\d{3}", value)]
    if not all(100 <= code <= 599 for code in codes):
        raise Reject("Value should hold HTTP status codes from 100 to 599")
    if "-" in value and codes[0] > codes[1]:
        raise Reject("Value should be a range from a lower to a higher HTTP status code")
    return re.sub(r"\s", " ", value)


host_name = matching(
    r"^(?!-)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?$",
    "Value must be a valid host name of at most 255 characters",
    example="www.example.com",
    longest=255,
)


grpc_service = matching(
    r"^[0-9A-Za-z_./-]*$",
    "Value should be the name of a service of gRPC: letters, digits, dots, dashes, slashes and underscores",
    example="shop.Cart",
    longest=100,
)


@described("number", example=1.1, enum=[1.0, 1.1])
def http_version(value: Any) -> float:
    """1.0 or 1.1."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = 0.0
    if number not in (1.0, 1.1):
        raise Reject("Value should be one of: 1.0, 1.1")
    return number


token = matching(
    r"^[0-9A-Za-z!#$%&'*+.^_`|~-]+$",
    "Value should be a valid cookie name: letters, digits and !#$%&'*+-.^_`|~, at most 255 of them",
    example="SESSIONID",
    longest=255,
)
"""A cookie's name."""


@described("string", example="2026-01-31T12:00:00", format="naive-date-time")
def timestamp(value: Any) -> datetime.datetime:
    """A time as responses show it: UTC, without a zone."""
    try:
        if not isinstance(value, str):
            raise ValueError
        return datetime.datetime.fromisoformat(value).replace(tzinfo=datetime.UTC)
    except ValueError:
        raise Reject("Value should be a time such as 2026-01-31T12:00:00") from None


REFERENCE: Final[JsonSchema] = {
    "type": "object",
    "properties": {"id": {**uuid.schema, "description": "The id of the object.", "examples": [uuid.example]}},
    "required": ["id"],
    "additionalProperties": False,
}
"""Another object, in answers."""


@described("array", example=[{"id": uuid.example}], items=REFERENCE)
def ids(values: Iterable[str]) -> list[dict[str, str]]:
    """References to other objects."""
    return [{"id": value} for value in values]


@described("array", example=[{"id": uuid.example}], items=REFERENCE, maxItems=1)
def one_id(value: str | None) -> list[dict[str, str]]:
    """The reference to another object, as a list of one or none."""
    return [] if value is None else [{"id": value}]


def as_given(value: Any) -> Any:
    """A value as clients give it: one of several parts is an object."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def naive(value: datetime.datetime | None) -> datetime.datetime | None:
    """A time without its zone, which clients can't read."""
    return None if value is None else value.replace(tzinfo=None)
