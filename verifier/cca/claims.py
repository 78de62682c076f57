"""Claims of a verified token, as a policy sees them under ``input.cca``.

``realm`` and ``platform`` have the names and types that Confidential Containers' claims have: byte strings
as padded base64, hyphens in the names. Their attestation service shows five claims of the realm and two of
the platform; here all are there. What is flat beside them is ours, byte strings as lower-case hex, and what
reference values are held against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from common.encoding import b64_encode
from verifier.cca.assessment import is_debug, lifecycle_state

if TYPE_CHECKING:
    from verifier.cca.platform import Component, PlatformClaims
    from verifier.cca.realm import RealmClaims
    from verifier.tee import CommonClaims


class CcaComponent(TypedDict):
    """One piece of the platform's firmware; absent texts are empty."""

    type: str
    value: str
    version: str
    signer_id: str
    hash: str


class CcaClaims(TypedDict):
    """``input.cca``.

    Attributes:
        realm: CoCo's names (``cca-realm-initial-measurement``), bytes as base64.
        platform: CoCo's names (``cca-platform-implementation-id``), bytes as base64.
        rim: realm initial measurement.
        rem0: realm extensible measurement 0; likewise 1 to 3.
        personalization: value that the realm was created with.
        realm_profile: empty where none is stated.
        realm_hash: name of the measurements' hash.
        rak: the realm's attestation key as in its claim.
        platform_profile: EAT profile.
        platform_hash: name of the components' hash.
        implementation_id: of the platform.
        instance_id: of the machine.
        config: the platform's configuration.
        lifecycle: number of the claim.
        lifecycle_state: ``secured``, or another state.
        sw_components: firmware, in the token's order.
        unknown_claims: labels that are not read.
    """

    realm: dict[str, Any]
    platform: dict[str, Any]
    rim: str
    rem0: str
    rem1: str
    rem2: str
    rem3: str
    personalization: str
    realm_profile: str
    realm_hash: str
    rak: str
    platform_profile: str
    platform_hash: str
    implementation_id: str
    instance_id: str
    config: str
    lifecycle: int
    lifecycle_state: str
    sw_components: list[CcaComponent]
    unknown_claims: list[str]


def cca_claims(platform: PlatformClaims, realm: RealmClaims) -> CcaClaims:
    """The ``cca`` member of the policy input."""
    rem0, rem1, rem2, rem3 = (value.hex() for value in realm.rems)
    return {
        "realm": _realm(realm),
        "platform": _platform(platform),
        "rim": realm.rim.hex(),
        "rem0": rem0,
        "rem1": rem1,
        "rem2": rem2,
        "rem3": rem3,
        "personalization": realm.personalization.hex(),
        "realm_profile": realm.profile or "",
        "realm_hash": realm.hash,
        "rak": realm.rak.hex(),
        "platform_profile": platform.profile,
        "platform_hash": platform.hash,
        "implementation_id": platform.implementation_id.hex(),
        "instance_id": platform.instance_id.hex(),
        "config": platform.config.hex(),
        "lifecycle": platform.lifecycle,
        "lifecycle_state": lifecycle_state(platform.lifecycle),
        "sw_components": [
            {
                "type": item.type or "",
                "value": item.value.hex(),
                "version": item.version or "",
                "signer_id": item.signer_id.hex(),
                "hash": item.hash or platform.hash,
            }
            for item in platform.components
        ],
        "unknown_claims": [*platform.others, *realm.others],
    }


def common_claims(platform: PlatformClaims, realm: RealmClaims) -> CommonClaims:
    """``input.common``."""
    return {
        "measurement": realm.rim.hex(),
        "registers": {str(index): value.hex() for index, value in enumerate(realm.rems)},
        "launch_data": realm.personalization.hex(),
        "debug": is_debug(platform.lifecycle),
    }


def _realm(realm: RealmClaims) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "cca-realm-challenge": b64_encode(realm.challenge),
        "cca-realm-personalization-value": b64_encode(realm.personalization),
        "cca-realm-initial-measurement": b64_encode(realm.rim),
        "cca-realm-extensible-measurements": [b64_encode(value) for value in realm.rems],
        "cca-realm-hash-algo-id": realm.hash,
        "cca-realm-public-key": b64_encode(realm.rak),
        "cca-realm-public-key-hash-algo-id": realm.rak_hash,
    }
    return claims | ({} if realm.profile is None else {"cca-realm-profile": realm.profile})


def _platform(platform: PlatformClaims) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "cca-platform-profile": platform.profile,
        "cca-platform-challenge": b64_encode(platform.challenge),
        "cca-platform-implementation-id": b64_encode(platform.implementation_id),
        "cca-platform-instance-id": b64_encode(platform.instance_id),
        "cca-platform-config": b64_encode(platform.config),
        "cca-platform-lifecycle": platform.lifecycle,
        "cca-platform-sw-components": [_component(item) for item in platform.components],
        "cca-platform-hash-algo-id": platform.hash,
    }
    service = platform.service
    return claims | ({} if service is None else {"cca-platform-service-indicator": service})


def _component(item: Component) -> dict[str, str]:
    claims = {
        "measurement-value": b64_encode(item.value),
        "signer-id": b64_encode(item.signer_id),
    }
    optional = (
        ("measurement-type", item.type),
        ("version", item.version),
        ("measurement-description", item.hash),
    )
    return claims | {name: value for name, value in optional if value is not None}
