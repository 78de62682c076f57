"""The claims of a CCA realm token, and the realm's attestation key (RAK) in them.

The RAK has one of two forms. Tokens without a profile hold the point of a P-384 key (97 bytes); those of a
profile hold an encoded COSE_Key. Whether the profile is one that is accepted is checked with the other
claims, after the signature.

Source: Arm Realm Management Monitor specification (DEN0137) section A7.2.3.1; draft-ffm-rats-cca-token-00
section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from common import cose
from verifier.cca.fields import DIGEST_SIZES

if TYPE_CHECKING:
    from verifier.cca.fields import Fields

CHALLENGE, PROFILE = 10, 265  # of EAT
PERSONALIZATION, HASH, RAK, RIM, REMS, RAK_HASH = 44235, 44236, 44237, 44238, 44239, 44240
_KNOWN: Final = frozenset({CHALLENGE, PROFILE, PERSONALIZATION, HASH, RAK, RIM, REMS, RAK_HASH})
CHALLENGE_BYTES: Final = 64
PERSONALIZATION_BYTES: Final = 64
_POINT_BYTES: Final = 97  # SEC 1 section 2.3.3, uncompressed
_REMS: Final = 4


class RealmClaims(msgspec.Struct, frozen=True):
    """A realm token's claims; sizes in bytes.

    Attributes:
        challenge: what the realm was asked to attest (64).
        profile: EAT profile; None: the form before profiles.
        personalization: that the realm was created with (64).
        rim: realm initial measurement (32, 48 or 64).
        rems: realm extensible measurements, four.
        hash: of the measurements.
        rak: the realm's attestation key, encoded as in the claim.
        rak_hash: by which the platform token names it.
        others: labels that are not known here.
    """

    challenge: bytes
    profile: str | None
    personalization: bytes
    rim: bytes
    rems: tuple[bytes, ...]
    hash: str
    rak: bytes
    rak_hash: str
    others: tuple[str, ...]


def rak_of(fields: Fields) -> ec.EllipticCurvePublicKey | None:
    """The key that must have signed the token, before anything is verified; None: no point of its curve.

    Raises:
        InputError: absent, or of another form.
    """
    if fields.has(PROFILE):
        return cose.ec_key(fields.octets(RAK, "the realm public key"), what="the realm public key")
    encoded = fields.octets(RAK, "the realm public key", {_POINT_BYTES})
    return cose.point(encoded, ec.SECP384R1())


def parse(fields: Fields) -> RealmClaims:
    """All claims.

    Raises:
        Malformed: one is absent, or of another form.
    """
    return RealmClaims(
        challenge=fields.octets(CHALLENGE, "the challenge", {CHALLENGE_BYTES}),
        profile=fields.optional_text(PROFILE, "the profile"),
        personalization=fields.octets(
            PERSONALIZATION, "the personalization value", {PERSONALIZATION_BYTES}
        ),
        rim=fields.octets(RIM, "the initial measurement", DIGEST_SIZES),
        rems=fields.octets_list(REMS, "the extensible measurements", _REMS, DIGEST_SIZES),
        hash=fields.text(HASH, "the hash algorithm"),
        rak=fields.octets(RAK, "the realm public key"),
        rak_hash=fields.text(RAK_HASH, "the hash algorithm of the public key"),
        others=fields.others(_KNOWN),
    )
