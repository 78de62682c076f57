"""Who may write policies and reference values of the Confidential Containers services, over any front end.

Policies and reference values are the same ones that administrators change over the KBS API, and so are the
rights. A token of ours (``ts_...``) needs the scope; any other bearer token is that of an administrator of
the KBS and needs a rule for the KBS route that does the same (``POST /kbs/v0/attestation-policy``, ``POST
/kbs/v0/reference-value``): one set of rules says it for REST, gRPC and KBS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from service.access import Scope
from wire.kbs import BASE_PATH

if TYPE_CHECKING:
    from datetime import datetime

    from service.composition import Services
    from service.routing import Caller

_NATIVE: Final = "ts_"
_ANYBODY: Final = "anybody (unauthenticated_writes)"


class Right(msgspec.Struct, frozen=True):
    """What is asked for.

    Attributes:
        scope: of a token of ours.
        method: of the KBS route.
        target: path of the KBS route.
    """

    scope: Scope
    method: str
    target: str


READ_POLICIES: Final = Right(Scope.POLICIES_READ, "GET", f"{BASE_PATH}/attestation-policy")
WRITE_POLICIES: Final = Right(Scope.POLICIES_WRITE, "POST", f"{BASE_PATH}/attestation-policy")
WRITE_REFERENCE_VALUES: Final = Right(Scope.ATTESTATIONS_WRITE, "POST", f"{BASE_PATH}/reference-value")


class Named(msgspec.Struct, frozen=True):
    """A caller without a token.

    Attributes:
        name: as records name it.
    """

    name: str


def admit(services: Services, right: Right, authorization: str | None, now: datetime) -> Caller:
    """The holder of the token, if the token gives the right.

    Raises:
        Unauthenticated, AdminDenied: no token, or one that does not hold.
        ScopeMissing: a token of ours without the scope.
    """
    token = (authorization or "").partition(" ")[2]
    if not token or token.startswith(_NATIVE):
        principal = services.tokens.authenticate(authorization, now)
        principal.require(right.scope)
        return principal
    return services.coco.gate.admit(authorization, right.method, right.target, now)


def policy_writer(services: Services, authorization: str | None, now: datetime) -> Caller:
    """Admission of ``POST /policy``."""
    if services.settings.coco.attestation.unauthenticated_writes:
        return Named(_ANYBODY)
    return admit(services, WRITE_POLICIES, authorization, now)


def policy_lister(services: Services, authorization: str | None, now: datetime) -> Caller | None:
    """Admission of ``GET /policy``."""
    if not services.settings.coco.attestation.authenticate_reads:
        return None
    return admit(services, READ_POLICIES, authorization, now)


def policy_reader(services: Services, authorization: str | None, now: datetime) -> Caller:
    """Admission of ``GET /policy/{id}``."""
    return admit(services, READ_POLICIES, authorization, now)
