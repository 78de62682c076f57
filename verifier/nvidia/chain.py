"""A device's chain and what its leaf says: chip, architecture, class, firmware identity, identity.

Order: certificates to the pinned root (``certificates``); after the device's signature was verified with
the leaf, the leaf's profile (``read_leaf``).

Everything here comes from certificates that lead to NVIDIA's root: the chip's name from the name of the
boot-ROM authority that the chip itself holds (``GH100 A01 GSP BROM``), its identity from that authority's
serial number, which NVIDIA's provisioning certified. What a sender states beside the chain is only held
against it.

Sources: NVIDIA attestation SDK (architectures, FWID extension); TCG DICE Attestation Architecture 1.1.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from common.errors import Malformed
from verifier import vendor_roots
from verifier.errors import CertificateInvalid, UnsupportedEvidence
from verifier.nvidia import dice
from verifier.nvidia.certificates import UNREADABLE, Path, build_path, extension, load_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICE_ROOT: Final = "nvidia/device-identity-root.pem"
_FWID_OIDS: Final = (dice.COMPOSITE_OID, dice.TCB_INFO_OID)
_NAME: Final = re.compile(r"([A-Z]{2}_?[0-9A-Z]{2,4}) [A-Z0-9]{2,4} [A-Z]{2,4} BROM\Z")
_LEAST_CERTIFICATES: Final = 3  # leaf, boot-ROM authority, root


class Architecture(StrEnum):
    """Architectures that are known, by the name that NVIDIA's tools send."""

    HOPPER = "HOPPER"
    BLACKWELL = "BLACKWELL"
    LS10 = "LS10"


class DeviceClass(StrEnum):
    """What a device is; also the class of its submodule."""

    GPU = "gpu"
    SWITCH = "switch"


_CHIPS: Final = (
    (re.compile(r"GH[0-9]"), Architecture.HOPPER, DeviceClass.GPU),
    (re.compile(r"GB[0-9]"), Architecture.BLACKWELL, DeviceClass.GPU),
    (re.compile(r"LS10\Z"), Architecture.LS10, DeviceClass.SWITCH),
)


class Leaf(msgspec.Struct, frozen=True):
    """What a device's certificates prove.

    Attributes:
        chip: ``GH100``, ``GB100``, ``LS10``.
        architecture: of the chip.
        device_class: of the chip.
        hwmodel: name of the boot-ROM authority.
        ueid: the leaf's serial number, decimal, as NVIDIA's tools write it.
        identity: serial number of the boot-ROM authority, hex: one per chip.
        fwids: SHA-384 of the firmware that holds the attestation key; those that the leaf states.
    """

    chip: str
    architecture: Architecture
    device_class: DeviceClass
    hwmodel: str
    ueid: str
    identity: str
    fwids: tuple[bytes, ...]


def device_root() -> x509.Certificate:
    """NVIDIA's root of devices."""
    return vendor_roots.load(DEVICE_ROOT)


def verify_chain(ders: Sequence[bytes], roots: Sequence[x509.Certificate]) -> Path:
    """The path of a device's certificates to a root.

    Raises:
        Malformed, TooLarge: not certificates.
        CertificateInvalid: a link or a profile does not hold.
        RootUntrusted: it ends elsewhere.
    """
    return build_path(load_certificates(ders, "the device's chain"), roots, "the device's chain")


def read_leaf(path: Path) -> Leaf:
    """The leaf's profile, and what it says.

    Raises:
        CertificateInvalid: it is no device's attestation key, or two of its statements disagree.
        UnsupportedEvidence: a chip that is not known here.
    """
    try:
        return _read_leaf(path)
    except UNREADABLE as error:
        raise CertificateInvalid("the leaf has a part that cannot be read") from error
    except Malformed as error:
        raise CertificateInvalid(error.message) from error


def _read_leaf(path: Path) -> Leaf:
    if len(path.certificates) < _LEAST_CERTIFICATES:
        raise CertificateInvalid("the device's chain has no boot-ROM authority between leaf and root")
    leaf, brom = path.certificates[0], path.certificates[1]
    constraints, usage = extension(leaf, x509.BasicConstraints), extension(leaf, x509.KeyUsage)
    if (constraints is not None and constraints.ca) or usage is None or not usage.digital_signature:
        raise CertificateInvalid("the leaf is not marked as a key that signs data")
    hwmodel = _common_name(brom)
    match = _NAME.match(hwmodel)
    if match is None or not _common_name(leaf).startswith(f"{match[1]} "):
        raise CertificateInvalid("the names of leaf and issuer are not those of one device's chip")
    chip = match[1].replace("_", "")
    known = next((item for item in _CHIPS if item[0].match(chip)), None)
    if known is None:
        raise UnsupportedEvidence(f"the chip {chip} is not known here")
    return Leaf(
        chip=chip,
        architecture=known[1],
        device_class=known[2],
        hwmodel=hwmodel,
        ueid=str(leaf.serial_number),
        identity=f"{brom.serial_number:x}",
        fwids=_fwids(leaf),
    )


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise CertificateInvalid("a certificate of the device does not have one common name")
    return str(names[0].value)


def _fwids(leaf: x509.Certificate) -> tuple[bytes, ...]:
    found = [
        (item.oid.dotted_string, item.value.value)
        for item in leaf.extensions
        if item.oid.dotted_string in _FWID_OIDS and isinstance(item.value, x509.UnrecognizedExtension)
    ]
    if len(found) != 1:
        raise CertificateInvalid("the leaf does not state its firmware's identity exactly once")
    return dice.fwids(*found[0])
