"""CCA evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/cca``).

Evidence: ``{"token": [...]}``, the token's bytes as a list of numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed, TooLarge
from verifier.cca.evidence import CcaEvidence
from verifier.cca.token import MAX_BYTES

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence


class _Evidence(msgspec.Struct, frozen=True):
    token: tuple[int, ...]


class CcaCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> CcaEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form.
            TooLarge: more than 64 KiB.
        """
        try:
            numbers = msgspec.convert(document, _Evidence).token
        except msgspec.ValidationError as error:
            raise Malformed(f"the CCA evidence is not of the published form: {error}") from error
        if len(numbers) > MAX_BYTES:
            raise TooLarge(f"a CCA token has at most {MAX_BYTES} bytes")
        try:
            return CcaEvidence(token=b64url_encode(bytes(numbers)))
        except (ValueError, OverflowError) as error:
            raise Malformed("the CCA token is not a list of bytes") from error

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; ``init_data`` is the personalization value, sent or not."""
        return verified.claims | {"init_data": verified.claims["cca"]["personalization"]}
