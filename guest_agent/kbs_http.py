"""HTTP to one KBS: requests with one cookie, answers as they came; limits as ``guest_agent.http``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import msgspec
import urllib3

from common.errors import FetchFailed
from guest_agent.errors import KbsUnreachable, ServerAnswerInvalid
from guest_agent.http import ask, checked_url, connection_pool, read_bounded
from wire.kbs import BASE_PATH, SESSION_COOKIE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from urllib3.response import BaseHTTPResponse

_PASSING: Final = frozenset({502, 503, 504})  # of a proxy, or a server that starts or is overloaded
_USER_AGENT: Final = "touchstone-guest"
# RFC 6265 section 4.1.1, cookie-octet.
_COOKIE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,4096}\Z")


class Answer(msgspec.Struct, frozen=True):
    """What a KBS answered.

    Attributes:
        status: HTTP status.
        content_type: in lower case, without parameters.
        body: as it came.
        cookie: value of the session cookie that it set; None where it set none.
    """

    status: int
    content_type: str
    body: bytes
    cookie: str | None


class KbsHttp:
    """Sends requests below ``/kbs/v0``.

    Args:
        url: the KBS's; https, or http to loopback.
        ca_file: PEM authorities that replace the system's.
        allow_http: accept http to other hosts. Resources stay encrypted to the TEE's key, but evidence and
            tokens can be read, and answers withheld, by whoever is between.
        connect_timeout_s: time limit of making a connection.
        timeout_s: time limit of a whole call.

    Raises:
        InvalidSetting: the URL or the file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        allow_http: bool = False,
        connect_timeout_s: float = 10.0,
        timeout_s: float = 60.0,
    ) -> None:
        """Prepare a connection pool; connects lazily."""
        self.url = checked_url(url, allow_http=allow_http)
        self._timeout_s = timeout_s
        self._pool = connection_pool(
            self.url,
            {"Accept": "*/*", "User-Agent": _USER_AGENT},
            ca_file=ca_file,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
        )

    def send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        cookie: str | None = None,
        bearer: str | None = None,
    ) -> Answer:
        """One request, one answer of any status.

        Args:
            method: ``GET`` or ``POST``.
            target: path and query below ``/kbs/v0``; made of identifiers.
            body: JSON.
            cookie: value of the session cookie.
            bearer: an attestation token.

        Raises:
            ServerAnswerInvalid: compressed or too large, or a session cookie that is none.
            ServerTimeout: not finished in time.
            FetchFailed: no connection, it broke, or status 502 to 504.
            KbsUnreachable: its certificate does not verify.
        """
        headers: dict[str, str] = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if cookie is not None:
            headers["Cookie"] = f"{SESSION_COOKIE}={cookie}"
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        deadline = time.monotonic() + self._timeout_s
        response = self._request(method, target, body, headers)
        if response.status in _PASSING:
            response.close()
            raise FetchFailed(f"the KBS answers status {response.status}")
        data = read_bounded(response, deadline)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(response.status, content_type, data, _session_cookie(response))

    def _request(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        url = f"{self.url}{BASE_PATH}{target}"
        try:
            return ask(self._pool, method, url, body=body, headers=headers, who="the KBS")
        except FetchFailed as error:
            if isinstance(error.__cause__, urllib3.exceptions.SSLError):
                # Trying again does not mend a certificate.
                raise KbsUnreachable(error.message) from error
            raise


def _session_cookie(response: BaseHTTPResponse) -> str | None:
    """The last session cookie of the answer; its attributes say when it ends, which a 401 tells as well."""
    found: str | None = None
    for header in response.headers.getlist("Set-Cookie"):
        name, _, value = header.partition(";")[0].strip().partition("=")
        if name == SESSION_COOKIE:
            found = value
    if found is not None and not _COOKIE.match(found):
        raise ServerAnswerInvalid("the KBS set a session cookie with characters that no cookie has")
    return found
