"""The Arm CCA verifier: a realm token by a key that a platform token, by an endorsed key, vouches for.

Order: parse both messages; the platform's signature; the realm's; claims; profiles; the realm's key against
the platform's challenge; the realm's challenge; init-data. Each of these raises. Then the settings and the
life cycle: failures are recorded and set engine floors.

Before its signature holds, a token is asked for no more than the ids its key is found by, or the key in it.

There is no certificate and no date in a token: the result is bound in time by the challenge alone.

Not done here: policy, reference values (``verifier.appraisal``); see docs/verifier-cca.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.checks import Checks
from common.encoding import b64url_decode
from common.errors import InputError, Malformed, TooLarge
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.cca import platform, realm
from verifier.cca import token as tokens
from verifier.cca.assessment import NOT_RECOGNISED, assess
from verifier.cca.checks import (
    require_init_data,
    require_platform_signature,
    require_profiles,
    require_rak,
    require_realm_signature,
    require_report_data,
)
from verifier.cca.claims import cca_claims, common_claims
from verifier.cca.evidence import CcaEvidence
from verifier.model import Unbound, VerifiedEvidence

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric import ec

    from verifier.cca.endorsements import CcaEndorsements
    from verifier.cca.platform import PlatformClaims
    from verifier.cca.realm import RealmClaims
    from verifier.cca.settings import CcaSettings
    from verifier.model import Expectation, InitDataClaim
    from wire.evidence import Evidence

BINDING_SIZE: Final = realm.CHALLENGE_BYTES
_MAX_TEXT: Final = (tokens.MAX_BYTES * 4 + 2) // 3


class CcaVerifier:
    """Verifies CCA evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
        endorsements: the platforms' attestation keys.
    """

    def __init__(self, settings: CcaSettings, endorsements: CcaEndorsements) -> None:
        """Keep both."""
        self._settings = settings
        self._endorsements = endorsements

    @property
    def tee(self) -> str:
        """``cca``."""
        return "cca"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,  # noqa: ARG002 (TeeVerifier: nothing in a token has a date)
    ) -> VerifiedEvidence:
        """Verify evidence.

        Raises:
            InputError: the document or the token cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementMissing: no attestation key is known for the platform.
            InvalidSetting: the platform's key file cannot be used.
        """
        if not isinstance(evidence, CcaEvidence):
            raise Malformed("this verifier takes CCA evidence")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        data = token_bytes(evidence)
        token = tokens.parse(data)
        checks = Checks()
        cpak, platform_claims, realm_claims = self._authentic(token, checks)
        require_report_data(realm_claims, wanted, checks)
        bound_init_data = require_init_data(realm_claims, init_data, checks)
        floors = assess(platform_claims, realm_claims, self._settings, checks)
        if isinstance(expected, Unbound):
            floors["instance-identity"] = NOT_RECOGNISED
        claims: dict[str, Any] = {
            "cca": cca_claims(platform_claims, realm_claims),
            "report_data": realm_claims.challenge.hex(),
            "common": common_claims(platform_claims, realm_claims),
        }
        if bound_init_data == "bound":
            claims["init_data"] = realm_claims.personalization.hex()
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(data).hexdigest(),
            claims=claims,
            comparable=("cca",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data=bound_init_data,
            endorsements=(_digest(cpak),),
            identity=f"cca-instance:{platform_claims.instance_id.hex()}",
            tee_pubkey=bound_key(expected),
        )

    def _authentic(
        self, token: tokens.Token, checks: Checks
    ) -> tuple[ec.EllipticCurvePublicKey, PlatformClaims, RealmClaims]:
        """Both tokens, signed and linked, with the key that vouches for them."""
        try:
            cpak = require_platform_signature(
                token.platform.message, platform.ids_of(token.platform.fields), self._endorsements, checks
            )
            require_realm_signature(token.realm.message, realm.rak_of(token.realm.fields), checks)
            platform_claims = platform.parse(token.platform.fields)
            realm_claims = realm.parse(token.realm.fields)
        except InputError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        require_profiles(platform_claims, realm_claims, self._settings, checks)
        require_rak(platform_claims, realm_claims, checks)
        return cpak, platform_claims, realm_claims


def token_bytes(evidence: CcaEvidence) -> bytes:
    """The token of a document.

    Raises:
        TooLarge: more than 64 KiB.
        Malformed: not base64url.
    """
    if len(evidence.token) > _MAX_TEXT:
        raise TooLarge(f"a CCA token has at most {tokens.MAX_BYTES} bytes")
    return b64url_decode(evidence.token, what="token")


def _digest(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
