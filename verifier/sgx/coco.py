"""SGX evidence and claims as Confidential Containers spells them (agent, ``attester/src/sgx_dcap``).

Evidence: ``{"quote": base64}``. Claims: ours have their names; ``init_data`` is CONFIGID, whether init-data
was sent or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64_decode, b64url_encode
from common.errors import Malformed, TooLarge
from verifier.intel.quote import MAX_QUOTE_BYTES
from verifier.sgx.evidence import SgxEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_MAX_QUOTE_TEXT = MAX_QUOTE_BYTES * 4 // 3 + 4


class _Evidence(msgspec.Struct, frozen=True):
    quote: str


class SgxCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> SgxEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form. TooLarge: more than a quote may have.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the SGX evidence is not of the published form: {error}") from error
        if len(theirs.quote) > _MAX_QUOTE_TEXT:
            raise TooLarge("the quote of the SGX evidence is too long")
        return SgxEvidence(quote=b64url_encode(b64_decode(theirs.quote, what="quote")))

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names."""
        return verified.claims | {"init_data": verified.claims["sgx"]["body"]["config_id"]}
