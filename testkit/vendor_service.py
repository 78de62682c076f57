"""A vendor's collateral service on loopback, over TLS: answers by address, and every fault of its kind.

It counts what it is asked. Where an address has several replies they are given in turn, the last for ever.
"""

from __future__ import annotations

import ipaddress
import secrets
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OK = 200
_NOT_FOUND = 404
_SECONDS = 0.02


class Reply(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        body: what is sent.
        headers: beside its length.
        status: of the answer.
        delay_s: before the first byte.
        missing: bytes that are announced and not sent.
    """

    body: bytes = b""
    headers: Mapping[str, str] = {}
    status: int = _OK
    delay_s: float = 0.0
    missing: int = 0


def chained(body: bytes, header: str, chain: bytes) -> Reply:
    """An answer as Intel's service gives it: the chain of its signer URL-encoded in a header."""
    return Reply(body, {header: quote(chain.decode("ascii"), safe="")})


class VendorService:
    """The server; stopped by leaving its context.

    Args:
        folder: where its certificate and key are written.

    Attributes:
        replies: address (path and query) to its replies.
        asked: addresses, in the order in which they were asked for.
        url: its base.
        ca_file: PEM that its certificate is verified with.
    """

    def __init__(self, folder: Path) -> None:
        """Listen on a free port."""
        folder.mkdir(parents=True, exist_ok=True)
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[str] = []
        self.ca_file = folder / "service.pem"
        key_file = folder / "service.key"
        _write_certificate(self.ca_file, key_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(_SECONDS,), daemon=True).start()

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()

    def serve(self, address: str, *replies: Reply | bytes) -> None:
        """Set the replies of an address."""
        self.replies[address] = [Reply(item) if isinstance(item, bytes) else item for item in replies]

    def _next(self, address: str) -> Reply:
        with self._lock:
            self.asked.append(address)
            replies = self.replies.get(address)
            if not replies:
                return Reply(b"no", status=_NOT_FOUND)
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = service._next(self.path)
                time.sleep(reply.delay_s)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + reply.missing))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                return

        return Handler


def _write_certificate(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: verifiers tell authorities apart by theirs.
    common = f"vendor service {secrets.token_hex(8)}"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    start = datetime.now(UTC) - timedelta(hours=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_file.chmod(0o600)
