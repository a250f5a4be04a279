"""What a service of the cloud says when it does not do what it was asked for, as errors of ours."""

import json
import re
from collections.abc import Mapping
from typing import Any

from controller import exceptions

_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_BUSY = {"StaleDataError", "RetryRequest", "DBDeadlock", "DBError"}
"""Kinds of 409 by which Neutron says that its database was busy: nothing was changed, and the same may be asked again."""
_MORE_QUOTA = "Let an administrator raise the quota of that project, or delete what is not used"
_MORE_RIGHTS = "Give the user of [service_auth] the right to do this; `figlina-status check` tells which roles it has"
_WORDS = 1000  # characters of an answer that are kept


class ServiceRefused(exceptions.ControllerError):
    """A service answered, and does not do it. `words` are its own, `kind` its own name for the error, where it has one."""

    code = "cloud"

    def __init__(self, call: str, status: int, words: str, kind: str = "", request_id: str = "", advice: str = "") -> None:
        traced = f", request {request_id}" if request_id else ""
        told = f"{call} was refused ({status}{traced}): {words.rstrip('.')}." + (f" {advice}." if advice else "")
        exceptions.ControllerError.__init__(self, told)
        self.call = call
        self.status = status
        self.words = words
        self.kind = kind
        self.request_id = request_id


class Missing(ServiceRefused):
    """404: the service knows no such thing."""


class Contradicted(ServiceRefused):
    """409: what is there does not allow it, or somebody else was quicker."""


class QuotaMet(ServiceRefused, exceptions.QuotaExceeded):
    """The project in the cloud may not have another one."""

    code = exceptions.QuotaExceeded.code

    def __init__(self, *arguments: Any, **named: Any) -> None:
        ServiceRefused.__init__(self, *arguments, **named)
        self.resources = (self.words,)


class NotAllowed(ServiceRefused, exceptions.Misconfigured):
    """401, 403: the user of `[service_auth]` may not do this."""

    code = exceptions.Misconfigured.code


class TryAgain(ServiceRefused, exceptions.Transient):
    """The service is overloaded or broken for now. `after` are the seconds that it asks to wait, None if it says nothing."""

    code = exceptions.Transient.code
    after: float | None = None


class NoAnswer(exceptions.Transient):
    """A service was not reached, or its answer did not come whole and in time: nobody knows whether it did what it was asked for."""


class Unreadable(NoAnswer):
    """A service answered that all is well, and the answer has not what its API says: nobody knows whether it did what it was asked for."""

    def __init__(self, call: str, words: str, option: str) -> None:
        super().__init__(
            f"{call}: the answer {words}. Look whether something else answers in the service's place: at its endpoint in the catalog, at "
            f"{option}, and at proxies on the way"
        )


def of_answer(call: str, status: int, headers: Mapping[str, str], body: bytes) -> ServiceRefused:
    """The error that an answer of 4xx or 5xx is. `call` says who was asked for what: `compute: POST /servers`."""
    words, kind = _words(body)
    words = words or f"no reason given (HTTP {status})"
    told = (call, status, words, kind, request_id(headers))
    if status in (403, 409, 413) and (kind == "OverQuota" or _speaks_of_quota(words)):
        return QuotaMet(*told, advice=_MORE_QUOTA)
    is_foreign = status == 404 and not request_id(headers)  # of a gateway before the service, which knows nothing of what there is
    if is_foreign or status in _TRY_AGAIN or kind in _BUSY or (status == 413 and "retry-after" in {name.lower() for name in headers}):
        again = TryAgain(*told)
        again.after = _seconds({name.lower(): value for name, value in headers.items()}.get("retry-after"))
        return again
    if status in (401, 403):
        return NotAllowed(*told, advice=_MORE_RIGHTS)
    return {404: Missing, 409: Contradicted}.get(status, ServiceRefused)(*told)


def _speaks_of_quota(words: str) -> bool:
    """And not of a rule of who may do something with quotas."""
    return re.search(r"quota|maximum number of", words, re.IGNORECASE) is not None and not re.search(r"\bpolicy\b", words, re.IGNORECASE)


def without_addresses(error: Exception) -> str:
    """What went wrong, without where the service is: a fault is shown to tenants, whom that does not concern."""
    return re.sub(r"https?://\S+|host='[^']*', port=\d+|<[^>]* object at \w+>", "its endpoint", str(error))


def request_id(headers: Mapping[str, str]) -> str:
    """The id by which the service's own log can be searched; empty if it gave none."""
    lower = {name.lower(): value for name, value in headers.items()}
    return lower.get("x-openstack-request-id") or lower.get("x-compute-request-id") or ""


def _words(body: bytes) -> tuple[str, str]:
    """The sentence and the kind in an answer: each service has a shape of its own."""
    text = body.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        plain = re.sub(r"<(head|style|script)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL | re.IGNORECASE)
        return " ".join(plain.split())[:_WORDS], ""
    if isinstance(found, dict) and isinstance(found.get("errors"), list) and found["errors"]:
        found = found["errors"][0]  # Placement's, and those of gateways
    elif isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if not isinstance(found, dict):
        return str(found)[:_WORDS], ""
    sentence = next((found[key] for key in ("message", "detail", "description", "title", "faultstring") if found.get(key)), found)
    return str(sentence)[:_WORDS], str(found.get("type") or found.get("title") or "")


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None  # a date: services of OpenStack send seconds
