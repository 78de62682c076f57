"""What both verifiers say of evidence after hardware report and vTPM were checked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from verifier.azure.vtpm import VtpmExpectation
from verifier.binding import bound_key, bound_to
from verifier.model import VerifiedEvidence
from verifier.tpm.binding import bind_init_data, selection_of, wanted_extra_data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from common.checks import Checks
    from verifier.azure.vtpm import CheckedVtpm
    from verifier.model import Expectation, InitDataClaim

_UNRECOGNISED_INSTANCE: Final = 97  # AR4SI: the instance is not recognised


class Hardware(msgspec.Struct, frozen=True):
    """What the hardware's verifier said.

    Attributes:
        claims: members of the TEE's claims.
        common: of ``input.common``.
        signed: the bytes that the hardware signed.
        floors: engine floors.
        endorsements: SHA-256 of what was relied on, hex.
        not_after: earliest expiry of that.
        identity: of the hardware, if it is proven.
    """

    claims: dict[str, Any]
    common: Any
    signed: bytes
    floors: dict[str, int]
    endorsements: tuple[str, ...]
    not_after: datetime
    identity: str | None


def expectation_of(
    expected: Expectation,
    init_data: InitDataClaim | None,
    configured: Mapping[str, tuple[int, ...]],
) -> VtpmExpectation:
    """What the quote must be; errors as ``wanted_extra_data``."""
    return VtpmExpectation(wanted_extra_data(expected, init_data), selection_of(expected, configured))


def verdict(
    tee: str,
    hardware: Hardware,
    vtpm: CheckedVtpm,
    checks: Checks,
    *,
    quote: bytes,
    expected: Expectation,
    init_data: InitDataClaim | None,
) -> VerifiedEvidence:
    """The result. Init-data is bound through register 8, as for any TPM.

    Raises:
        InitDataMismatch: register 8 does not hold the init-data that a guest of Confidential Containers
            sent.
    """
    floors = dict(hardware.floors)
    bound = bound_to(expected)
    if bound == "unbound":
        floors["instance-identity"] = _UNRECOGNISED_INSTANCE
    registers = vtpm.quote.values.get("sha256", {})
    claims: dict[str, Any] = {
        tee: hardware.claims | vtpm.vtpm_claims(),
        "report_data": vtpm.quote.quote.extra_data.hex(),
        "common": hardware.common
        | {"registers": {str(index): value.hex() for index, value in sorted(registers.items())}},
    }
    unlowered: dict[str, int] = {}
    outcome = bind_init_data(init_data, vtpm.quote.values, claims, unlowered, checks)
    for name, value in unlowered.items():
        floors[name] = max(value, floors.get(name, value))
    return VerifiedEvidence(
        tee=tee,
        evidence_digest=hashlib.sha256(hardware.signed + quote).hexdigest(),
        claims=claims,
        comparable=(tee,),
        checks=checks.records,
        floors=floors,
        bound=bound,
        init_data=outcome,
        endorsements=hardware.endorsements,
        not_after=hardware.not_after,
        identity=hardware.identity,
        tee_pubkey=bound_key(expected),
    )
