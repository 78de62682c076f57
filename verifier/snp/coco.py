"""SNP evidence and claims as Confidential Containers spells them (attestation-agent, ``attester/src/snp``).

Evidence: ``{"attestation_report": {...}, "cert_chain": null | [{"cert_type", "data"}]}``. The report is
JSON of a struct; the 1184 bytes that the firmware signed are rebuilt from it, and what does not come out
the same when it is taken apart again is refused (``common.snp_report_json``). Of the certificates those
count whose type the verifier knows; all of them are verified against the pinned roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed
from common.snp_report_json import from_json
from wire.evidence import SnpCertificate, SnpEvidence

if TYPE_CHECKING:
    from verifier.model import VerifiedEvidence

_TYPES = frozenset({"ARK", "ASK", "VCEK", "VLEK"})
_MAX_CERTIFICATES = 16
_MAX_CERTIFICATE = 8192


class _Certificate(msgspec.Struct, frozen=True):
    cert_type: str | dict[str, str]
    data: tuple[int, ...]


class _Evidence(msgspec.Struct, frozen=True):
    attestation_report: dict[str, Any]
    cert_chain: tuple[_Certificate, ...] | None = None


class SnpCocoForm:
    """Implements ``verifier.model.CocoForm``."""

    def evidence_of(self, document: Any) -> SnpEvidence:
        """Our document of theirs.

        Raises:
            Malformed: another form, or a report that does not round-trip.
        """
        try:
            theirs = msgspec.convert(document, _Evidence)
        except msgspec.ValidationError as error:
            raise Malformed(f"the SNP evidence is not of the published form: {error}") from error
        chain = theirs.cert_chain or ()
        if len(chain) > _MAX_CERTIFICATES:
            raise Malformed(f"the SNP evidence has {len(chain)} certificates, at most {_MAX_CERTIFICATES}")
        return SnpEvidence(
            report=b64url_encode(from_json(theirs.attestation_report)),
            certificates=tuple(
                SnpCertificate(type=item.cert_type, data=_der(item.data))
                for item in chain
                if isinstance(item.cert_type, str) and item.cert_type in _TYPES
            ),
        )

    def claims_of(self, verified: VerifiedEvidence) -> dict[str, Any]:
        """Ours have their names; ``init_data`` is HOST_DATA, whether init-data was sent or not."""
        return verified.claims | {"init_data": verified.claims["snp"]["host_data"]}


def _der(data: tuple[int, ...]) -> str:
    if len(data) > _MAX_CERTIFICATE:
        raise Malformed("a certificate of the SNP evidence is too long")
    try:
        return b64url_encode(bytes(data))  # which holds every number to the range of a byte
    except (ValueError, OverflowError) as error:
        raise Malformed("a certificate of the SNP evidence is not a list of bytes") from error
