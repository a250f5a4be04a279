"""What every fake of a cloud service can be told: to fail, and to remember what it was asked."""

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Fake = TypeVar("Fake", bound=type)


class Script:
    """`fail_next` makes calls fail, `calls` are the calls so far as (method, arguments). Shared by all drivers of one fake cloud."""

    def __init__(self) -> None:
        self._script_lock = threading.Lock()
        self._failures: dict[str, list[Exception]] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def fail_next(self, method: str, error: Exception, times: int = 1) -> None:
        """Make the next calls of a method raise this error; what it is to do is not done."""
        with self._script_lock:
            self._failures.setdefault(method, []).extend([error] * times)

    def calls_of(self, method: str) -> list[tuple[Any, ...]]:
        with self._script_lock:
            return [arguments for name, arguments in self.calls if name == method]

    def play(self, method: str, arguments: tuple[Any, ...]) -> None:
        with self._script_lock:
            self.calls.append((method, arguments))
            waiting = self._failures.get(method)
            error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error


def scripted(contract: type) -> Callable[[Fake], Fake]:
    """Class decorator of a fake: every method of the contract looks at the script first. The fake has its script in `self.script`."""

    def decorate(fake: Fake) -> Fake:
        for name in contract.__abstractmethods__:  # type: ignore[attr-defined]
            setattr(fake, name, _scripted_method(getattr(fake, name)))
        return fake

    return decorate


def _scripted_method(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.script.play(method.__name__, (*args, *kwargs.values()))
        return method(self, *args, **kwargs)

    return checked
