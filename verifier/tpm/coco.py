"""TPM evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/tpm``).

Evidence: ``{"tpm_quote": {"signature", "message", "pcrs"}, "ak_public"}``: TPMT_SIGNATURE, TPMS_ATTEST and
the SubjectPublicKeyInfo in base64; 24 registers of the SHA-256 bank in hex. The claims have their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64_decode, b64url_encode
from common.errors import Malformed
from verifier.tpm.spki import public_of_spki
from wire.evidence import TpmEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_REGISTERS = 24


class _Quote(msgspec.Struct, frozen=True):
    signature: str
    message: str
    pcrs: tuple[str, ...]


class _Evidence(msgspec.Struct, frozen=True):
    tpm_quote: _Quote
    ak_public: str


class TpmCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> TpmEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form, or not 24 registers.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the TPM evidence is not of the published form: {error}") from error
        quote = theirs.tpm_quote
        if len(quote.pcrs) != _REGISTERS:
            raise Malformed(f"TPM evidence has {_REGISTERS} registers, not {len(quote.pcrs)}")
        public = public_of_spki(b64_decode(theirs.ak_public, what="ak_public"))
        return TpmEvidence(
            quote=b64url_encode(b64_decode(quote.message, what="tpm_quote.message")),
            signature=b64url_encode(b64_decode(quote.signature, what="tpm_quote.signature")),
            ak_public=b64url_encode(public.raw),
            pcrs={"sha256": {str(index): value for index, value in enumerate(quote.pcrs)}},
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """The claims: ours have their names already."""
        return verified.claims
