"""The page that shows the OpenAPI document: Swagger UI, served by us, so that it needs no other host.

Its files come from the package `flask-swagger-ui`, which `setup.cfg` pins. Each is compared with the hash that stands here before it is
served, and browsers compare it once more (Subresource Integrity, https://www.w3.org/TR/SRI/).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from typing import Final

from controller import exceptions

VERSION: Final = "5.34.0"
"""Of Swagger UI. A new one: the pin in `setup.cfg`, this, and the hashes below, which a test tells."""

INTEGRITY: Final = {
    "swagger-ui-bundle.js": "sha384-9Td7MKiIr2S83E1kZyyVi8KdJw/S8CpAvu0llLyMeg0xq/hDGiZJfVn0fV4llCmK",
    "swagger-ui.css": "sha384-4c3vsE5f+trhFyHrFrLM1fFGUn531NIaC7dcqEWIJdoRQJ5CkJbSuSCwXLpaS1KF",
    "favicon-32x32.png": "sha384-vCPruBEcPmxk2uv19KNJCkWttTDv8oQxBAzSuTndOepjsIyiKHSoLNlWOcQMpXdL",
}
"""The files of the package that the page uses, with their hashes."""

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content Security Policy of the page: nothing from another host, no script or style in the page itself."""

_START = b"""SwaggerUIBundle({
  url: document.currentScript.dataset.document,
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  validatorUrl: null,
});
"""
PATHS: Final = tuple(f"/docs/{VERSION}/{name}" for name in (*INTEGRITY, "start.js"))
"""Where the files are served."""

_MEDIA = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}


@functools.cache
def read(name: str) -> tuple[bytes, str]:
    """The content and the media type of one of the files that the page names.

    :raises Misconfigured: the installed package is not the one that we know.
    """
    if name == "start.js":
        return _START, _MEDIA[".js"]
    try:
        content = importlib.resources.files("flask_swagger_ui").joinpath("dist", name).read_bytes()
    except OSError as error:
        raise _unusable(name) from error
    if integrity(content) != INTEGRITY[name]:
        raise _unusable(name)
    return content, _MEDIA[name[name.rindex(".") :]]


def _unusable(name: str) -> exceptions.Misconfigured:
    return exceptions.Misconfigured(
        f"{name} of the package flask-swagger-ui is missing, or is not the one of version {VERSION}: "
        f"install it anew (pip install --force-reinstall flask-swagger-ui=={VERSION})."
    )


def integrity(content: bytes) -> str:
    """The hash of a file, as HTML has it."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def page(title: str, root: str) -> str:
    """The HTML of the page. `root` leads from its address to where the API begins, such as `""` or `"../"`."""
    files = f"{root}docs/{VERSION}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="{files}/favicon-32x32.png">
<link rel="stylesheet" href="{files}/swagger-ui.css" integrity="{INTEGRITY["swagger-ui.css"]}">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The same for programs: <a href="{root}openapi.json">openapi.json</a></noscript>
<script src="{files}/swagger-ui-bundle.js" integrity="{INTEGRITY["swagger-ui-bundle.js"]}"></script>
<script src="{files}/start.js" integrity="{integrity(_START)}" data-document="{root}openapi.json"></script>
</body>
</html>
"""
