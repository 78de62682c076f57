"""Upkeep of keys and certificates beside requests: renewal, scheduled rotation, warnings before expiry.

One process of the server does it (``service.background``), every minute:

1. What is due in the folder of token-signing keys (``KeyFolder.maintain``).
2. Every certificate's end goes into ``touchstone_certificate_not_after_seconds{role}``: ``tls``,
   ``tls_client_ca``, ``token_signing``, ``token_ca`` and ``issuer:<name>`` of each trusted issuer. Of
   several certificates in one role the first to expire counts.
3. What expires within ``[server] expiry_warning_days`` is logged as a warning, once a day a role.

Every process sets the metrics once when it starts, so that they are there from the beginning.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from common.errors import TouchstoneError
from common.files import read_limited
from service import certificates, expiry_metrics, key_ring, keys, tls
from service.background import BackgroundThread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cryptography import x509

    from service.composition import Services

_LOG = logging.getLogger("touchstone.expiry")
_LOCK_FILE: Final = "expiry.lock"
_INTERVAL_S: Final = 60.0
_STOP_S: Final = 5.0
_ONCE: Final = timedelta(days=1)
_MAX_PEM_BYTES: Final = 1 << 20


class ExpiryWatch:
    """The thread.

    Args:
        services: settings, clock, keys.
        interval_s: from one look to the next.
    """

    def __init__(self, services: Services, *, interval_s: float = _INTERVAL_S) -> None:
        """Start nothing yet."""
        self._services = services
        self._interval_s = interval_s
        self._warned: dict[str, datetime] = {}
        self._thread: BackgroundThread | None = None

    def start(self) -> None:
        """Set the metrics, start the thread."""
        self.measure(self._services.clock())
        lock = self._services.settings.storage.data_dir / _LOCK_FILE
        self._thread = BackgroundThread("expiry", lock, self._interval_s, self.look)

    def close(self) -> None:
        """Stop after the present look."""
        if self._thread is not None:
            self._thread.close(_STOP_S)

    def look(self) -> None:
        """Renew, measure and warn."""
        now = self._services.clock()
        try:
            self._services.token_keys.maintain(now)
        except TouchstoneError as error:
            expiry_metrics.reload_failed("token_keys")
            _LOG.error("the token-signing keys cannot be maintained: %s", error.message)
        self._warn(self.measure(now), now)

    def measure(self, now: datetime) -> dict[str, datetime]:
        """Set the metrics; role to the end of its certificates."""
        ends = dict(self._ends(now))
        for role, end in ends.items():
            expiry_metrics.certificate_expires(role, end)
        ring = self._services.token_keys.ring(now)
        current = key_ring.present(ring, now)
        if current is not None:
            options = self._services.token_keys.folder.options
            expiry_metrics.signing_key(current.active_from, keys.next_rotation(ring, options, now))
        return ends

    def _warn(self, ends: dict[str, datetime], now: datetime) -> None:
        limit = timedelta(days=self._services.settings.server.expiry_warning_days)
        for role, end in ends.items():
            # A short-lived leaf of the local authority is renewed long before: no news while it is.
            if role == "token_signing" and end - now > self._renewed_within():
                continue
            warned = self._warned.get(role)
            if end - now > limit or (warned is not None and now - warned < _ONCE):
                continue
            self._warned[role] = now
            fields = {"role": role, "not_after": end.isoformat()}
            text = "expired" if end <= now else "expires soon"
            _LOG.warning("the certificate of %s %s", role, text, extra={"fields": fields})

    def _renewed_within(self) -> timedelta:
        options = self._services.token_keys.folder.options
        if options.certificate_chain is not None:
            return timedelta.max
        return options.certificate_lifetime / 3 - timedelta(hours=1)

    def _ends(self, now: datetime) -> Iterator[tuple[str, datetime]]:
        services = self._services
        server = services.settings.server
        yield from _of_file("tls", server.tls_certificate)
        yield from _of_file("tls_client_ca", server.tls_client_ca)
        current = key_ring.present(services.token_keys.ring(now), now)
        leaf = None if current is None else certificates.not_after(current.chain)
        if leaf is not None:
            yield "token_signing", leaf
        if services.token_keys.folder.options.certificate_chain is None:
            authority = services.token_keys.folder.authority()
            yield from _first("token_ca", [] if authority is None else [authority])
        for name, roots in services.foreign_tokens.roots().items():
            yield from _first(f"issuer:{name}", roots)


def _of_file(role: str, path: Path | None) -> Iterator[tuple[str, datetime]]:
    if path is None:
        return
    try:
        pem = read_limited(path, what=role, max_bytes=_MAX_PEM_BYTES)
        yield from _first(role, tls.load_certificates(pem, role))
    except TouchstoneError as error:
        _LOG.error("the certificate of %s cannot be read: %s", role, error.message)


def _first(role: str, found: Iterable[x509.Certificate]) -> Iterator[tuple[str, datetime]]:
    ends = [certificate.not_valid_after_utc for certificate in found]
    if ends:
        yield role, min(ends)
