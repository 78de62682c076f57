"""The AWS Nitro Enclaves verifier: an attestation document by a key that AWS endorses for one enclave.

Order: parse; chain to a pinned root (cached); the document's signature; dates at ``now``; ``user_data``.
Each of these raises. Then init-data, debug mode and age: failures are recorded and set engine floors.

What binds a session is ``user_data``: all 64 bytes of it are our binding digest. ``nonce`` and
``public_key`` are claims, and decide nothing.

Performance: a chain is verified once per distinct set of certificates; an enclave keeps its leaf for up to
three hours. What remains per document is one P-384 verification.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from common.checks import Checks
from common.encoding import b64url_decode
from common.errors import Malformed, TooLarge, TouchstoneError
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.model import Unbound, VerifiedEvidence
from verifier.nitro.chain import Roots, VerifiedChain, require_dates, verify_chain
from verifier.nitro.checks import (
    NOT_RECOGNISED,
    assess,
    assess_init_data,
    require_signature,
    require_user_data,
)
from verifier.nitro.claims import common_claims, nitro_claims
from verifier.nitro.document import MAX_BYTES, Document, parse
from verifier.nitro.evidence import NitroEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.model import Expectation, InitDataClaim
    from verifier.nitro.settings import NitroSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = 64  # user_data, filled by SHA-512
_MAX_TEXT: Final = (MAX_BYTES * 4 + 2) // 3
_CACHED_CHAINS: Final = 512


class NitroVerifier:
    """Verifies Nitro evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        extra_anchors: roots that are trusted besides AWS's (test authorities). Everything they sign counts
            as an enclave: the production profile of the service refuses them.

    Raises:
        InvalidSetting: the pinned root was altered.
    """

    def __init__(self, settings: NitroSettings, *, extra_anchors: Sequence[x509.Certificate] = ()) -> None:
        """Load the roots."""
        self._settings = settings
        self._roots = Roots(extra_anchors)
        self._chain_of = lru_cache(maxsize=_CACHED_CHAINS)(self._verify_chain)

    @property
    def tee(self) -> str:
        """``nitro``."""
        return "nitro"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify evidence at ``now``.

        Raises:
            InputError: the document cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates or their dates do not hold.
        """
        if not isinstance(evidence, NitroEvidence):
            raise Malformed("this verifier takes Nitro evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        data = document_bytes(evidence)
        document = parse(data)
        checks = Checks()
        chain = self._chain(document, checks)
        require_signature(document, chain, checks)
        require_dates(chain, now, checks)
        require_user_data(document, wanted, checks)
        floors: dict[str, int] = {}
        bound_init_data = assess_init_data(init_data, floors, checks)
        assess(document, self._settings, now, floors, checks)
        if isinstance(expected, Unbound):
            floors["instance-identity"] = NOT_RECOGNISED
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(data).hexdigest(),
            claims=_claims(document),
            comparable=("nitro",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=chain.endorsements,
            not_after=chain.not_after,
            identity=f"nitro-module:{document.module_id}",
            tee_pubkey=bound_key(expected),
        )

    def _chain(self, document: Document, checks: Checks) -> VerifiedChain:
        try:
            chain = self._chain_of(document.certificate, document.cabundle)
        except TouchstoneError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        checks.extend(chain.checks)
        return chain

    def _verify_chain(self, leaf: bytes, bundle: tuple[bytes, ...]) -> VerifiedChain:
        return verify_chain(leaf, bundle, self._roots)


def document_bytes(evidence: NitroEvidence) -> bytes:
    """The attestation document of an evidence document.

    Raises:
        TooLarge: more than 64 KiB.
        Malformed: not base64url.
    """
    if len(evidence.document) > _MAX_TEXT:
        raise TooLarge(f"an attestation document has at most {MAX_BYTES} bytes")
    return b64url_decode(evidence.document, what="document")


def _claims(document: Document) -> dict[str, Any]:
    return {
        "nitro": nitro_claims(document),
        "report_data": "" if document.user_data is None else document.user_data.hex(),
        "common": common_claims(document),
    }
