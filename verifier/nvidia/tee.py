"""NVIDIA GPUs and NVSwitches as the rest of the product sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_decode, b64url_encode
from common.errors import Malformed, TouchstoneError
from verifier.nvidia import kinds
from verifier.nvidia.certificates import load_certificates
from verifier.nvidia.claims import NvidiaClaims
from verifier.nvidia.coco import NvidiaCocoForm
from verifier.nvidia.collateral import FixedCollateral, FolderCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence
from verifier.nvidia.opaque import Field, parse_opaque
from verifier.nvidia.section import NvidiaSection, insecure_switches, nvidia_settings
from verifier.nvidia.settings import NvidiaSettings
from verifier.nvidia.spdm import parse_exchange
from verifier.nvidia.verifier import BINDING_SIZE, NvidiaVerifier
from verifier.reading import certificate_files
from verifier.tee import Inspection, Surroundings, Tee

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim, VerifiedEvidence
    from wire.evidence import Evidence

_START: Final = bytes.fromhex("11e001ff")  # of every exchange
# Role of a file beside evidence to the start of the ids of the manifests that it may be.
_MANIFESTS: Final = {
    "driver-rim": ("NV_GPU_DRIVER_", "NV_GPU_CC_DRIVER_"),
    "vbios-rim": ("NV_GPU_VBIOS_",),
    "bios-rim": ("NV_SWITCH_BIOS_",),
}
_OCSP: Final = "ocsp"


def build(section: NvidiaSection, surroundings: Surroundings) -> NvidiaVerifier:
    """The configured verifier.

    Raises:
        ConfigurationError: a setting or a file that it names is not usable.
    """
    return NvidiaVerifier(
        nvidia_settings(section),
        FolderCollateral(section.collateral_dir or surroundings.collateral),
        extra_anchors=certificate_files(section.extra_anchors, what="[nvidia] extra_anchors"),
        extra_manifest_anchors=certificate_files(
            section.extra_manifest_anchors, what="[nvidia] extra_manifest_anchors"
        ),
    )


def offline(evidence: NvidiaEvidence, inspection: Inspection) -> OfflineNvidiaVerifier:
    """The verifier for an inspection.

    Raises:
        Malformed: certificates beside evidence that brings its own.
    """
    return OfflineNvidiaVerifier(evidence, inspection)


class OfflineNvidiaVerifier:
    """Verifies with the certificates and files that were given (``verifier.model.TeeVerifier``).

    More lenient than a server in two ways, which the result says: revocation data are used where they are
    given, and a GPU behind protected PCIe is judged without the rest of its system.
    """

    def __init__(self, evidence: NvidiaEvidence, inspection: Inspection) -> None:
        """Keep what was given."""
        if inspection.certificates and any(device.certificates for device in evidence.devices):
            raise Malformed("certificates go with NVIDIA evidence that brings none itself")
        self._certificates = tuple(
            b64url_encode(one.public_bytes(Encoding.DER)) for one in inspection.certificates
        )
        given = _GivenCollateral(inspection)
        self._verifier = NvidiaVerifier(
            NvidiaSettings(revocation="if-present", permit_partial_topology=True),
            given if inspection.collateral is None else FolderCollateral(inspection.collateral, given),
            extra_anchors=inspection.anchors,
            extra_manifest_anchors=inspection.anchors,
        )

    @property
    def tee(self) -> str:
        """``nvidia``."""
        return self._verifier.tee

    def verify(
        self, evidence: Evidence, expected: Expectation, init_data: InitDataClaim | None, now: datetime
    ) -> VerifiedEvidence:
        """Verify, as ``NvidiaVerifier.verify``."""
        if isinstance(evidence, NvidiaEvidence) and self._certificates:
            devices = tuple(
                msgspec.structs.replace(device, certificates=self._certificates)
                for device in evidence.devices
            )
            evidence = NvidiaEvidence(devices=devices)
        return self._verifier.verify(evidence, expected, init_data, now)


def recognise(data: bytes) -> NvidiaEvidence | None:
    """A raw exchange: told by its first bytes, the GET_MEASUREMENTS request."""
    if not data.startswith(_START):
        return None
    return NvidiaEvidence(devices=(NvidiaDevice(evidence=b64url_encode(data), certificates=()),))


def contents(evidence: NvidiaEvidence) -> dict[str, Any]:
    """What each device says of itself, before anything vouches for it; empty where it cannot be parsed."""
    try:
        return {"devices": [_device_contents(device) for device in evidence.devices]}
    except TouchstoneError:
        return {}


class _GivenCollateral(FixedCollateral):
    """The files that were given, whatever device asks (the verifier checks what they are about)."""

    def __init__(self, inspection: Inspection) -> None:
        response = inspection.files.get(_OCSP)
        super().__init__(
            ocsp=() if response is None else (response,),
            crls=() if inspection.crl is None else (inspection.crl,),
        )
        self._files = inspection.files

    def rim(self, name: str) -> bytes | None:
        role = next(role for role, starts in _MANIFESTS.items() if name.startswith(starts))
        return self._files.get(role)


def _device_contents(device: NvidiaDevice) -> dict[str, Any]:
    exchange = parse_exchange(b64url_decode(device.evidence, what="evidence"))
    names = {int(field): field.name.lower() for field in Field}
    fields = parse_opaque(exchange.opaque).fields
    ders = [b64url_decode(text, what="certificate") for text in device.certificates]
    chain = load_certificates(ders, "the device's chain") if ders else ()
    return {
        "stated_arch": device.arch,
        "nonce": exchange.nonce.hex(),
        "measurements": {str(index): value.hex() for index, value in sorted(exchange.measurements.items())},
        "opaque": {names.get(kind, str(kind)): value.hex() for kind, value in fields.items()},
        "certificates": [one.subject.rfc4514_string() for one in chain],
    }


TEE: Final = Tee(
    name="nvidia",
    title="NVIDIA GPU and NVSwitch",
    evidence=NvidiaEvidence,
    claims=NvidiaClaims,
    binding_size=BINDING_SIZE,
    section=NvidiaSection,
    build=build,
    offline=offline,
    inspects=frozenset(
        {"certificates", "crl", "anchors", f"files.{_OCSP}", *(f"files.{role}" for role in _MANIFESTS)}
    ),
    recognise=recognise,
    contents=contents,
    coco=NvidiaCocoForm(),
    reference_names={
        "nvidia_measurements_digest": "measurements_digest",
        "allowed_driver_versions": "driver_version",
        "allowed_vbios_versions": "vbios_version",
        "allowed_switch_bios_versions": "vbios_version",
        "nvidia_gpu_fwid": "fwid",
        "nvidia_gpu_measurements": "measurements",
    },
    insecure=insecure_switches,
    collateral=kinds.kinds(),
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
        "That the GPUs which a switch names are those whose evidence came: a GPU states no id.",
        "A GPU's identity is its certificates'; the driver's UUID is not a claim.",
    ),
)
