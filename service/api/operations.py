"""What operators, probes and relying parties read: health, readiness, metrics, keys, the API itself."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec
from flask import request

from service import metrics, openapi, profile, tls
from service.access import Scope
from service.readiness import ReadinessCheck, check_readiness
from service.routing import Answer, Call, RouteTable

if TYPE_CHECKING:
    from service.composition import Services

ROUTES = RouteTable("operations")
_PUBLIC_CACHE = {"Cache-Control": "public, max-age=300"}


class Health(msgspec.Struct, frozen=True):
    """Answer of ``/healthz``.

    Attributes:
        status: ``ok``; ``insecure`` while a switch that weakens verdicts is on.
        profile: ``production`` or ``development``.
        insecure: each such switch, in words.
        version: of the product.
    """

    status: str
    profile: str
    insecure: tuple[str, ...]
    version: str


class Readiness(msgspec.Struct, frozen=True):
    """Answer of ``/readyz``: whether requests can be served, and what was looked at."""

    ready: bool
    checks: tuple[ReadinessCheck, ...]


class JwkSet(msgspec.Struct, frozen=True):
    """A JWK Set (RFC 7517 section 5)."""

    keys: list[dict[str, str]]


@ROUTES.add("GET", "/healthz", answers={200: Health}, open_to_all=True)
def healthz(services: Services, call: Call) -> Answer:
    """Say that the process answers, in which profile, and what is insecure about it."""
    del call
    switches = profile.insecure_switches(services.settings)
    return Answer(
        200,
        Health(
            status="insecure" if switches else "ok",
            profile=services.settings.profile,
            insecure=switches,
            version=metadata.version("touchstone"),
        ),
    )


@ROUTES.add("GET", "/readyz", answers={200: Readiness, 503: Readiness}, open_to_all=True)
def readyz(services: Services, call: Call) -> Answer:
    """Say whether database, keys and policies are there."""
    del call
    checks = check_readiness(services)
    ready = all(check.ok for check in checks)
    return Answer(200 if ready else 503, Readiness(ready, checks))


@ROUTES.add(
    "GET",
    "/metrics",
    answers={200: bytes},
    open_to_all=True,
    problems=(401, 403),
    content_type=metrics.CONTENT_TYPE,
)
def prometheus(services: Services, call: Call) -> Answer:
    """Give the metrics of every worker, to whom `[server] metrics` admits."""
    if not _metrics_open(services):
        if services.settings.server.tls_client_certificates == "admin":
            tls.require_client_certificate(request.environ)
        principal = services.tokens.authenticate(request.headers.get("Authorization"), call.now)
        principal.require(Scope.METRICS_READ)
    return Answer(200, metrics.exposition(), content_type=metrics.CONTENT_TYPE)


@ROUTES.add("GET", "/.well-known/jwks.json", answers={200: JwkSet}, open_to_all=True)
def keys(services: Services, call: Call) -> Answer:
    """Give the keys that attestation results verify with: the present one first."""
    return Answer(200, services.token_keys.jwks(call.now), headers=_PUBLIC_CACHE)


@ROUTES.add("GET", "/openapi.json", answers={200: dict[str, Any]}, open_to_all=True)
def describe(services: Services, call: Call) -> Answer:
    """Give this API's OpenAPI 3.1 document."""
    del call
    return Answer(200, _document(services.settings.server.public_url), headers=_PUBLIC_CACHE)


def _metrics_open(services: Services) -> bool:
    """Whether this caller may read the metrics without a token.

    Behind a proxy every caller comes from the proxy's address: loopback proves nothing there.
    """
    server = services.settings.server
    if server.metrics == "open":
        return True
    if server.metrics == "token" or server.behind_tls_proxy:
        return False
    return profile.is_loopback(request.remote_addr or "")


@lru_cache(maxsize=4)
def _document(url: str | None) -> bytes:
    from service.api import TABLES  # noqa: PLC0415 (this table is one of them)

    return msgspec.json.encode(openapi.build(TABLES, version=metadata.version("touchstone"), url=url))
