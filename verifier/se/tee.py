"""IBM Secure Execution, as the rest of the product sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.errors import InvalidSetting, TouchstoneError
from verifier.se.claims import SeClaims
from verifier.se.coco import SeCocoForm
from verifier.se.collateral import FixedCollateral, FolderCollateral, HostKeyFiles
from verifier.se.evidence import SeEvidence
from verifier.se.section import SeSection, build, insecure, roots
from verifier.se.settings import SeSettings
from verifier.se.verifier import BINDING_SIZE, SeVerifier, parse_evidence
from verifier.tee import Tee

if TYPE_CHECKING:
    from verifier.tee import Inspection

_MEMBERS: Final = frozenset(
    {"measurement", "additional_data", "cuid", "image_hdr_tags", "encr_measurement_key"}
)
_KEY_ROLE: Final = "challenge-key"


def offline(evidence: SeEvidence, inspection: Inspection) -> SeVerifier:  # noqa: ARG001 (Tee.offline)
    """The verifier of one inspection.

    Raises:
        InvalidSetting: without the key that sealed the challenge nothing can be verified.
    """
    key = inspection.files.get(_KEY_ROLE)
    if key is None:
        raise InvalidSetting(
            f"Secure Execution evidence is verified with the challenge's key: give {_KEY_ROLE}"
        )
    lists = () if inspection.crl is None else (inspection.crl,)
    files = (
        HostKeyFiles() if inspection.collateral is None else FolderCollateral(inspection.collateral).files()
    )
    files = HostKeyFiles(files.host_keys, files.certificates, (*files.lists, *lists))
    settings = SeSettings(challenge_key=key, roots=(*roots(), *inspection.anchors))
    return SeVerifier(settings, FixedCollateral(files))


def recognise(data: bytes) -> SeEvidence | None:
    """The document of evidence as Confidential Containers writes it; Secure Execution has no file format.

    Raises:
        Malformed: such evidence, with a member that is not what it should be.
    """
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        document = strict_json.loads(data)
    except TouchstoneError:
        return None
    if not isinstance(document, dict) or not document.keys() >= _MEMBERS:
        return None
    return SeCocoForm().evidence_of(document)


def contents(evidence: SeEvidence) -> dict[str, Any]:
    """What evidence says of itself, before anything vouches for it; empty where it cannot be parsed."""
    try:
        response, _ = parse_evidence(evidence)
    except TouchstoneError:
        return {}
    return {
        "cuid": response.cuid.hex(),
        "tag": response.tags.tag.hex(),
        "user_data": response.user_data.hex(),
        "additional_data": response.additional.hex(),
    }


TEE: Final = Tee(
    name="se",
    title="IBM Secure Execution",
    evidence=SeEvidence,
    claims=SeClaims,
    binding_size=BINDING_SIZE,
    section=SeSection,
    build=build,
    offline=offline,
    recognise=recognise,
    contents=contents,
    inspects=frozenset({"crl", "anchors", f"files.{_KEY_ROLE}"}),
    coco=SeCocoForm(),
    reference_names={
        "se_tag": "tag",
        "se_image_phkh": "image_phkh",
        "se_attestation_phkh": "attestation_phkh",
        "se_version": "version",
        "se_user_data": "user_data",
    },
    identities=frozenset({"se_attestation_phkh", "se_image_phkh", "se_user_data"}),
    insecure=insecure,
    checks=(
        ("the request is ours, whole, and not too old", "verifier.se.challenge"),
        ("measurement: HMAC-SHA-512 by the request's key", "s390-tools, uvattest/attest.rs"),
        ("additional data: exactly what was asked for", "s390-tools, uvattest/additional.rs"),
        ("host-key document: key, signing key, signature", "s390-tools, pvattest create"),
        ("signing key: IBM's subject, chain to a pinned root", "s390-tools; RFC 5280 6.1"),
        ("dates of every certificate", "RFC 5280 4.1.2.5"),
        ("a current revocation list of every issuer", "RFC 5280 6.3"),
        ("report data: first 64 bytes of the user data", "CoCo attester/src/se"),
        ("init-data: its digest after the report data", "docs/verifier-se.md"),
        ("dumps: plain control flag of a known image's header", "s390-tools, pv_hdr_def.h"),
    ),
    unchecked=(
        "Real answers of an Ultravisor are not public: the tests' are made after the published layout.",
        "What an image's header allows is known only of images whose header the settings hold.",
        "The state of the firmware is a claim that IBM can read; nothing here does.",
        "Host keys of the hybrid kind (ML-KEM) are not taken.",
    ),
)
