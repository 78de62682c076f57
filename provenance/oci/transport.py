"""HTTP towards registries: hosts from a list, TLS, everything bounded, credentials to one origin only.

Order of one request: URL against the allowed hosts and schemes -> connect (name verified in TLS) ->
redirect, if any, from the start -> status -> size and time while reading. 429 and 503 are tried again
after a pause, a bounded number of times.

Invariants:

* Only ``https``; plain ``http`` to loopback alone, and only where the caller switched it on. A redirect
  never leaves ``https`` for ``http``.
* An Authorization header goes to the origin (scheme, host, port) that it was made for, never along a
  redirect to another one.
* No proxy and no credentials from the environment, no cookies, no content coding.
* Errors name scheme, host and path: never a query (pre-signed URLs keep secrets there), a header or a body.

No address is checked behind a name: the name's certificate must verify, which no inside service has.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from common.addresses import is_loopback
from provenance.oci.errors import RegistryContentInvalid, RegistryForbidden, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

MAX_REDIRECTS: Final = 3
_TRIES: Final = 3
_MAX_URL: Final = 8192  # pre-signed URLs are long
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_SLOW_DOWN: Final = (429, 503)
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_DECIMAL: Final = re.compile(r"[0-9]{1,18}\Z")
_FIRST_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 20.0


class TransportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How registries are reached.

    Attributes:
        allowed_hosts: ``host`` or ``host:port``, exact.
        plain_http: speak plain HTTP, to loopback hosts alone.
        ca_file: PEM bundle that replaces the system's authorities.
        timeout_s: of one request, from connecting to the last byte.
    """

    allowed_hosts: tuple[str, ...]
    plain_http: bool = False
    ca_file: Path | None = None
    timeout_s: float = 30.0


class Response(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        status: HTTP status.
        headers: by lower-case name.
        body: at most the asked-for bytes.
        url: that gave it, after redirects.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    url: str


class Transport:
    """Sends requests. Thread-safe.

    Args:
        options: bounds and hosts.
        sleep: waits between tries, seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        options: TransportOptions,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet."""
        self._allowed = frozenset(host.lower() for host in options.allowed_hosts)
        self._options = options
        self._sleep = sleep
        self._clock = clock
        ca_file = None if options.ca_file is None else str(options.ca_file)
        self._pool = urllib3.PoolManager(
            cert_reqs="CERT_REQUIRED", ca_certs=ca_file, retries=False, timeout=options.timeout_s
        )

    def base_url(self, host: str) -> str:
        """``https://host``, or ``http://`` for loopback where that is switched on."""
        plain = self._options.plain_http and is_loopback(_host_of(host))
        return f"{'http' if plain else 'https'}://{host}"

    def get(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
    ) -> Response:
        """GET, with redirects and tries.

        Raises:
            RegistryForbidden: the URL or a redirect is outside what may be contacted.
            RegistryUnavailable: no answer, or too many redirects.
            RegistryContentInvalid: the body is larger than ``max_bytes``.
        """
        return self._patiently(lambda: self._follow(url, max_bytes, dict(headers or {}), authorization))

    def post_form(self, url: str, fields: Iterable[tuple[str, str]], *, max_bytes: int) -> Response:
        """POST of a form; redirects are answers, not followed: a form may hold a secret.

        Raises:
            RegistryForbidden, RegistryUnavailable, RegistryContentInvalid: as ``get``.
        """
        body = urlencode(list(fields)).encode("ascii")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._patiently(lambda: self._once("POST", url, max_bytes, headers, body))

    def close(self) -> None:
        """Close every connection."""
        self._pool.clear()

    def _patiently(self, send: Callable[[], Response]) -> Response:
        pause = _FIRST_PAUSE_S
        for _ in range(_TRIES - 1):
            response = send()
            if response.status not in _SLOW_DOWN:
                return response
            self._sleep(_pause(response.headers.get("retry-after"), pause))
            pause *= 2
        return send()

    def _follow(
        self, url: str, max_bytes: int, headers: dict[str, str], authorization: str | None
    ) -> Response:
        for _ in range(MAX_REDIRECTS + 1):
            sent = headers if authorization is None else headers | {"Authorization": authorization}
            response = self._once("GET", url, max_bytes, sent, None)
            target = response.headers.get("location")
            if response.status not in _REDIRECTS or target is None:
                return response
            following = _joined(url, target)
            if origin_of(following) != origin_of(url):
                authorization = None
            if url.startswith("https:") and not following.startswith("https:"):
                raise RegistryForbidden(f"a redirect leaves https: {shown(following)}")
            url = following
        raise RegistryUnavailable(f"more than {MAX_REDIRECTS} redirects: {shown(url)}")

    def _once(
        self, method: str, url: str, max_bytes: int, headers: Mapping[str, str], body: bytes | None
    ) -> Response:
        self._require_permitted(url)
        deadline = self._clock() + self._options.timeout_s
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                data = self._read(answer, url, max_bytes, deadline)
            except BaseException:
                answer.close()  # half-read: not for the pool
                raise
            answer.release_conn()
        except (HTTPError, OSError, ValueError) as error:
            # Without its cause: what the library says may quote the URL's query.
            raise RegistryUnavailable(f"no answer: {shown(url)} ({type(error).__name__})") from None
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise RegistryContentInvalid(f"the answer is encoded, which was not asked for: {shown(url)}")
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, names, data, url)

    def _read(self, answer: urllib3.BaseHTTPResponse, url: str, max_bytes: int, deadline: float) -> bytes:
        announced = answer.headers.get("Content-Length", "")
        if _DECIMAL.match(announced) and int(announced) > max_bytes:
            raise RegistryContentInvalid(f"{announced} bytes, the limit is {max_bytes}: {shown(url)}")
        body = bytearray()
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if len(body) > max_bytes:
                raise RegistryContentInvalid(f"more than {max_bytes} bytes: {shown(url)}")
            if self._clock() > deadline:
                raise RegistryUnavailable(f"not complete after {self._options.timeout_s} s: {shown(url)}")
        return bytes(body)

    def _require_permitted(self, url: str) -> None:
        if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise RegistryForbidden("a URL is too long, or has a character that needs escaping")
        scheme, host, port = origin_of(url)
        if scheme == "http":
            if not (self._options.plain_http and is_loopback(host)):
                raise RegistryForbidden(
                    f"plain http: {shown(url)}",
                    advice="Use https; plain http is for loopback alone, and switched on explicitly.",
                )
        elif scheme != "https":
            raise RegistryForbidden(f"neither https nor http: {shown(url)}")
        shown_host = f"[{host}]" if ":" in host else host
        names = {f"{shown_host}:{port}"} | ({shown_host} if port == _DEFAULT_PORTS[scheme] else set[str]())
        if not names & self._allowed:
            raise RegistryForbidden(
                f"the host is not one that may be contacted: {shown(url)}", details={"host": shown_host}
            )


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454 section 4).

    Raises:
        RegistryForbidden: not a URL, or one with credentials in it.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise RegistryForbidden("a URL cannot be parsed") from None
    if not host or parts.username is not None or parts.password is not None:
        raise RegistryForbidden("a URL has no host, or credentials in it")
    return parts.scheme, host, port or _DEFAULT_PORTS.get(parts.scheme, 0)


def shown(url: str) -> str:
    """A URL for a message: scheme, host and path, printable and bounded; no query, no user."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
        text = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        return "(not a URL)"
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise RegistryForbidden("a redirect is not a URL") from None


def _host_of(host: str) -> str:
    return origin_of(f"https://{host}")[1]


def _pause(retry_after: str | None, otherwise: float) -> float:
    """Seconds to wait: what is asked for in seconds (RFC 9110 section 10.2.3), within our bounds."""
    asked = float(retry_after) if retry_after is not None and _DECIMAL.match(retry_after) else otherwise
    return min(max(asked, _FIRST_PAUSE_S), _MAX_PAUSE_S)
