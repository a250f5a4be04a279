"""Waiting inside a flow: how a step waits for minutes without holding a thread, and how to read a failure of an earlier run.

How to write a waiting step
---------------------------
Derive from `Patient`, look once, and raise `exceptions.NotYet` if it has not happened yet:

    class AwaitHeartbeat(retries.Patient):
        '''Wait until the amphora was heard.'''

        default_provides = "heard_at"

        def execute(self, amphora_id: str) -> float:
            heard_at = ...one query...
            if heard_at is None:
                raise exceptions.NotYet(f"amphora {amphora_id} was not heard yet")
            return heard_at

    flow.add(AwaitHeartbeat(services.db, patience=600))

What the worker's engine does with it: the step goes back to PENDING, the other branches of the flow go on as far as they can, then the
whole flow is put aside (record kept, claim and lease released, no thread held). The job is looked at again when somebody calls
`tx.jobs.wake(load_balancer_id)` and rings (`jobs.wakeup.ring`), at the latest after `[task_flow] poll_interval` seconds; then only the
steps that said NotYet run again. When `patience` seconds have gone since the step first said so, it fails with `exceptions.TimedOut`,
whose message ends with the last NotYet's words, and the flow reverts as after any other failure. No retry controller is needed; those of
taskflow work beside it. A revert must not wait: NotYet from a revert() is a failure of the revert.
"""

from __future__ import annotations

import re
from typing import Any

from taskflow import task
from taskflow.types import failure

from controller import exceptions
from controller.model import words


class Patient(task.Task):
    """A step that may raise NotYet, for at most `patience` seconds after it did so first."""

    def __init__(self, *, patience: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience = patience


def explain(what: failure.Failure) -> tuple[str, str]:
    """The stable code and the words of a failure, also of one that was read back from the record of a flow that another worker began."""
    if isinstance(what.exception, exceptions.ControllerError):
        return what.exception.code, str(what.exception)
    for name in what:
        module, _, word = name.rpartition(".")
        kind = getattr(exceptions, word, None) if module == exceptions.__name__ else None
        if isinstance(kind, type) and issubclass(kind, exceptions.ControllerError):
            return kind.code, what.exception_str
    return _explain_unexpected(next(iter(what), ""), what.exception, what.exception_str)


def explain_error(error: Exception) -> tuple[str, str]:
    """The stable code and the words of an error that no step caught."""
    if isinstance(error, exceptions.ControllerError):
        return error.code, str(error)
    return _explain_unexpected(type(error).__name__, error, str(error))


def _explain_unexpected(kind: str, error: BaseException | None, text: str) -> tuple[str, str]:
    """Of what the controller's own machine refused (a full disk, a file that is no folder) its reason, and never the file."""
    kind = kind.rpartition(".")[2]
    if isinstance(error, OSError) and error.strerror:
        return exceptions.HostFault.code, f"{exceptions.HostFault.sentence}: {words.unexpected(kind, error.strerror)}"
    if found := _ERRNO.match(text):
        return exceptions.HostFault.code, f"{exceptions.HostFault.sentence}: {words.unexpected(kind, found.group(1))}"
    return exceptions.ControllerError.code, words.unexpected(kind, text)


_ERRNO = re.compile(r"\[Errno \d+\] ([^:]+)")
