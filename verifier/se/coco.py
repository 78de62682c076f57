"""Evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/se``).

Evidence: seven members in padded base64; our document has the same, in base64url.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import b64_decode, b64url_encode
from common.errors import Malformed
from verifier.se.evidence import SeEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_MAX_TEXT: Final = 64 << 10


class _Evidence(msgspec.Struct, frozen=True):
    measurement: str
    additional_data: str
    user_data: str
    cuid: str
    encr_measurement_key: str
    encr_request_nonce: str
    image_hdr_tags: str


class SeCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> SeEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form.
        """
        try:
            theirs = msgspec.structs.asdict(msgspec.convert(document, _Evidence))
        except msgspec.ValidationError as error:
            raise Malformed(f"the SE evidence is not of the published form: {error}") from error
        if any(len(text) > _MAX_TEXT for text in theirs.values()):
            raise Malformed(f"a member of the SE evidence has more than {_MAX_TEXT} characters")
        return SeEvidence(
            **{name: b64url_encode(b64_decode(text, what=name)) for name, text in theirs.items()}
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; their ``report_data`` stands in ``se`` as well."""
        se = verified.claims["se"] | {"report_data": verified.claims["report_data"]}
        return verified.claims | {"se": se}
