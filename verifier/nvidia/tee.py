"""NVIDIA devices for the rest of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.encoding import b64url_decode
from common.errors import InputError
from verifier.nvidia.certificates import load_certificates
from verifier.nvidia.claims import NvidiaClaims
from verifier.nvidia.coco import NvidiaCocoForm, from_tools
from verifier.nvidia.collateral import FixedCollateral, FolderCollateral
from verifier.nvidia.evidence import NvidiaEvidence
from verifier.nvidia.opaque import Field, parse_opaque
from verifier.nvidia.settings import NvidiaSection, settings_of
from verifier.nvidia.spdm import parse_exchange
from verifier.nvidia.verifier import BINDING_SIZE, NvidiaVerifier
from verifier.reading import certificate_files
from verifier.tee import Inspection, Surroundings, Tee

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verifier.nvidia.evidence import NvidiaDevice

_MAX_FILE: Final = 4 << 20
_LIST: Final = "device_evidence_list"
_COCO: Final = NvidiaCocoForm()


def _build(section: NvidiaSection, around: Surroundings) -> NvidiaVerifier:
    """The verifier of a server."""
    return NvidiaVerifier(
        settings_of(section),
        FolderCollateral(around.collateral),
        extra_anchors=certificate_files(section.extra_anchors, what="[nvidia] extra_anchors"),
        extra_manifest_anchors=certificate_files(
            section.extra_manifest_anchors, what="[nvidia] extra_manifest_anchors"
        ),
    )


def _offline(section: NvidiaSection, inspection: Inspection) -> NvidiaVerifier:
    """The verifier of one inspection: what is missing is told, and not demanded."""
    given = FixedCollateral(crls=() if inspection.crl is None else (inspection.crl,))
    collateral = given if inspection.collateral is None else FolderCollateral(inspection.collateral, given)
    settings = msgspec.structs.replace(
        settings_of(section), revocation="if-present", permit_partial_topology=True
    )
    return NvidiaVerifier(
        settings,
        collateral,
        extra_anchors=inspection.anchors,
        extra_manifest_anchors=inspection.anchors,
    )


def _recognise(data: bytes) -> NvidiaEvidence | None:
    """The document of a file of Confidential Containers' or NVIDIA's tools.

    Raises:
        Malformed: it is one, and broken.
    """
    if len(data) > _MAX_FILE or data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        document = strict_json.loads(data, what="evidence", max_bytes=_MAX_FILE)
    except InputError:
        return None
    if isinstance(document, dict) and _LIST in document:
        return _COCO.evidence_of(document)
    if isinstance(document, dict) and isinstance(document.get("evidences"), list):
        document = document["evidences"]
    if not isinstance(document, list) or not document:
        return None
    if all(isinstance(item, dict) and {"evidence", "certificate"} <= item.keys() for item in document):
        return from_tools(document)
    return None


def _contents(evidence: NvidiaEvidence) -> dict[str, Any]:
    """What each device says of itself, before anything vouches for it."""
    return {"devices": [_device_contents(device) for device in evidence.devices]}


def _device_contents(device: NvidiaDevice) -> dict[str, Any]:
    exchange = parse_exchange(b64url_decode(device.evidence, what="evidence"))
    opaque = parse_opaque(exchange.opaque)
    names = {int(field): field.name.lower() for field in Field}
    chain = load_certificates(
        [b64url_decode(text, what="certificate") for text in device.certificates], "the device's chain"
    )
    return {
        "stated_arch": device.arch,
        "nonce": exchange.nonce.hex(),
        "measurements": {str(index): value.hex() for index, value in sorted(exchange.measurements.items())},
        "opaque": {names.get(kind, str(kind)): value.hex() for kind, value in opaque.fields.items()},
        "certificates": [one.subject.rfc4514_string() for one in chain],
    }


def _insecure(section: NvidiaSection) -> Iterator[str]:
    if section.extra_anchors:
        yield "[nvidia] extra_anchors: devices of these roots count as NVIDIA's."
    if section.extra_manifest_anchors:
        yield "[nvidia] extra_manifest_anchors: manifests of these roots count as NVIDIA's."
    if section.permit_partial_topology:
        yield "[nvidia] permit_partial_topology: GPUs behind protected PCIe may be linked to anything."


TEE: Final = Tee(
    name="nvidia",
    title="NVIDIA GPU and NVSwitch",
    evidence=NvidiaEvidence,
    claims=NvidiaClaims,
    binding_size=BINDING_SIZE,
    section=NvidiaSection,
    build=_build,
    offline=_offline,
    recognise=_recognise,
    contents=_contents,
    coco=_COCO,
    reference_names={
        "nvidia_driver_version": "nvidia.driver_version",
        "nvidia_vbios_version": "nvidia.vbios_version",
        "nvidia_fwid": "nvidia.fwid",
        "nvidia_measurement": "nvidia.measurements",
        "allowed_driver_versions": "nvidia.driver_version",
        "allowed_vbios_versions": "nvidia.vbios_version",
        "allowed_switch_bios_versions": "nvidia.vbios_version",
        "nvidia_gpu_fwid": "nvidia.fwid",
        "nvidia_gpu_measurements": "nvidia.measurements",
    },
    insecure=_insecure,
    checks=(
        ("SPDM 1.1 exchange: lengths, one block per index, nothing after the end", "DMTF DSP0274 1.1"),
        ("chain of the device to NVIDIA's pinned root, dates, revocation", "RFC 5280 section 6; RFC 6960"),
        ("signature over request and response, ECDSA P-384", "DMTF DSP0274 1.1 section 10.11"),
        ("stated architecture against the certificates", "NVIDIA device certificates"),
        ("firmware identity of the device against its leaf", "TCG DICE, 2.23.133.5.4.1"),
        ("nonce of the request", "DMTF DSP0274 1.1 section 10.11.1"),
        ("every active index of NVIDIA's signed manifests", "TCG RIM 1.01; ISO/IEC 19770-2"),
        ("no device twice; topology of protected PCIe", "NVIDIA PPCIE verifier"),
    ),
    unchecked=(
        "NVIDIA's remote attestation service is not asked.",
        "That the GPUs which a switch names are those whose evidence came: where a GPU states its own is unknown.",
        "A GPU's identity is its certificates'; the driver's UUID is not a claim.",
    ),
)
