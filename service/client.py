"""Client of the native API, for the command line and the CI step: bearer token, JSON, typed errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from common.errors import FetchFailed, InvalidSetting, TouchstoneError
from common.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TIMEOUT = urllib3.Timeout(connect=10, read=120)
_MAX_ANSWER_BYTES = 32 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FIRST_ERROR_STATUS = 400
_PAGE = 200


class RemoteError(TouchstoneError):
    """The server refused; its own code and advice are kept.

    Attributes:
        remote_code: the server's error code.
        status: the HTTP status.
    """

    code = "unavailable.remote_refused"

    def __init__(self, problem: Mapping[str, Any], status: int) -> None:
        """Take over the problem document's members."""
        super().__init__(
            str(problem.get("detail") or problem.get("title") or f"HTTP status {status}"),
            advice=str(problem.get("advice") or "See docs/errors.md for this code."),
            details={"request_id": problem.get("request_id")},
        )
        self.remote_code = str(problem.get("code") or "")
        self.status = status
        self.problem = dict(problem)


class ApiClient:
    """Talks to one server.

    Args:
        url: base URL; plain http is accepted on loopback only, since the token would be readable.
        token: admin bearer token, or None for open routes.
        ca_file: PEM bundle that replaces the system's authorities.

    Raises:
        InvalidSetting: plain http to a remote host.
    """

    def __init__(self, url: str, *, token: str | None = None, ca_file: Path | None = None) -> None:
        """Prepare a connection pool; connects lazily."""
        if not url.startswith("https://") and urlsplit(url).hostname not in _LOOPBACK:
            raise InvalidSetting(
                "plain http to a remote server would show the token to the network",
                advice="Use an https:// URL, with --ca-file for a private authority.",
            )
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(
            timeout=_TIMEOUT, retries=False, ca_certs=str(ca_file) if ca_file else None
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str | int | None] | None = None,
    ) -> Any:
        """One call; the decoded JSON answer, None for an empty one.

        Raises:
            RemoteError: the server answered with a problem.
            FetchFailed: it did not answer, or not with JSON.
        """
        fields = {name: str(value) for name, value in (query or {}).items() if value is not None}
        encoded = json.dumps(body).encode("utf-8") if body is not None else None
        headers = self._headers | ({"Content-Type": "application/json"} if encoded is not None else {})
        url = self._url + path + (f"?{urlencode(fields)}" if fields else "")
        try:
            answer = self._pool.request(
                method, url, body=encoded, headers=headers, redirect=False, preload_content=False
            )
            data = answer.read(_MAX_ANSWER_BYTES + 1)
            answer.release_conn()
        except HTTPError as error:
            raise FetchFailed(
                f"{self._url} does not answer", advice="Check --server and that `touchstone serve` runs."
            ) from error
        return _decoded(data, answer.status)

    def pages(self, path: str, *, query: Mapping[str, str | int | None] | None = None) -> Iterator[Any]:
        """Every item of a paged listing, page by page."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, query={**(query or {}), "limit": _PAGE, "cursor": cursor})
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return


def read_token(path: Path) -> str:
    """The admin token in a file (trailing newline allowed).

    Raises:
        NotFound: no such file.
    """
    return read_limited(path, what="token", max_bytes=4096).decode("ascii", "replace").strip()


def _decoded(data: bytes, status: int) -> Any:
    try:
        decoded = json.loads(data) if data else None
    except ValueError as error:
        raise FetchFailed(f"the server answered status {status} with something other than JSON") from error
    if status >= _FIRST_ERROR_STATUS:
        raise RemoteError(decoded if isinstance(decoded, dict) else {}, status)
    return decoded
