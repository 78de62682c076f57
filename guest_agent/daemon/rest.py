"""HTTP/1.1 on loopback: bounded threads, bounded requests, one request a connection.

Order for each connection: a place among ``max_requests``, or one of the few for those who are turned away
with 503; the head, within ``read_timeout_s``; the peer's address; ``Host`` and ``Origin``; the body; the
route.

Invariants:

* A caller that is not on loopback nor in ``peers`` is answered 403, whatever it asks.
* ``Host`` is an address or name of ours, or the address that was connected to. A page in a browser that had
  its own name point to 127.0.0.1 (DNS rebinding) sends that name, and is refused; a page that posts from
  elsewhere sends ``Origin``, likewise.
* An answer is whole: its length is sent first, and no part of it before all of it is there.
* Of an error that is not ours nothing leaves but that there was one.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BufferedReader
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from common.addresses import is_loopback
from common.errors import Malformed, TooLarge, TouchstoneError
from guest_agent.daemon.config_checks import address, networks
from guest_agent.daemon.connections import DeadlineReader, TooSlow, linger
from guest_agent.daemon.routes import JSON, Answer, MethodWrong
from guest_agent.daemon.statuses import INTERNAL_DOCUMENT, document_of, status_of
from guest_agent.errors import AddressInUse, Busy, PeerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guest_agent.daemon.config import Rest
    from guest_agent.daemon.routes import Routes

_LOG: Final = logging.getLogger("touchstone.guest.rest")
_OK: Final = 200
_NOT_ALLOWED: Final = 405
_NOT_IMPLEMENTED: Final = 501
_MAX_HEAD: Final = 64 << 10
_WRITE_S: Final = 10.0
_POLL_S: Final = 0.1
_HTTP_1_1: Final = "HTTP/1.1"
_HTTP_1_0: Final = "HTTP/1.0"
_OVERFLOW: Final = 8
_TIMEOUT: Final = 408
_TOO_SLOW: Final = {
    "code": "input.timeout",
    "detail": "the request did not come in time",
    "advice": "Send the whole request at once.",
}


class RestServer:
    """The running interface.

    Args:
        settings: where and how.
        routes: answers.

    Raises:
        AddressInUse: another process listens there.
    """

    def __init__(self, settings: Rest, routes: Routes) -> None:
        """Bind; nothing is answered yet."""
        self._server = _Server(settings, routes)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="rest", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it is served."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self, grace_s: float) -> None:
        """Accept nothing more, and wait for what is being worked on.

        Args:
            grace_s: seconds; what is not finished then is cut off when the process ends.
        """
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.drain(grace_s)


class _Server(HTTPServer):
    """Threads by the request, no more than there are places."""

    allow_reuse_address = True
    allow_reuse_port = False
    request_queue_size = 128

    def __init__(self, settings: Rest, routes: Routes) -> None:
        host, port = address(settings.listen, what="rest.listen")
        self.settings = settings
        self.routes = routes
        self.peers = networks(settings)
        self.names = frozenset({host, *settings.names})
        self._places = threading.BoundedSemaphore(settings.max_requests)
        self._overflow = threading.BoundedSemaphore(_OVERFLOW)
        self._idle = threading.Condition()
        self._working = 0
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise AddressInUse(f"cannot listen on {settings.listen} ({error.strerror})") from error

    def server_bind(self) -> None:
        """Bind, without asking DNS for our own name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread; with every place taken, one that says so."""
        for places, handler in ((self._places, _Handler), (self._overflow, _BusyHandler)):
            if places.acquire(blocking=False):
                with self._idle:
                    self._working += 1
                arguments = (request, client_address, handler, places)
                threading.Thread(
                    target=self._work, args=arguments, name="rest-request", daemon=True
                ).start()
                return
        self.shutdown_request(request)

    def drain(self, grace_s: float) -> None:
        """Wait until nothing is worked on, at most so long."""
        with self._idle:
            self._idle.wait_for(lambda: self._working == 0, grace_s)

    def _work(
        self, request: Any, client_address: Any, kind: type[_Handler], places: threading.BoundedSemaphore
    ) -> None:
        try:
            handler = kind(request, client_address, self)
            if handler.unread:
                linger(request)
        except OSError:  # a connection that broke is the caller's affair
            _LOG.debug("a connection ended early")
        finally:
            self.shutdown_request(request)
            places.release()
            with self._idle:
                self._working -= 1
                self._idle.notify_all()


class _Internal(TouchstoneError):
    """Our own fault: its cause is in the log."""

    def __init__(self) -> None:
        super().__init__("the guest agent failed")


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: _Server
    unread = False
    protocol_version = _HTTP_1_1
    server_version = "touchstone-guest"
    sys_version = ""

    def setup(self) -> None:
        """Read by a deadline in place of a time-out for each byte."""
        super().setup()
        self.rfile.close()
        self.rfile = BufferedReader(
            DeadlineReader(self.connection, self.server.settings.read_timeout_s), _MAX_HEAD
        )

    def handle(self) -> None:
        """Read the head, then answer."""
        self.close_connection = True
        self.requestline, self.request_version, self.command, self.path = "", _HTTP_1_1, "", ""
        try:
            self.raw_requestline = self.rfile.readline(_MAX_HEAD + 1)
            if len(self.raw_requestline) > _MAX_HEAD:
                self._refuse(TooLarge("the request line is too long"))
            elif self.raw_requestline and self.parse_request():
                self._answer()
        except TooSlow:
            self._send(_TIMEOUT, msgspec.json.encode(_TOO_SLOW), JSON)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: a head that is no HTTP."""
        del message, explain
        if code == _NOT_IMPLEMENTED:
            self._refuse_method("GET")
        else:
            self._refuse(Malformed("the request is not HTTP/1.1 as it should be"))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: ``_send`` logs, without what the caller wrote."""

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            self._require_peer()
            self._require_names()
            answer = self._routed(path, query, self._body())
        except MethodWrong as error:
            self._refuse_method(error.allowed)
        except TouchstoneError as error:
            self._refuse(error)
        else:
            self._send(_OK, answer.body, answer.content_type)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _answer  # noqa: N815 (the base class's names)

    def _routed(self, path: str, query: str, body: bytes) -> Answer:
        """The route's answer.

        Raises:
            MethodWrong, TouchstoneError: see ``Routes.answer``; ``_Internal`` for what is our fault.
        """
        try:
            return self.server.routes.answer(self.command, path, query, body)
        except (MethodWrong, TouchstoneError):
            raise
        except Exception as error:
            _LOG.exception("a request failed")
            raise _Internal from error

    def _require_peer(self) -> None:
        peer = ipaddress.ip_address(str(self.client_address[0]).partition("%")[0])
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        if not mapped.is_loopback and not any(mapped in network for network in self.server.peers):
            raise PeerRefused("only callers inside the guest are answered")

    def _require_names(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != _HTTP_1_0):
            raise Malformed("a request has one Host")
        for host in hosts:
            self._require_name(_host_of(f"//{host}"))
        for origin in self.headers.get_all("Origin", []):
            self._require_name(_host_of(origin))

    def _require_name(self, host: str | None) -> None:
        ours = host is not None and (is_loopback(host) or host in {*self.server.names, self._own_address()})
        if not ours:
            raise PeerRefused("the request is for another host, or comes from a page of one")

    def _own_address(self) -> str:
        """The address that was connected to: no page can have it as the name of another host."""
        return str(self.connection.getsockname()[0]).removeprefix("::ffff:")

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            raise Malformed("a request body has a Content-Length and no other encoding")
        lengths = self.headers.get_all("Content-Length", ["0"])
        if len(lengths) > 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            raise Malformed("a request has one Content-Length, a number")
        limit = self.server.settings.max_body
        if len(lengths[0]) > len(str(limit)) or int(lengths[0]) > limit:
            raise TooLarge(f"a request body has at most {limit} bytes")
        body = self.rfile.read(int(lengths[0]))
        if len(body) != int(lengths[0]):
            raise Malformed("the request body is shorter than its Content-Length")
        return body

    def _refuse(self, error: TouchstoneError) -> None:
        self.unread = True
        status, _ = status_of(error)
        document = dict(INTERNAL_DOCUMENT) if isinstance(error, _Internal) else document_of(error)
        _LOG.info("refused", extra={"fields": {"status": status, "code": document["code"]}})
        self._send(status, msgspec.json.encode(document), JSON)

    def _refuse_method(self, allowed: str) -> None:
        document = {
            "code": "input.method",
            "detail": "the path has no such method",
            "advice": f"Use {allowed}.",
        }
        self._send(_NOT_ALLOWED, msgspec.json.encode(document), JSON, {"Allow": allowed})

    def _send(
        self, status: int, body: bytes, content_type: str, more: Mapping[str, str] | None = None
    ) -> None:
        self.connection.settimeout(_WRITE_S)
        self.request_version = _HTTP_1_1  # the base class leaves the head out for what it takes as 0.9
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Date", self.date_time_string())
        self.send_header("Connection", "close")
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _BusyHandler(_Handler):
    """Says that there is no place."""

    def _answer(self) -> None:
        self._refuse(Busy(f"{self.server.settings.max_requests} requests are being worked on"))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _answer  # noqa: N815


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return None if parts.username is not None or parts.path not in {"", "/"} else host
