"""HTTP to one server: JSON out, a typed struct or a typed error back.

Invariants:

* TLS with certificate and host name checked; plain HTTP to loopback addresses only.
* No proxies from the environment, no redirects, no retries, no compression, no cookies.
* One deadline bounds a whole call, one size limit the whole answer.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from common.errors import FetchFailed, InvalidSetting
from guest_agent.errors import ServerAnswerInvalid, ServerRefused, ServerTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from urllib3.response import BaseHTTPResponse

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_CHUNK: Final = 64 << 10
_MAX_ANSWER: Final = 32 << 20
_FIRST_SUCCESS: Final = 200
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_MAX_TEXT: Final = 2048
_ENCODER: Final = msgspec.json.Encoder()
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
T = TypeVar("T")


class _Problem(msgspec.Struct, frozen=True):
    """What we read of a problem document (RFC 9457)."""

    code: str = ""
    title: str = ""
    detail: str = ""
    advice: str = ""
    request_id: str = ""
    details: dict[str, Any] = {}


class JsonClient:
    """Posts JSON to one server.

    Args:
        url: ``https://host[:port][/prefix]``, or ``http://`` to a loopback address.
        ca_file: PEM authorities that replace the system's.
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
        connect_timeout_s: float = 10.0,
        timeout_s: float = 60.0,
    ) -> None:
        """Prepare a connection pool; connects lazily."""
        self._url = checked_url(url)
        self._timeout_s = timeout_s
        self._pool = connection_pool(
            self._url,
            {"Accept": f"{_JSON}, {_PROBLEM}"},
            ca_file=ca_file,
            connect_timeout_s=connect_timeout_s,
            timeout_s=timeout_s,
        )

    def post(self, path: str, document: msgspec.Struct, answer: type[T]) -> T:
        """Post ``document``; the answer as a struct.

        Args:
            path: below the URL, starting with a slash; made of identifiers.
            document: the body.
            answer: type of the answer.

        Raises:
            ServerRefused: a problem document, with the server's code.
            ServerAnswerInvalid: anything else than success with such a document.
            ServerTimeout: not finished in time.
            FetchFailed: no connection, or it broke.
        """
        deadline = time.monotonic() + self._timeout_s
        response = ask(
            self._pool,
            "POST",
            self._url + path,
            body=_ENCODER.encode(document),
            headers={"Content-Type": _JSON},
            advice=_ADVICE_UNREACHABLE,
        )
        data = read_bounded(response, deadline)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if _FIRST_SUCCESS <= response.status < _FIRST_REDIRECT and content_type == _JSON:
            return _decode(data, answer)
        if response.status >= _FIRST_ERROR and content_type == _PROBLEM:
            raise _refusal(_decode(data, _Problem), response.status)
        raise ServerAnswerInvalid(f"the server answered status {response.status} in another form")


_ADVICE_UNREACHABLE: Final = "Check --server, that the server runs, and --ca-file for a private authority."


def connection_pool(
    url: str,
    headers: Mapping[str, str],
    *,
    ca_file: Path | None,
    connect_timeout_s: float,
    timeout_s: float,
) -> urllib3.PoolManager:
    """Connections to one server, without retries and compression; connects lazily.

    Args:
        url: checked (``checked_url``).
        headers: sent with every request.
        ca_file: PEM authorities that replace the system's.
        connect_timeout_s: time limit of making a connection.
        timeout_s: time limit of each wait for data.

    Raises:
        InvalidSetting: the file cannot be used.
    """
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=connect_timeout_s, read=timeout_s),
        retries=False,
        ssl_context=tls_context(ca_file) if url.startswith("https:") else None,
        headers={"Accept-Encoding": "identity", **headers},
    )


def ask(
    pool: urllib3.PoolManager,
    method: str,
    url: str,
    *,
    body: bytes | None,
    headers: Mapping[str, str] = _NONE,
    who: str = "the server",
    advice: str | None = None,
) -> BaseHTTPResponse:
    """Send a request; the answer, of which nothing is read yet but its head.

    Args:
        pool: of ``connection_pool``.
        method: of HTTP.
        url: the whole of it.
        body: bytes; None for none.
        headers: beside the pool's.
        who: how an error names the other side.
        advice: of an error about the connection.

    Raises:
        ServerTimeout: it does not answer in time.
        FetchFailed: no connection, or it broke; the cause is urllib3's.
    """
    try:
        return pool.request(
            method,
            url,
            body=body,
            headers={**pool.headers, **headers},
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
    except urllib3.exceptions.NewConnectionError as error:  # counts as a timeout in urllib3's tree
        raise FetchFailed(unreachable(error), advice=advice) from error
    except urllib3.exceptions.TimeoutError as error:
        raise ServerTimeout(f"{who} does not answer in time") from error
    except HTTPError as error:
        raise FetchFailed(unreachable(error), advice=advice) from error


def checked_url(url: str, *, allow_http: bool = False) -> str:
    """The URL without a closing slash, if it may be used.

    Args:
        url: ``https://host[:port][/prefix]``, or ``http://`` to a loopback address.
        allow_http: whether ``http://`` to other hosts is accepted.

    Raises:
        InvalidSetting: it may not.
    """
    try:
        parsed = parse_url(url)
    except LocationParseError as error:
        raise InvalidSetting("the server URL cannot be parsed") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidSetting("the server URL is https://host[:port][/prefix]")
    if parsed.auth or parsed.query or parsed.fragment:
        raise InvalidSetting("the server URL has user, query or fragment: none of these is used")
    if parsed.scheme == "http" and not allow_http and not _is_loopback(parsed.host):
        raise InvalidSetting(
            "plain http to a remote server: nothing would prove which server it is",
            advice="Use an https:// URL, with --ca-file for a private authority.",
        )
    return Url(parsed.scheme, None, parsed.host, parsed.port, (parsed.path or "").rstrip("/")).url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later, certificate and host name checked.

    Raises:
        InvalidSetting: the file holds no PEM certificates.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise InvalidSetting(f"{ca_file} is not a file of PEM certificates") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_bounded(response: BaseHTTPResponse, deadline: float) -> bytes:
    """The body, within the size limit and before ``deadline`` (``time.monotonic``).

    Raises:
        ServerAnswerInvalid: compressed, or too large.
        ServerTimeout: not finished in time.
        FetchFailed: the connection broke.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        response.close()
        raise ServerAnswerInvalid("the server compressed its answer, which was not asked for")
    data = bytearray()
    try:
        while chunk := response.read1(_CHUNK, decode_content=False):
            data += chunk
            if len(data) > _MAX_ANSWER:
                response.close()
                raise ServerAnswerInvalid(f"the server's answer is larger than {_MAX_ANSWER} bytes")
            if time.monotonic() > deadline:
                response.close()
                raise ServerTimeout("the server does not finish its answer in time")
    except urllib3.exceptions.TimeoutError as error:
        raise ServerTimeout("the server does not finish its answer in time") from error
    except HTTPError as error:
        raise FetchFailed(unreachable(error), advice=_ADVICE_UNREACHABLE) from error
    response.release_conn()
    return bytes(data)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerAnswerInvalid("the server's answer is not of the documented form") from error


def _refusal(problem: _Problem, status: int) -> ServerRefused:
    message = problem.detail or problem.title or f"the server refused with status {status}"
    details = problem.details | ({"request_id": problem.request_id} if problem.request_id else {})
    return ServerRefused(
        printable(message),
        remote_code=printable(problem.code),
        status=status,
        advice=printable(problem.advice) or None,
        details=details,
    )


def printable(text: str) -> str:
    """A server's text made fit for a terminal and a log: one line, no control characters, bounded."""
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_TEXT])


def unreachable(error: HTTPError) -> str:
    """What to say of a connection that failed."""
    if isinstance(error, urllib3.exceptions.SSLError):
        return "the server's certificate does not verify"
    return f"the server does not answer ({type(error).__name__})"
