"""The checks of a CCA token against its keys and the expectation, in order. A failure raises.

Sources: Arm Realm Management Monitor specification (DEN0137) section A7.2; draft-ffm-rats-cca-token-00
section 4; Arm CCA Security Model (DEN0096) for the life cycle.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from common import cose
from verifier.errors import (
    AttestationKeyUntrusted,
    EndorsementMissing,
    InitDataMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from common.checks import Checks
    from verifier.cca.endorsements import CcaEndorsements
    from verifier.cca.platform import PlatformClaims
    from verifier.cca.realm import RealmClaims
    from verifier.cca.settings import CcaSettings
    from verifier.model import InitDataClaim

DRAFT: Final = "draft-ffm-rats-cca-token section 4"
RMM: Final = "DEN0137 section A7.2"
_SIGN1: Final = "RFC 9052 section 4.4"
# IANA Hash Function Textual Names (RFC 9120), those that name a key here.
_HASHES: Final = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}


def require_platform_signature(
    message: cose.Sign1, ids: tuple[bytes, bytes], endorsements: CcaEndorsements, checks: Checks
) -> ec.EllipticCurvePublicKey:
    """The platform token is signed by the attestation key that is endorsed for the platform it names.

    Raises:
        EndorsementMissing: none is.
        SignatureInvalid: another key, or another algorithm than the key's, signed it.
    """
    implementation, instance = (value.hex() for value in ids)
    key = endorsements.attestation_key(*ids)
    name = f"{implementation}/{instance}"
    if key is None:
        checks.fail(
            "cca.platform.key", EndorsementMissing,
            expected="an attestation key in the endorsement store", observed=name,
            source=f"{RMM} (CPAK); settings: endorsement store, cca/cpak",
            note="no attestation key is known for this implementation and instance",
        )  # fmt: skip
    checks.require(
        "cca.platform.key", ok=True, error=EndorsementMissing, observed=name,
        source=f"{RMM} (CPAK); settings: endorsement store, cca/cpak",
    )  # fmt: skip
    _require_signature("cca.platform.signature", message, key, checks)
    return key


def require_realm_signature(
    message: cose.Sign1, rak: ec.EllipticCurvePublicKey | None, checks: Checks
) -> None:
    """The realm token is signed by the key in it.

    Raises:
        SignatureInvalid: it is not, or that key is no key.
    """
    _require_signature("cca.realm.signature", message, rak, checks)


def _require_signature(
    name: str, message: cose.Sign1, key: ec.EllipticCurvePublicKey | None, checks: Checks
) -> None:
    problem = "the key is no point of its curve" if key is None else cose.problem(message, key)
    curve = None if key is None else cose.CURVES.get(key.curve.name)
    checks.require(
        name, problem is None, SignatureInvalid,
        expected=None if curve is None else list(curve.algorithms),
        observed=str(message.header.get(cose.ALG))[:32],
        source=_SIGN1, note=problem or "",
    )  # fmt: skip


def require_profiles(
    platform: PlatformClaims, realm: RealmClaims, settings: CcaSettings, checks: Checks
) -> None:
    """Both tokens are of profiles that are read here.

    Raises:
        UnsupportedEvidence: one is not.
    """
    checks.require(
        "cca.platform.profile", platform.profile in settings.platform_profiles, UnsupportedEvidence,
        expected=sorted(settings.platform_profiles), observed=platform.profile,
        source=f"{DRAFT}; RFC 9711 section 4.3.2",
    )  # fmt: skip
    checks.require(
        "cca.realm.profile", realm.profile in settings.realm_profiles, UnsupportedEvidence,
        expected=sorted(profile or "none" for profile in settings.realm_profiles), observed=realm.profile,
        source=f"{DRAFT}; RFC 9711 section 4.3.2",
    )  # fmt: skip


def require_rak(platform: PlatformClaims, realm: RealmClaims, checks: Checks) -> None:
    """The platform vouches for the realm's key: its challenge is the digest of the key as encoded.

    Raises:
        UnsupportedEvidence: a hash that is not known, or weaker than SHA-256.
        AttestationKeyUntrusted: another key.
    """
    algorithm = _HASHES.get(realm.rak_hash)
    if algorithm is None:
        checks.fail(
            "cca.realm.key_hash", UnsupportedEvidence, expected=sorted(_HASHES), observed=realm.rak_hash,
            source=f"{DRAFT} (claim 44240)",
        )  # fmt: skip
    digest = algorithm(realm.rak).digest()
    same = hmac.compare_digest(digest, platform.challenge)
    checks.require(
        "cca.realm.key", same, AttestationKeyUntrusted,
        expected=platform.challenge.hex(), observed=digest.hex(), source=f"{DRAFT} (claims 10 and 44237)",
        note="" if same else "the platform token vouches for another realm's key",
    )  # fmt: skip


def require_report_data(realm: RealmClaims, wanted: bytes | None, checks: Checks) -> None:
    """The realm's challenge is what is expected, all 64 bytes of it.

    Raises:
        ReportDataMismatch: otherwise.
    """
    source = f"{DRAFT} (realm claim 10)"
    if wanted is None:
        checks.skip("cca.realm.challenge", "no expectation: the token is bound to nobody", source=source)
        return
    checks.require(
        "cca.realm.challenge", hmac.compare_digest(wanted, realm.challenge), ReportDataMismatch,
        expected=wanted.hex(), observed=realm.challenge.hex(), source=source,
    )  # fmt: skip


def require_init_data(realm: RealmClaims, init_data: InitDataClaim | None, checks: Checks) -> str:
    """The personalization value is the digest of the init-data. Returns ``bound`` or ``absent``.

    The field has 64 bytes: a digest of another length is refused, unless the claim says that it is fitted.

    Raises:
        InitDataMismatch: otherwise.
    """
    if init_data is None:
        return "absent"
    wanted = init_data.in_field(len(realm.personalization))
    checks.require(
        "cca.realm.personalization", wanted == realm.personalization, InitDataMismatch,
        expected=wanted.hex(), observed=realm.personalization.hex(), source=f"{DRAFT} (claim 44235)",
        note="" if len(wanted) == len(realm.personalization) else "the field holds a SHA-512 digest",
    )  # fmt: skip
    return "bound"
