"""The Go program of this folder: gophercloud, and the resources of Terraform's OpenStack provider, each with its own code and login."""

from __future__ import annotations

import json
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.clients.days import NotFound


class GoClients:
    """Asks the program, one request after the other."""

    def __init__(self, program: pathlib.Path, environment: Mapping[str, str]) -> None:
        self._said = program.with_name("said")  # in a file: a pipe that nobody reads would stop the program when it is full
        with self._said.open("w") as said:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
            self._process = subprocess.Popen([program], env=dict(environment), text=True, **pipes)

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request; one with `error` if the client failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the program ended: {self._said.read_text(errors='replace')[-4000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the program."""
        self._process.communicate(timeout=30)


class Gophercloud:
    """gophercloud as a client of a day."""

    def __init__(self, go: GoClients) -> None:
        self._go = go

    def ask(self, noun: str, do: str, **more: Any) -> Any:
        """What the client reads."""
        answer = self._go.ask(noun=noun, do=do, **more)
        if "error" in answer and "got 404 instead" in answer["error"]:
            raise NotFound(answer["error"])
        assert "error" not in answer, (noun, do, more, answer)
        return answer["read"]

    def create(self, noun: str, parent: str, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self.ask(noun, "create", parent=parent, fields=_spoken(noun, fields)))

    def get(self, noun: str, parent: str, object_id: str) -> dict[str, Any]:
        return dict(self.ask(noun, "get", parent=parent, id=object_id))

    def update(self, noun: str, parent: str, object_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        return dict(self.ask(noun, "update", parent=parent, id=object_id, fields=_spoken(noun, fields)))

    def list(self, noun: str, parent: str) -> list[dict[str, Any]]:
        return list(self.ask(noun, "list", parent=parent))

    def delete(self, noun: str, parent: str, object_id: str) -> None:
        self.ask(noun, "delete", parent=parent, id=object_id)


def _spoken(noun: str, fields: dict[str, Any]) -> dict[str, Any]:
    """gophercloud's options have the API's names; a version of HTTP is a string there."""
    return {name: str(value) if name == "http_version" else value for name, value in fields.items()}
