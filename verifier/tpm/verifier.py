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
from common.errors import Malformed, TooLarge
from common.runtime_data import fitted
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.errors import InitDataMismatch
from verifier.model import RuntimeDataBinding, SessionBinding, Unbound, VerifiedEvidence
from verifier.tpm.checks import PcrValues, QuoteMaterial, assess_platform, check_quote
from verifier.tpm.claims import common_claims, tpm_claims
from verifier.tpm.eventlog import MAX_LOG_BYTES
from verifier.tpm.ima import MAX_IMA_BYTES
from verifier.tpm.public import parse_public
from verifier.tpm.trust import trust_attestation_key
from wire.evidence import TpmEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from verifier.tpm.settings import TpmSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = 32  # SHA-256: every TPM 2.0 takes 32 bytes of qualifying data
_INIT_DATA_PCR: Final = 8
_INIT_DATA_SOURCE: Final = "CoCo: init-data of TPM guests is extended into register 8 of the SHA-256 bank"
# Confidential Containers quotes every register of the SHA-256 bank, and its guests fill extraData with the
# digest of the runtime data cut to 32 bytes, whole, or padded to the 64 of a TPM2B_DATA.
_COCO_SELECTION: Final = {"sha256": tuple(range(24))}
_COCO_SIZES: Final = (32, 48, 64)
_BASE64_CHARACTERS: Final = 4
_BASE64_BYTES: Final = 3
# AR4SI (draft-ietf-rats-ar4si) values used as floors.
_UNRECOGNISED_INSTANCE: Final = 97
_UNSAFE_HARDWARE: Final = 96
_CONFIGURATION_UNAVAILABLE: Final = 36


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
        wanted = _wanted(expected, init_data)
        public = parse_public(b64url_decode(evidence.ak_public, what="ak_public"))
        trust = trust_attestation_key(public, evidence, expected, self._settings, now=now, checks=checks)
        material = _material(evidence)
        checked = check_quote(
            public,
            material,
            wanted=wanted,
            selection=self._selection(expected),
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
        bound_init_data = _bind_init_data(init_data, values, claims, floors, checks)
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

    def _selection(self, expected: Expectation) -> Mapping[str, tuple[int, ...]] | None:
        if isinstance(expected, Unbound):
            return None
        if isinstance(expected, RuntimeDataBinding):
            return _COCO_SELECTION
        if isinstance(expected, SessionBinding) and expected.pcr_selection is not None:
            return expected.pcr_selection
        return self._settings.pcr_selection


def _wanted(expected: Expectation, init_data: InitDataClaim | None) -> tuple[bytes, ...] | None:
    """What may stand in the quote's extraData; None where nothing is expected."""
    if isinstance(expected, RuntimeDataBinding) and expected.data is not None:
        return tuple(fitted(expected.data, size) for size in _COCO_SIZES)
    value = expected_report_data(expected, init_data, BINDING_SIZE)
    return None if value is None else (value,)


def _material(evidence: TpmEvidence) -> QuoteMaterial:
    return QuoteMaterial(
        quote=b64url_decode(evidence.quote, what="quote"),
        signature=b64url_decode(evidence.signature, what="signature"),
        pcrs=evidence.pcrs,
        event_log=_decode_log(evidence.event_log, "event_log", MAX_LOG_BYTES),
        ima_log=_decode_log(evidence.ima_log, "ima_log", MAX_IMA_BYTES),
    )


def _decode_log(text: str | None, what: str, limit: int) -> bytes | None:
    if text is None:
        return None
    if len(text) // _BASE64_CHARACTERS * _BASE64_BYTES > limit:
        raise TooLarge(f"{what} of more than {limit} bytes")
    return b64url_decode(text, what=what)


def _bind_init_data(
    init_data: InitDataClaim | None,
    values: PcrValues,
    claims: dict[str, Any],
    floors: dict[str, int],
    checks: Checks,
) -> str:
    if init_data is None:
        return "absent"
    register = values.get("sha256", {}).get(_INIT_DATA_PCR)
    extended = hashlib.sha256(bytes(32) + init_data.digest).digest()
    if register == extended and len(init_data.digest) == hashlib.sha256().digest_size:
        claims["init_data"] = init_data.digest.hex()
        return "bound"
    if init_data.fitted:
        # Confidential Containers: a guest that sends init-data says that its register holds it.
        checks.fail(
            "tpm.init_data",
            InitDataMismatch,
            expected=extended.hex(),
            observed=None if register is None else register.hex(),
            source=_INIT_DATA_SOURCE,
        )
    checks.warn(
        "tpm.init_data",
        observed=None if register is None else register.hex(),
        source=_INIT_DATA_SOURCE,
        note="the TPM does not bind the init-data: it is not part of the claims",
    )
    floors["configuration"] = _CONFIGURATION_UNAVAILABLE
    return "unsupported"
