"""The TPM 2.0 verifier: a quote by a trusted attestation key, over our nonce and exactly our registers.

Order: parse the key; trust it; signature over the bytes received; structure; binding; registers; event
log; platform; claims. Any failure up to the event log raises; only the firmware floor is a policy
expectation, with the engine floor ``hardware`` 96.

Floors: evidence without an expectation (``Unbound``) never affirms ``instance-identity``; init-data that
the TPM does not bind bounds ``configuration`` at 36. An attestation key that nobody vouches for is an
error, not a low claim: there is nothing in such a quote to appraise.

Init-data is bound when SHA-256 register 8 is quoted and holds one extension with its digest (CoCo's
convention for TPMs); otherwise evidence of Confidential Containers is refused, and in our own protocol it
is reported as unsupported and stays out of the claims.

Not done: see docs/verifier-tpm.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.encoding import b64url_decode
from common.errors import Malformed
from verifier.binding import bound_key, bound_to
from verifier.model import Unbound, VerifiedEvidence
from verifier.tpm.binding import (
    BINDING_SIZE,
    bind_init_data,
    material_of,
    selection_of,
    wanted_extra_data,
)
from verifier.tpm.checks import assess_platform, check_quote
from verifier.tpm.claims import common_claims, tpm_claims
from verifier.tpm.public import parse_public
from verifier.tpm.trust import trust_attestation_key
from wire.evidence import TpmEvidence

__all__ = ["BINDING_SIZE", "TpmVerifier"]

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import Evidence

# AR4SI (draft-ietf-rats-ar4si) values used as floors.
_UNRECOGNISED_INSTANCE: Final = 97
_UNSAFE_HARDWARE: Final = 96


class TpmVerifier:
    """Verifies TPM 2.0 evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: whom to trust and what to demand.
    """

    def __init__(self, settings: TpmSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    @property
    def tee(self) -> str:
        """``tpm``."""
        return "tpm"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document, the quote or the log cannot be parsed.
            EvidenceError: not authentic, not bound as expected, registers or log disagree.
            EndorsementError: the EK certificate, its chain or its dates do not hold.
        """
        if not isinstance(evidence, TpmEvidence):
            raise Malformed("this verifier takes TPM evidence")
        checks = Checks()
        wanted = wanted_extra_data(expected, init_data)
        public = parse_public(b64url_decode(evidence.ak_public, what="ak_public"))
        trust = trust_attestation_key(public, evidence, expected, self._settings, now=now, checks=checks)
        material = material_of(
            evidence.quote, evidence.signature, evidence.pcrs, evidence.event_log, evidence.ima_log
        )
        checked = check_quote(
            public,
            material,
            wanted=wanted,
            selection=selection_of(expected, self._settings.pcr_selection),
            settings=self._settings,
            checks=checks,
        )
        quote, values = checked.quote, checked.values
        floors = {} if not isinstance(expected, Unbound) else {"instance-identity": _UNRECOGNISED_INSTANCE}
        if not assess_platform(quote, self._settings, checks):
            floors["hardware"] = _UNSAFE_HARDWARE
        claims: dict[str, Any] = {
            "tpm": tpm_claims(quote, public, trust, values, checked.logs),
            "report_data": quote.extra_data.hex(),
            "common": common_claims(values),
        }
        bound_init_data = bind_init_data(init_data, values, claims, floors, checks)
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(material.quote).hexdigest(),
            claims=claims,
            comparable=("tpm",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=trust.endorsements,
            not_after=trust.not_after,
            identity=trust.identity,
            tee_pubkey=bound_key(expected),
        )
