"""TLS files of a server, taken up while it runs.

``TlsWatch`` looks at the files at most once a second, when it is asked. Where one of them changed, all
are read and checked together, and only a whole, matching set replaces the present one; otherwise the
present one stays, with an error in the log and ``touchstone_reload_failures_total{what="tls"}``. Open
connections keep what they began with.

``TlsContexts`` makes an ``ssl.SSLContext`` of each set, for gunicorn. A gRPC server gets the bytes:
``TlsWatch.changed`` is what its certificate fetcher needs (``grpc.dynamic_ssl_server_credentials``).

A context asks its TLS library for client certificates as the settings say; the library verifies them in
the handshake. What then stands in the socket (``peer_certificate``) has been verified.
"""

from __future__ import annotations

import logging
import os
import ssl
import stat
import threading
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.errors import InvalidSetting, TouchstoneError
from common.files import read_limited
from common.watch import WatchedFiles
from service.certificates import public_bytes
from service.errors import ClientCertificateMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.sections import ServerSettings

_LOG = logging.getLogger("touchstone.tls")
_MAX_PEM_BYTES = 1 << 20
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"off": ssl.CERT_NONE, "admin": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class TlsPair(msgspec.Struct, frozen=True):
    """One consistent reading of the files.

    Attributes:
        certificate_chain: PEM, leaf first.
        private_key: PEM; never shown in a representation.
        client_ca: PEM authorities of client certificates, if there are any.
    """

    certificate_chain: bytes
    private_key: bytes
    client_ca: bytes | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return "TlsPair(...)"


def read_pair(certificate: Path, key: Path, client_ca: Path | None = None) -> TlsPair:
    """Read the files and check that they belong together.

    Raises:
        NotFound: a file cannot be read.
        InvalidSetting: not PEM certificates, not an unencrypted PEM private key, a key that others may
            read, a key of another certificate, or no authority.
    """
    chain = read_limited(certificate, what="[server] tls_certificate", max_bytes=_MAX_PEM_BYTES)
    private = read_limited(key, what="[server] tls_key", max_bytes=_MAX_PEM_BYTES)
    if key.stat().st_mode & stat.S_IRWXO:  # a group is usual: secrets that are mounted into containers
        raise InvalidSetting(
            f"[server] tls_key: {key} can be read by others",
            advice=f"chmod 600 {key}, and replace the key if it may have been read.",
        )
    leaf = load_certificates(chain, "[server] tls_certificate")[0]
    try:
        loaded = load_pem_private_key(private, password=None)
    except (ValueError, TypeError) as error:
        raise InvalidSetting("[server] tls_key is not an unencrypted PEM private key") from error
    if public_bytes(loaded.public_key()) != public_bytes(leaf.public_key()):
        raise InvalidSetting("[server] tls_key is not the key of tls_certificate")
    authorities = None
    if client_ca is not None:
        authorities = read_limited(client_ca, what="[server] tls_client_ca", max_bytes=_MAX_PEM_BYTES)
        load_certificates(authorities, "[server] tls_client_ca")
    return TlsPair(chain, private, authorities)


def load_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one.

    Raises:
        InvalidSetting: it holds none, or one that cannot be parsed.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidSetting(f"{what} is not PEM certificates") from error


class TlsWatch:
    """The present state of the TLS files. Safe to use from many threads.

    Args:
        certificate: PEM chain.
        key: PEM private key.
        client_ca: PEM authorities of client certificates.

    Raises:
        NotFound: a file cannot be read.
        InvalidSetting: the files are not usable (``read_pair``).
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Read them for the first time."""
        self._files = WatchedFiles(
            [path for path in (certificate, key, client_ca) if path is not None],
            lambda: read_pair(certificate, key, client_ca),
            failed=_not_taken,
            changed=lambda: _LOG.info("new TLS files taken up"),
        )
        self._lock = threading.Lock()
        self._taken: TlsPair | None = None

    def current(self) -> TlsPair:
        """The last good set."""
        return self._files.current()

    def changed(self) -> TlsPair | None:
        """The last good set, if this method did not give it before; None otherwise."""
        pair = self.current()
        with self._lock:
            if pair is self._taken:
                return None
            self._taken = pair
        return pair


class TlsContexts:
    """An ``ssl.SSLContext`` of the present files.

    Args:
        watch: the files.
        minimum: lowest TLS version.
        clients: who must show a certificate; ``admin`` asks everybody and demands it of nobody.
    """

    def __init__(
        self,
        watch: TlsWatch,
        *,
        minimum: Literal["1.2", "1.3"],
        clients: Literal["off", "admin", "required"],
    ) -> None:
        """Make the first context."""
        self._watch = watch
        self._minimum = minimum
        self._clients = clients
        pair = watch.current()
        self._made = (pair, self._make(pair))

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        pair = self._watch.current()
        made, context = self._made
        if pair is not made:
            try:
                context = self._make(pair)
            except InvalidSetting as error:
                _count_failure()
                _LOG.error("the TLS files are not usable, the former ones stay: %s", error.message)
            self._made = (pair, context)
        return context

    def _make(self, pair: TlsPair) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self._minimum]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        try:
            _load_pair(context, pair)
            if pair.client_ca is not None:
                context.load_verify_locations(cadata=pair.client_ca.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise InvalidSetting("[server] the TLS library does not take the certificate or key") from error
        context.verify_mode = _VERIFY[self._clients]
        return context


def contexts_of(server: ServerSettings) -> TlsContexts | None:
    """The contexts of the settings; None without TLS.

    Raises:
        NotFound: a TLS file cannot be read.
        InvalidSetting: the files are not usable.
    """
    if server.tls_certificate is None or server.tls_key is None:
        return None
    watch = TlsWatch(server.tls_certificate, server.tls_key, server.tls_client_ca)
    return TlsContexts(watch, minimum=server.tls_min_version, clients=server.tls_client_certificates)


def peer_certificate(environ: Mapping[str, Any]) -> bytes | None:
    """The client's certificate, DER, verified in the handshake; None where it showed none.

    Only gunicorn tells: it puts the connection into the WSGI environment.
    """
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, ssl.SSLSocket) or connection.context.verify_mode == ssl.CERT_NONE:
        return None
    return connection.getpeercert(binary_form=True)


def require_client_certificate(environ: Mapping[str, Any]) -> None:
    """Demand that the caller showed a certificate.

    Raises:
        ClientCertificateMissing: it did not.
    """
    if peer_certificate(environ) is None:
        raise ClientCertificateMissing("this needs a client certificate")


def _not_taken(error: TouchstoneError) -> None:
    _count_failure()
    _LOG.error("the TLS files changed and are not usable, the former ones stay: %s", error.message)


def _count_failure() -> None:
    # Imported here: the metrics library looks at the environment when it is imported, and the server
    # process sets that up after this module is there (``service.server``).
    from service import expiry_metrics  # noqa: PLC0415

    expiry_metrics.reload_failed("tls")


def _load_pair(context: ssl.SSLContext, pair: TlsPair) -> None:
    """Load from memory: from the paths, a replacement in between could mix two sets."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pair.private_key.rstrip() + b"\n" + pair.certificate_chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)
