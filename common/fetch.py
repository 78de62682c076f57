"""Fetching from a short list of hosts, over HTTPS, with everything bounded.

Order of one fetch: URL against the allow-list; cache; back-off; resolve; addresses; connect to the one
address that was checked (the name is verified in TLS against the URL's host, not against DNS again);
status; size and time while reading.

Invariants:

* No URL out of evidence or an attestation reaches a fetcher: callers build URLs from constants.
* Only ``https``, only listed hosts, no redirects, no proxy from the environment, no content coding.
* A host that resolves to a private, loopback or link-local address is refused, also if only one of its
  addresses is; so that DNS cannot point a listed name into the inside.
* One fetch per URL at a time; answers are kept for a while, failures for a shorter while; a 429 or 503
  silences its host for as long as it asks, within bounds.
* Failure raises. Nothing is assumed in place of what could not be fetched.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from common.errors import FetchFailed, FetchForbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

HTTPS_PORT: Final = 443
_MIN_BACK_OFF_S: Final = 10.0  # AMD's service allows about one VCEK per client and 10 s
_MAX_BACK_OFF_S: Final = 600.0
_MAX_CACHED: Final = 256
_CHUNK: Final = 64 * 1024
_OK: Final = 200
_SLOW_DOWN: Final = (429, 503)
_MAX_URL: Final = 2048
_MAX_HEADER_BYTES: Final = 64 * 1024  # of all headers of an answer


class Answer(msgspec.Struct, frozen=True):
    """A successful answer.

    Attributes:
        body: its bytes.
        headers: name in lower case to value; of a repeated header the values joined by commas.
    """

    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Fetcher(Protocol):
    """Gets the bytes behind a URL."""

    def fetch(self, url: str) -> bytes:
        """The body of a successful answer.

        Raises:
            FetchForbidden: the URL is outside what may be fetched.
            FetchFailed: no answer, or not a good one; ``details["status"]`` where there was a status.
        """


@runtime_checkable
class AnswerFetcher(Protocol):
    """A fetcher that also gives the headers, where a protocol keeps part of the answer in them."""

    def fetch(self, url: str) -> bytes:
        """As ``Fetcher.fetch``."""

    def fetch_answer(self, url: str) -> Answer:
        """As ``fetch``, with the headers."""


def answer_of(fetcher: Fetcher, url: str) -> Answer:
    """The answer behind a URL; without headers where the fetcher gives none.

    Raises:
        FetchForbidden, FetchFailed: see ``Fetcher``.
    """
    return fetcher.fetch_answer(url) if isinstance(fetcher, AnswerFetcher) else Answer(fetcher.fetch(url))


class OfflineFetcher:
    """Fetches nothing: for installations that bring their collateral with them."""

    def fetch(self, url: str) -> bytes:
        """Refuse.

        Raises:
            FetchFailed: always.
        """
        raise FetchFailed(
            f"fetching is off: {_shown(url)}",
            advice="Put the file into the collateral folder, or enable fetching.",
        )


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one fetch and of the memory of them, in seconds and bytes.

    Attributes:
        timeout_s: from connecting to the last byte.
        max_bytes: of the body.
        keep_s: how long an answer is given again without asking.
        keep_failure_s: how long a failure is.
    """

    timeout_s: float = 10.0
    max_bytes: int = 1 << 20
    keep_s: float = 60.0
    keep_failure_s: float = 60.0


class HttpFetcher:
    """Fetches over HTTPS.

    Args:
        allowed_hosts: ``host`` or ``host:port``, lower case; exact, no wildcards.
        limits: bounds.
        ca_file: PEM bundle that replaces the system's authorities.
        allow_private: also connect to private, loopback and link-local addresses (a mirror inside).
        resolve: name and port to addresses; the system's resolver by default.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str],
        *,
        limits: FetchLimits | None = None,
        ca_file: Path | None = None,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet."""
        self._allowed = frozenset(_with_port(host) for host in allowed_hosts)
        self._limits = limits or FetchLimits()
        self._ca_file = None if ca_file is None else str(ca_file)
        self._allow_private = allow_private
        self._resolve = resolve or _system_resolver
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, threading.Event] = {}
        self._known: OrderedDict[str, tuple[float, Answer | FetchFailed]] = OrderedDict()
        self._silent_until: dict[tuple[str, int], float] = {}

    def fetch(self, url: str) -> bytes:
        """The body behind ``url``; see ``fetch_answer``.

        Raises:
            FetchForbidden: see ``Fetcher``.
            FetchFailed: see ``Fetcher``.
        """
        return self.fetch_answer(url).body

    def fetch_answer(self, url: str) -> Answer:
        """The answer behind ``url``; concurrent calls for one URL share one request.

        Raises:
            FetchForbidden: see ``Fetcher``.
            FetchFailed: see ``Fetcher``.
        """
        host, port, target = self._permitted(url)
        while True:
            with self._lock:
                known = self._remembered(url)
                waiting = None if known is not None else self._running.get(url)
                if known is None and waiting is None:
                    self._running[url] = threading.Event()
            if known is not None:
                return _given(known)
            if waiting is None:
                return self._fetch_and_tell(url, host, port, target)
            waiting.wait(self._limits.timeout_s * 2)

    def _permitted(self, url: str) -> tuple[str, int, str]:
        """Host, port and request target of a URL on the allow-list."""
        if len(url) > _MAX_URL or not url.isascii() or not url.isprintable():
            raise FetchForbidden("the URL is too long, or has a character that needs escaping")
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or HTTPS_PORT
        except ValueError as error:
            raise FetchForbidden("the URL cannot be parsed") from error
        if parts.scheme != "https" or parts.username is not None or parts.fragment or "\\" in url:
            raise FetchForbidden(f"only plain https URLs are fetched: {_shown(url)}")
        if (host, port) not in self._allowed:
            raise FetchForbidden(f"the host is not on the allow-list: {_shown(url)}")
        target = parts.path or "/"
        return host, port, f"{target}?{parts.query}" if parts.query else target

    def _remembered(self, url: str) -> Answer | FetchFailed | None:
        entry = self._known.get(url)
        if entry is None or entry[0] <= self._clock():
            return None
        self._known.move_to_end(url)
        return entry[1]

    def _fetch_and_tell(self, url: str, host: str, port: int, target: str) -> Answer:
        """Fetch; whatever comes of it, remember it and wake those who wait."""
        result: Answer | FetchFailed = FetchFailed(f"the fetch was interrupted: {_shown(url)}")
        keep = 0.0
        try:
            result = self._fetch(url, (host, port), target)
            keep = self._limits.keep_s
        except FetchFailed as error:
            result, keep = error, self._limits.keep_failure_s
        finally:
            with self._lock:
                self._known[url] = (self._clock() + keep, result)
                while len(self._known) > _MAX_CACHED:
                    self._known.popitem(last=False)
                self._running.pop(url).set()
        return _given(result)

    def _fetch(self, url: str, host: tuple[str, int], target: str) -> Answer:
        name, port = host
        wait = self._silent_until.get(host, 0.0) - self._clock()
        if wait > 0:
            raise FetchFailed(
                f"{name} asked for silence, {wait:.0f} s of it remain", details={"host": name}
            )
        address = self._address(name, port)
        deadline = self._clock() + self._limits.timeout_s
        # Connected to the checked address; certificate and SNI are for the name.
        pool = urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=urllib3.Timeout(total=self._limits.timeout_s),
            retries=False,
            maxsize=1,
            cert_reqs="CERT_REQUIRED",
            ca_certs=self._ca_file,
            assert_hostname=name,
            server_hostname=name,
        )
        asked = {"Host": name if port == HTTPS_PORT else f"{name}:{port}", "Accept-Encoding": "identity"}
        try:
            response = pool.request(
                "GET", target, headers=asked, redirect=False, preload_content=False, decode_content=False
            )
            with response:
                self._require_ok(response, url, host)
                headers = _headers(response, url)
                return Answer(self._read(response, url, deadline), headers)
        except (HTTPError, OSError) as error:
            raise FetchFailed(f"no answer: {_shown(url)} ({type(error).__name__})") from error
        finally:
            pool.close()

    def _address(self, name: str, port: int) -> str:
        try:
            addresses = list(self._resolve(name, port))
        except OSError as error:
            raise FetchFailed(f"{name} cannot be resolved") from error
        if not addresses:
            raise FetchFailed(f"{name} has no address")
        if not self._allow_private and not all(_is_public(address) for address in addresses):
            raise FetchForbidden(
                f"{name} resolves to an address that is not public",
                advice="A listed name points inside: check DNS, or permit private addresses for a mirror.",
            )
        return addresses[0]

    def _require_ok(self, response: urllib3.BaseHTTPResponse, url: str, host: tuple[str, int]) -> None:
        if response.status in _SLOW_DOWN:
            asked = response.headers.get("Retry-After"), response.headers.get("Date")
            self._silent_until[host] = self._clock() + _back_off(*asked)
        if response.status != _OK:
            raise FetchFailed(
                f"status {response.status}: {_shown(url)}",
                details={"status": response.status, "host": host[0]},
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchFailed(f"the answer is encoded, which was not asked for: {_shown(url)}")

    def _read(self, response: urllib3.BaseHTTPResponse, url: str, deadline: float) -> bytes:
        limit = self._limits.max_bytes
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise FetchFailed(f"more than {limit} bytes: {_shown(url)}")
            if self._clock() > deadline:
                raise FetchFailed(f"not complete after {self._limits.timeout_s} s: {_shown(url)}")
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) != len(body):
            raise FetchFailed(f"{len(body)} bytes of {announced}: {_shown(url)}")
        return bytes(body)


def _headers(response: urllib3.BaseHTTPResponse, url: str) -> Mapping[str, str]:
    found = {name.lower(): value for name, value in response.headers.items()}
    if sum(len(name) + len(value) for name, value in found.items()) > _MAX_HEADER_BYTES:
        raise FetchFailed(f"more than {_MAX_HEADER_BYTES} bytes of headers: {_shown(url)}")
    return MappingProxyType(found)


def _given(result: Answer | FetchFailed) -> Answer:
    if isinstance(result, Answer):
        return result
    # A fresh error each time: one exception object raised in several threads would mix tracebacks.
    raise FetchFailed(result.message, advice=result.advice, details=result.details)


def _with_port(host: str) -> tuple[str, int]:
    name, separator, port = host.lower().rpartition(":")
    if not separator:
        return host.lower(), HTTPS_PORT
    if not port.isdecimal() or not name:
        raise FetchForbidden(f"an allowed host is not host or host:port: {host!r}")
    return name, int(port)


def _system_resolver(name: str, port: int) -> list[str]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _is_public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return ip.is_global and not ip.is_multicast


def _back_off(retry_after: str | None, date: str | None) -> float:
    """Seconds of silence: what the host asks for (RFC 9110 section 10.2.3), within our bounds."""
    asked = _MIN_BACK_OFF_S
    if retry_after is not None and retry_after.isdecimal():
        asked = float(retry_after[:9])
    elif retry_after is not None and date is not None:
        # A date is held against the host's own clock: ours may differ from it.
        try:
            asked = (parsedate_to_datetime(retry_after) - parsedate_to_datetime(date)).total_seconds()
        except (ValueError, TypeError):
            asked = _MIN_BACK_OFF_S
    return min(max(asked, _MIN_BACK_OFF_S), _MAX_BACK_OFF_S)


def _shown(url: str) -> str:
    """A URL for a message: printable and bounded."""
    return "".join(character if character.isprintable() else "?" for character in url[:200])
