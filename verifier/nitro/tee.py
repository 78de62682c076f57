"""AWS Nitro Enclaves as the rest of the product sees them."""

from __future__ import annotations

from typing import Any, Final

from common.encoding import b64url_encode
from common.errors import Malformed, TouchstoneError
from verifier.nitro.claims import NitroClaims, nitro_claims
from verifier.nitro.document import HEAD, REGISTERS, TAGGED_HEAD, parse
from verifier.nitro.evidence import NitroEvidence
from verifier.nitro.section import NitroSection, insecure_switches, nitro_settings
from verifier.nitro.settings import NitroSettings
from verifier.nitro.verifier import BINDING_SIZE, NitroVerifier, document_bytes
from verifier.reading import certificate_files
from verifier.tee import Inspection, Surroundings, Tee


def build(section: NitroSection, surroundings: Surroundings) -> NitroVerifier:
    """The configured verifier; it needs nothing besides its section.

    Raises:
        ConfigurationError: a file that a setting names is not usable.
    """
    del surroundings
    return NitroVerifier(
        nitro_settings(section),
        extra_anchors=certificate_files(section.extra_anchors, what="[nitro] extra_anchors"),
    )


def offline(evidence: NitroEvidence, inspection: Inspection) -> NitroVerifier:
    """The verifier for an inspection: a document may be as old as its certificate allows."""
    del evidence
    return NitroVerifier(NitroSettings(max_age=None), extra_anchors=inspection.anchors)


def recognise(data: bytes) -> NitroEvidence | None:
    """A raw attestation document: told by its first bytes.

    Raises:
        Malformed: it begins like one, and is broken.
    """
    if not data.startswith((HEAD, TAGGED_HEAD)):
        return None
    try:
        parse(data)
    except TouchstoneError as error:
        raise Malformed(f"a broken attestation document: {error.message}") from error
    return NitroEvidence(document=b64url_encode(data))


def contents(evidence: NitroEvidence) -> dict[str, Any]:
    """Members of the document, bytes as hex; empty where it cannot be parsed."""
    try:
        document = parse(document_bytes(evidence))
    except TouchstoneError:
        return {}
    return nitro_claims(document)


TEE: Final = Tee(
    name="nitro",
    title="AWS Nitro Enclaves",
    evidence=NitroEvidence,
    claims=NitroClaims,
    binding_size=BINDING_SIZE,
    section=NitroSection,
    build=build,
    offline=offline,
    inspects=frozenset({"anchors"}),
    recognise=recognise,
    contents=contents,
    reference_names={f"nitro_pcr{index}": f"pcrs.{index}" for index in range(REGISTERS)},
    insecure=insecure_switches,
    checks=(
        ("strict CBOR; every member's type and size", "AWS Nitro Enclaves, attestation document"),
        ("chain of the document's cabundle to the pinned root, with the CA rules", "RFC 5280 section 6.1"),
        ("P-384 and ECDSA with SHA-384 throughout", "AWS Nitro Enclaves, root of trust"),
        ("signature over the bytes received", "RFC 9052 section 4.4"),
        ("dates of all certificates", "RFC 5280 section 4.1.2.5"),
        ("user_data, 64 bytes", "AWS Nitro Enclaves, attestation document"),
        ("debug mode: registers 0 to 2 are not zero", "AWS Nitro CLI, run-enclave"),
        ("age of the document", "settings: max_age_seconds, max_ahead_seconds"),
    ),
    unchecked=(
        "Revocation: AWS's guide says that lists must not be consulted; a leaf is valid for three hours.",
        "Init-data: no member of a document holds any.",
        "Documents of NitroTPM (of instances, not of enclaves) are refused.",
    ),
)
