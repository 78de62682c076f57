"""Metrics of what expires and of files that are taken up while the server runs.

Every process may set the gauges; over several processes the latest setting counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from service.metrics import REGISTRY

if TYPE_CHECKING:
    from datetime import datetime

_NOT_AFTER = Gauge(
    "touchstone_certificate_not_after_seconds",
    "When the first certificate of a role expires, since the epoch.",
    ("role",),
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
_NEXT_ROTATION = Gauge(
    "touchstone_signing_key_next_rotation_seconds",
    "When the token-signing key changes next, since the epoch; 0 if nothing is planned.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
_ACTIVE_SINCE = Gauge(
    "touchstone_signing_key_active_since_seconds",
    "Since when the present token-signing key signs, since the epoch.",
    multiprocess_mode="mostrecent",
    registry=REGISTRY,
)
_RELOADS = Counter(
    "touchstone_reload_failures",
    "Changed files that were not usable, so that the former state stays.",
    ("what",),
    registry=REGISTRY,
)


def certificate_expires(role: str, at: datetime) -> None:
    """Note when the certificates of a role expire."""
    _NOT_AFTER.labels(role).set(at.timestamp())


def signing_key(active_since: datetime, next_rotation: datetime | None) -> None:
    """Note the times of the token-signing key."""
    _ACTIVE_SINCE.set(active_since.timestamp())
    _NEXT_ROTATION.set(0 if next_rotation is None else next_rotation.timestamp())


def reload_failed(what: str) -> None:
    """Count a change that could not be taken up (``tls``, ``token_keys``, ``trusted_issuers``)."""
    _RELOADS.labels(what).inc()
