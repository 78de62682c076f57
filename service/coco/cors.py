"""CORS for the attestation-service API: pages of configured origins may call it, no others.

Off unless ``[coco.attestation] allowed_origins`` names some. Origins are compared whole. No credentials are
allowed (cookies, client certificates of the browser): a token is sent by the page itself. Every answer
varies by ``Origin``, so that no cache serves one origin's permission to another.

Source: Fetch standard, section 3.2 (HTTP extensions of CORS); attestation-service ``bin/restful``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_ANY: Final = "*"
_VARY: Final = ("Vary", "Origin")
_PREFLIGHT: Final = [
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Authorization"),
    ("Access-Control-Max-Age", "86400"),
]


class Cors:
    """WSGI middleware for some paths.

    Args:
        app: the application below.
        paths: those of the API, and everything below them.
        origins: exact origins; ``*``: any.
    """

    def __init__(self, app: WSGIApplication, paths: Iterable[str], origins: Sequence[str]) -> None:
        """Keep the settings."""
        self._app = app
        self._paths = frozenset(paths)
        self._origins = frozenset(origins)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or not self._covers(environ.get("PATH_INFO", "")):
            return self._app(environ, start_response)
        allowed = _ANY in self._origins or origin in self._origins
        grant = [("Access-Control-Allow-Origin", _ANY if _ANY in self._origins else origin)] * allowed
        if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
            return _preflight(start_response, grant)

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            headers.extend([*grant, _VARY])
            return start_response(status, headers, exc_info)

        return self._app(environ, start)

    def _covers(self, path: str) -> bool:
        return path in self._paths or path[: path.find("/", 1) + 1][:-1] in self._paths


def _preflight(start_response: StartResponse, grant: list[tuple[str, str]]) -> Iterable[bytes]:
    if grant:
        start_response("204 No Content", [*grant, *_PREFLIGHT, _VARY])
        return [b""]
    body = b"Origin is not allowed to make this request"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), _VARY]
    start_response("403 Forbidden", headers)
    return [body]
