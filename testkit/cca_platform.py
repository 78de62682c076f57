"""A test platform for Arm CCA: its own attestation key, and tokens as firmware makes them.

Any claim can be set, sensible or not, and each token signed by another key, so that each rule can be broken
alone. A verifier trusts it only where its key is endorsed (``endorsements``, ``write_key``).

Sources: Arm RMM specification (DEN0137) section A7.2; draft-ffm-rats-cca-token-00 section 4.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from cbor2 import CBORTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common import cbor
from common.encoding import b64url_encode
from testkit.cose import cose_key, sign1
from verifier.cca import platform as p
from verifier.cca import realm as r
from verifier.cca import token as t
from verifier.cca.endorsements import FixedEndorsements, write_keys
from verifier.cca.evidence import CcaEvidence
from verifier.cca.settings import LEGACY_PLATFORM_PROFILE, PLATFORM_PROFILE, REALM_PROFILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ABSENT: Final = object()
_HASHES: Final = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}


class CcaPlatform:
    """A platform and one realm on it.

    Args:
        seed: of its ids; platforms of one seed have the same ids and other keys.
        legacy: tokens of the old profile, with the realm's key as a point.
        curve: of the platform's key.
        realm_curve: of the realm's key.
        rak_hash: name of the hash by which the platform vouches for the realm's key.
    """

    def __init__(
        self,
        seed: bytes = b"platform",
        *,
        legacy: bool = False,
        curve: ec.EllipticCurve | None = None,
        realm_curve: ec.EllipticCurve | None = None,
        rak_hash: str = "sha-256",
    ) -> None:
        """Make the keys."""
        self.legacy = legacy
        self.rak_hash = rak_hash
        self.cpak = ec.generate_private_key(curve or ec.SECP384R1())
        self.rak = ec.generate_private_key(realm_curve or ec.SECP384R1())
        self.implementation_id = hashlib.sha256(b"implementation " + seed).digest()
        self.instance_id = b"\x01" + hashlib.sha256(b"instance " + seed).digest()

    @property
    def ids(self) -> tuple[bytes, bytes]:
        """Implementation id and instance id."""
        return self.implementation_id, self.instance_id

    @property
    def rak_claim(self) -> bytes:
        """The realm's key as the claim has it."""
        public = self.rak.public_key()
        if self.legacy:
            return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cose_key(public)

    def endorsements(self) -> FixedEndorsements:
        """Endorses this platform alone."""
        return FixedEndorsements({self.ids: self.cpak.public_key()})

    def write_key(self, store: Path) -> None:
        """Endorse it in an endorsement store."""
        write_keys(store, {self.ids: self.cpak.public_key()})

    def platform_claims(self, **changes: Any) -> dict[Any, Any]:
        """Claims of the platform token; ``changes`` are claims by ``claim_<label>``, ``ABSENT`` removes."""
        rak_hash = _HASHES.get(self.rak_hash, hashlib.sha256)
        claims = {
            p.PROFILE: LEGACY_PLATFORM_PROFILE if self.legacy else PLATFORM_PROFILE,
            p.CHALLENGE: rak_hash(self.rak_claim).digest(),
            p.IMPLEMENTATION_ID: self.implementation_id,
            p.INSTANCE_ID: self.instance_id,
            p.CONFIG: b"\xcf\xcf\xcf\xcf",
            p.LIFECYCLE: 0x3003,
            p.COMPONENTS: [component("RMM", version="1.0"), component("AP_BL31"), component(None)],
            p.SERVICE: "https://verifier.example/",
            p.HASH: "sha-256",
        }
        return changed(claims, changes)

    def realm_claims(self, challenge: bytes = bytes(64), **changes: Any) -> dict[Any, Any]:
        """Claims of the realm token; ``changes`` as in ``platform_claims``."""
        claims: dict[Any, Any] = {
            r.CHALLENGE: challenge,
            r.PERSONALIZATION: bytes(64),
            r.HASH: "sha-512",
            r.RAK: self.rak_claim,
            r.RIM: hashlib.sha512(b"realm").digest(),
            r.REMS: [bytes(64)] * 4,
            r.RAK_HASH: self.rak_hash,
        }
        if not self.legacy:
            claims[r.PROFILE] = REALM_PROFILE
        return changed(claims, changes)

    def token(
        self,
        challenge: bytes = bytes(64),
        *,
        platform: Mapping[str, Any] | None = None,
        realm: Mapping[str, Any] | None = None,
    ) -> bytes:
        """A token with changed claims of the platform and of the realm."""
        return collection(
            sign1(cbor.encode(self.platform_claims(**(platform or {}))), self.cpak),
            sign1(cbor.encode(self.realm_claims(challenge, **(realm or {}))), self.rak),
        )

    def evidence(self, challenge: bytes = bytes(64), **changes: Any) -> CcaEvidence:
        """The evidence document of a token."""
        return document(self.token(challenge, **changes))


def component(kind: str | None, *, version: str | None = None, **changes: Any) -> dict[Any, Any]:
    """One piece of firmware, its measurement made of its type."""
    members = {
        1: ABSENT if kind is None else kind,
        2: hashlib.sha256(f"firmware {kind}".encode()).digest(),
        4: ABSENT if version is None else version,
        5: hashlib.sha256(b"signer").digest(),
        6: "sha-256",
    }
    return {name: value for name, value in changed(members, changes).items() if value is not ABSENT}


def changed(claims: dict[Any, Any], changes: Mapping[str, Any]) -> dict[Any, Any]:
    """Claims with those set that are named ``claim_<label>``; ``ABSENT`` removes one."""
    made = claims | {int(name.removeprefix("claim_")): value for name, value in changes.items()}
    return {label: value for label, value in made.items() if value is not ABSENT}


def collection(platform: object, realm: object, **more: Any) -> bytes:
    """The token of two signed tokens; ``more`` are further members by ``member_<label>``."""
    members = {t.PLATFORM: platform, t.REALM: realm}
    members |= {int(name.removeprefix("member_")): value for name, value in more.items()}
    return cbor.encode(CBORTag(t.TAG, members))


def document(token: bytes) -> CcaEvidence:
    """The evidence document of a token."""
    return CcaEvidence(token=b64url_encode(token))
