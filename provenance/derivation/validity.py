"""What every rule shares: the group and the end of validity of the values it derives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.encoding import identifier
from common.errors import InvalidIdentifier
from provenance.errors import ExpiryInvalid, LaunchShapeInvalid
from provenance.instants import rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from provenance.model import AdmittedStatement, DerivationRequest


def expiry_of(request: DerivationRequest, signed_at: datetime) -> datetime | None:
    """End of validity that the request asks for; None where it asks for none.

    Raises:
        ExpiryInvalid: not RFC 3339, or not later than ``signed_at``.
    """
    if request.expires is None:
        return None
    expires = rfc3339(request.expires)
    if expires is None:
        raise ExpiryInvalid("expires is not an RFC 3339 date-time with an offset")
    if expires <= signed_at:
        raise ExpiryInvalid("expires is not later than the statement's signature")
    return expires


def group_of(admitted: AdmittedStatement, request: DerivationRequest) -> str:
    """Name of the release that the values belong to: the request's, else the attestation's digest.

    Raises:
        LaunchShapeInvalid: the request's group is not an identifier.
    """
    if request.group is None:
        return admitted.authentic.attestation
    try:
        return identifier(request.group, what="group")
    except InvalidIdentifier as error:
        raise LaunchShapeInvalid(error.message) from error
