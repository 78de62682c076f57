"""The claims of a CCA platform token: bytes to a typed struct.

Unknown labels are signed and ignored, as EAT demands (RFC 9711 section 6.1); their labels are kept, so that
a reader sees what was not looked at.

Source: Arm Realm Management Monitor specification (DEN0137) section A7.2.3.2; draft-ffm-rats-cca-token-00
section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import Malformed
from verifier.cca.fields import DIGEST_SIZES

if TYPE_CHECKING:
    from verifier.cca.fields import Fields

PROFILE, CHALLENGE, INSTANCE_ID = 265, 10, 256  # of EAT
LIFECYCLE, IMPLEMENTATION_ID, COMPONENTS, SERVICE, CONFIG, HASH = 2395, 2396, 2399, 2400, 2401, 2402
_KNOWN: Final = frozenset(
    {PROFILE, CHALLENGE, INSTANCE_ID, LIFECYCLE, IMPLEMENTATION_ID, COMPONENTS, SERVICE, CONFIG, HASH}
)
_TYPE, _VALUE, _VERSION, _SIGNER, _COMPONENT_HASH = 1, 2, 4, 5, 6
_KNOWN_OF_COMPONENT: Final = frozenset({_TYPE, _VALUE, _VERSION, _SIGNER, _COMPONENT_HASH})
IMPLEMENTATION_ID_BYTES: Final = 32
INSTANCE_ID_BYTES: Final = 33
_UEID_RAND: Final = 1  # RFC 9711 section 4.2.1
_MAX_CONFIG: Final = 4096
_MAX_COMPONENTS: Final = 128
_MAX_LIFECYCLE: Final = 0xFFFF


class Component(msgspec.Struct, frozen=True):
    """One piece of the platform's firmware.

    Attributes:
        type: what it is (``RMM``); a hint.
        value: measurement, 32, 48 or 64 bytes.
        version: free text of its vendor.
        signer_id: digest of the key that signed it.
        hash: that measured it, where it is not the token's.
        others: labels that are not known here.
    """

    type: str | None
    value: bytes
    version: str | None
    signer_id: bytes
    hash: str | None
    others: tuple[str, ...] = ()


class PlatformClaims(msgspec.Struct, frozen=True):
    """A platform token's claims; sizes in bytes.

    Attributes:
        profile: EAT profile.
        challenge: digest of the realm's attestation key (32, 48 or 64).
        implementation_id: which implementation of the platform (32).
        instance_id: which machine, that is which attestation key (33).
        config: the platform's configuration, of a layout that its maker defines.
        lifecycle: state in bits 15 to 8, implementation defined below.
        components: firmware, in the token's order.
        service: where a verification service may be found; never followed.
        hash: default hash of the components.
        others: labels that are not known here.
    """

    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    components: tuple[Component, ...]
    service: str | None
    hash: str
    others: tuple[str, ...]


def ids_of(fields: Fields) -> tuple[bytes, bytes]:
    """Implementation id and instance id: what the attestation key is found by, before anything is verified.

    Raises:
        Malformed: one is absent or of another form.
    """
    implementation = fields.octets(IMPLEMENTATION_ID, "the implementation id", {IMPLEMENTATION_ID_BYTES})
    instance = fields.octets(INSTANCE_ID, "the instance id", {INSTANCE_ID_BYTES})
    if instance[0] != _UEID_RAND:
        raise Malformed("the platform token: the instance id is not a UEID of type RAND (0x01)")
    return implementation, instance


def parse(fields: Fields) -> PlatformClaims:
    """All claims.

    Raises:
        Malformed: one is absent, or of another form.
    """
    implementation, instance = ids_of(fields)
    config = fields.octets(CONFIG, "the platform configuration")
    if len(config) > _MAX_CONFIG:
        raise Malformed(f"the platform token: the platform configuration has more than {_MAX_CONFIG} bytes")
    return PlatformClaims(
        profile=fields.text(PROFILE, "the profile"),
        challenge=fields.octets(CHALLENGE, "the challenge", DIGEST_SIZES),
        implementation_id=implementation,
        instance_id=instance,
        config=config,
        lifecycle=fields.unsigned(LIFECYCLE, "the lifecycle", _MAX_LIFECYCLE),
        components=tuple(
            _component(item) for item in fields.maps(COMPONENTS, "the software components", _MAX_COMPONENTS)
        ),
        service=fields.optional_text(SERVICE, "the verification service"),
        hash=fields.text(HASH, "the hash algorithm"),
        others=fields.others(_KNOWN),
    )


def _component(fields: Fields) -> Component:
    return Component(
        type=fields.optional_text(_TYPE, "the component type"),
        value=fields.octets(_VALUE, "the measurement value", DIGEST_SIZES),
        version=fields.optional_text(_VERSION, "the version"),
        signer_id=fields.octets(_SIGNER, "the signer id", DIGEST_SIZES),
        hash=fields.optional_text(_COMPONENT_HASH, "the hash algorithm"),
        others=fields.others(_KNOWN_OF_COMPONENT),
    )
