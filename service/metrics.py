"""Prometheus metrics, across all worker processes.

Under gunicorn ``service.server`` sets ``PROMETHEUS_MULTIPROC_DIR`` before this module is imported: the
client library then keeps each process's values in files of that folder and ``exposition`` adds them
up. Labels are routes, methods, codes and statuses: never an id, a name or an address of a caller.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.observability import MULTIPROCESS_VARIABLE

if TYPE_CHECKING:
    from datetime import datetime

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REGISTRY = CollectorRegistry()
REGISTRY = _REGISTRY  # for modules with metrics of their own
_REQUESTS = Counter(
    "touchstone_requests",
    "Requests by route and status.",
    ("method", "route", "status"),
    registry=_REGISTRY,
)
_SECONDS = Histogram(
    "touchstone_request_seconds",
    "Time from the route's start to its answer.",
    ("method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
    registry=_REGISTRY,
)
_ERRORS = Counter("touchstone_errors", "Refusals by error code.", ("code",), registry=_REGISTRY)
_APPRAISALS = Counter(
    "touchstone_appraisals", "Appraisals by TEE and EAR status.", ("tee", "status"), registry=_REGISTRY
)
_SOURCE_PULLS = Counter(
    "touchstone_source_pulls", "Pulls of sources.", ("source", "outcome"), registry=_REGISTRY
)
_SOURCE_ATTESTATIONS = Counter(
    "touchstone_source_attestations",
    "Attestations that pulls of sources stored, and that they refused.",
    ("source", "outcome"),
    registry=_REGISTRY,
)
# Over several processes the latest counts: one pulls at a time.
_SOURCE_TIME = Gauge(
    "touchstone_source_last_seconds",
    "When a source was last pulled, since the epoch, by outcome.",
    ("source", "outcome"),
    multiprocess_mode="max",
    registry=_REGISTRY,
)
_RELEASES = Counter("touchstone_releases", "Secrets released, by kind.", ("kind",), registry=_REGISTRY)


def request_done(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    counter, histogram = _of_request(method, route, status)
    counter.inc()
    histogram.observe(seconds)


def refused(code: str) -> None:
    """Count one refusal."""
    _ERRORS.labels(code).inc()


def appraised(tee: str, status: str) -> None:
    """Count one appraisal."""
    _APPRAISALS.labels(tee, status).inc()


def released(kind: str) -> None:
    """Count one released secret (``resource`` or ``key``)."""
    _RELEASES.labels(kind).inc()


def source_pulled(source: str, now: datetime, *, added: int, refused: int) -> None:
    """Count one good pull of a source of the settings."""
    _SOURCE_PULLS.labels(source, "success").inc()
    _SOURCE_ATTESTATIONS.labels(source, "stored").inc(added)
    _SOURCE_ATTESTATIONS.labels(source, "refused").inc(refused)
    _SOURCE_TIME.labels(source, "success").set(now.timestamp())


def source_failed(source: str, now: datetime) -> None:
    """Count one pull of a source that failed."""
    _SOURCE_PULLS.labels(source, "failure").inc()
    _SOURCE_TIME.labels(source, "failure").set(now.timestamp())


def exposition() -> bytes:
    """The text exposition: of every worker under gunicorn, of this process otherwise."""
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if not folder:
        return generate_latest(_REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


@lru_cache(maxsize=1024)
def _of_request(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    # Looking a label set up costs more than counting: routes and statuses are few, so they are kept.
    return _REQUESTS.labels(method, route, str(status)), _SECONDS.labels(method, route)
