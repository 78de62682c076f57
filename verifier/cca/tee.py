"""Arm CCA as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import b64url_encode
from common.errors import Malformed, TouchstoneError
from verifier.cca import platform, realm
from verifier.cca import token as tokens
from verifier.cca.claims import CcaClaims
from verifier.cca.coco import CcaCocoForm
from verifier.cca.endorsements import FixedEndorsements, FolderEndorsements, read_key, read_store
from verifier.cca.evidence import CcaEvidence
from verifier.cca.section import CcaSection, cca_settings
from verifier.cca.settings import CcaSettings
from verifier.cca.verifier import BINDING_SIZE, CcaVerifier, token_bytes
from verifier.tee import Inspection, Surroundings, Tee

if TYPE_CHECKING:
    from verifier.cca.endorsements import CcaEndorsements

_KEY_ROLE: Final = "attestation-key"


def build(section: CcaSection, surroundings: Surroundings) -> CcaVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting is not usable.
    """
    store = section.endorsements_dir or surroundings.collateral
    return CcaVerifier(cca_settings(section), FolderEndorsements(store))


def offline(evidence: CcaEvidence, inspection: Inspection) -> CcaVerifier:
    """The verifier for an inspection.

    The file of the role ``attestation-key`` is one key (JWK or PEM), which is taken for the platform that
    the token names, or a trust-anchor store (JSON). Without it the endorsement store is looked into.

    Raises:
        InputError: the file is neither, or the token cannot be parsed.
    """
    return CcaVerifier(CcaSettings(), _endorsements(evidence, inspection))


def _endorsements(evidence: CcaEvidence, inspection: Inspection) -> CcaEndorsements:
    given = inspection.files.get(_KEY_ROLE)
    if given is not None:
        if given.lstrip()[:1] == b"[":
            return FixedEndorsements(read_store(given))
        ids = platform.ids_of(tokens.parse(token_bytes(evidence)).platform.fields)
        return FixedEndorsements({ids: read_key(given)})
    if inspection.collateral is not None:
        return FolderEndorsements(inspection.collateral)
    return FixedEndorsements({})


def recognise(data: bytes) -> CcaEvidence | None:
    """A raw token: told by its tag.

    Raises:
        Malformed: it has the tag, and is broken.
    """
    if not data.startswith(tokens.HEAD):
        return None
    try:
        tokens.parse(data)
    except TouchstoneError as error:
        raise Malformed(f"a broken CCA token: {error.message}") from error
    return CcaEvidence(token=b64url_encode(data))


def contents(evidence: CcaEvidence) -> dict[str, Any]:
    """Claims of both tokens, bytes as hex; empty where they cannot be parsed."""
    try:
        token = tokens.parse(token_bytes(evidence))
        claims = {
            "platform": platform.parse(token.platform.fields),
            "realm": realm.parse(token.realm.fields),
        }
    except TouchstoneError:
        return {}
    return {name: _shown(value) for name, value in claims.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return {name: _shown(item) for name, item in msgspec.structs.asdict(value).items()}
    return value


TEE: Final = Tee(
    name="cca",
    title="Arm CCA",
    evidence=CcaEvidence,
    claims=CcaClaims,
    binding_size=BINDING_SIZE,
    section=CcaSection,
    build=build,
    offline=offline,
    inspects=frozenset({f"files.{_KEY_ROLE}"}),
    recognise=recognise,
    contents=contents,
    coco=CcaCocoForm(),
    reference_names={
        "cca_realm_initial_measurement": "rim",
        "cca_realm_extensible_measurement_0": "rem0",
        "cca_realm_extensible_measurement_1": "rem1",
        "cca_realm_extensible_measurement_2": "rem2",
        "cca_realm_extensible_measurement_3": "rem3",
        "cca_realm_personalization_value": "personalization",
        "cca_platform_implementation_id": "implementation_id",
        "cca_platform_instance_id": "instance_id",
        "cca_platform_config": "config",
    },
    identities=frozenset({"cca_platform_instance_id"}),
    checks=(
        (
            "strict CBOR; tag 399 and the two signed tokens, nothing else",
            "draft-ffm-rats-cca-token section 4",
        ),
        (
            "platform signature by the key endorsed for its implementation and instance",
            "DEN0137 section A7.2",
        ),
        ("realm signature by the key in the token", "RFC 9052 section 4.4"),
        ("algorithms of the keys, named by the protected headers", "RFC 9053 section 2.1"),
        ("every claim of both tokens; their profiles", "DEN0137 sections A7.2.3.1, A7.2.3.2"),
        ("platform challenge is the digest of the realm's key as encoded", "draft-ffm-rats-cca-token"),
        ("realm challenge, 64 bytes; personalization value as init-data", "DEN0137 section A7.2.3.1"),
        ("life cycle is secured, 0x3000 to 0x30ff", "DEN0137 section A7.2.3.2.7"),
    ),
    unchecked=(
        "Attestation keys have no certificates here: an endorsed key is trusted until its file is removed.",
        "Firmware versions are texts without an order: claims, compared by a policy if at all.",
        "Profiles 2.0.0 (live firmware activation, MEC policy) and CMW collections (tag 907) are refused.",
    ),
)
