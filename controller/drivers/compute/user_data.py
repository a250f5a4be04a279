"""The files of a machine as its user data, since Nova has no other way left (microversion 2.57): a cloud-config whose body is JSON.

JSON is YAML as well, so that a machine with cloud-init writes the same files. Our image reads it in `amphora_agent.config_drive`.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any


def of_files(files: Mapping[str, bytes]) -> str:
    """What reads `files` (absolute paths to contents) back. Text stays text: base64 below Nova's own base64 would take a third more."""
    return "#cloud-config\n" + json.dumps({"write_files": [_file(path, content) for path, content in files.items()]})


def _file(path: str, content: bytes) -> dict[str, Any]:
    named = {"path": path, "permissions": "0600"}
    try:
        return {**named, "content": content.decode()}
    except UnicodeDecodeError:
        return {**named, "encoding": "b64", "content": base64.b64encode(content).decode()}
