"""Claims of a verified device, as they go into the policy input.

Three spellings beside one another, all of the same facts: those of CoCo's local verifier (``measurements``,
``config``), those of NVIDIA's tools and service (``x-nvidia-gpu-...``, ``measres``, ``secboot``,
``dbgstat``), which CoCo's policies read, and our own (``vbios_version``, ``measurement``). What CoCo and
NVIDIA take from the sender (``uuid``) is not among them; ``arch`` is the certificates'.

``secboot`` and ``dbgstat`` follow NVIDIA: a device says neither, and both are known only where every
measurement is the one that NVIDIA published. Otherwise they are absent.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypedDict

from verifier.nvidia.chain import DeviceClass
from verifier.nvidia.manifests import BIOS, DRIVER, VBIOS, versions
from verifier.nvidia.opaque import Field

if TYPE_CHECKING:
    from verifier.nvidia.certificates import Path
    from verifier.nvidia.chain import Leaf
    from verifier.nvidia.device import Device
    from verifier.nvidia.manifests import Held
    from verifier.nvidia.opaque import Opaque
    from verifier.nvidia.revocation import Status
    from verifier.nvidia.topology import Topology
    from verifier.tee import CommonClaims

_TEXTS = (Field.CHIP_SKU, Field.CHIP_SKU_MOD, Field.PROJECT, Field.PROJECT_SKU, Field.PROJECT_SKU_MOD)
_BYTES = (Field.BOARD_ID, Field.GPU_INFO, Field.NVDEC0_STATUS, Field.PROTECTED_PCIE_STATUS)


class NvidiaClaims(TypedDict, total=False):
    """``input.nvidia``, without the names of NVIDIA's tools (``x-nvidia-...``), which are no identifiers.

    Attributes:
        arch: ``HOPPER``, ``BLACKWELL`` or ``LS10``, by the certificates.
        device_class: ``gpu`` or ``switch``.
        chip: ``GH100``.
        hwmodel: name of the chip's boot-ROM authority.
        ueid: serial number of the attestation key's certificate, decimal.
        fwid: firmware that holds the attestation key, SHA-384, hex.
        vbios_version: of a GPU's VBIOS or a switch's firmware.
        driver_version: of a GPU's driver.
        mode: ``spt``, ``mpt`` or ``ppcie``; absent: not stated.
        measurements: every block's value, in the order of their indexes.
        measurements_digest: SHA-384 over those values, one after the other.
        measurement: index of a block, decimal, to its value.
        uncovered: indexes of blocks with a value that no manifest at hand has one for.
        config: opaque fields under CoCo's names.
        opaque: every opaque field, number to value, hex.
        measres: ``success``, ``fail``; absent: not all manifests are at hand.
        secboot: true where ``measres`` is ``success``.
        dbgstat: ``disabled`` where ``measres`` is ``success``.
        oemid: manufacturer, by its manifest.
        revocation: ``good``: every authority of the device is known not to be revoked; else ``unknown``.
        topology: of a whole system: numbers of devices, and whether it is complete.
    """

    arch: str
    device_class: str
    chip: str
    hwmodel: str
    ueid: str
    fwid: str
    vbios_version: str
    driver_version: str
    mode: str
    measurements: list[str]
    measurements_digest: str
    measurement: dict[str, str]
    uncovered: list[int]
    config: dict[str, Any]
    opaque: dict[str, str]
    measres: str
    secboot: bool
    dbgstat: str
    oemid: str
    revocation: str
    topology: dict[str, Any]


def device_claims(device: Device, *, bound: bool) -> dict[str, Any]:
    """The ``nvidia`` member of the policy input, for one device.

    Raises:
        Malformed, UnsupportedEvidence: an opaque field is not of its form.
    """
    exchange, opaque, leaf, comparison = device.exchange, device.opaque, device.leaf, device.comparison
    ordered = sorted(exchange.measurements.items())
    stated = versions(opaque, leaf)
    claims: dict[str, Any] = {
        "arch": str(leaf.architecture),
        "device_class": str(leaf.device_class),
        "chip": leaf.chip,
        "hwmodel": leaf.hwmodel,
        "ueid": leaf.ueid,
        "measurements": [value.hex() for _, value in ordered],
        "measurements_digest": hashlib.sha384(b"".join(value for _, value in ordered)).hexdigest(),
        "measurement": {str(index): value.hex() for index, value in ordered},
        "uncovered": list(comparison.uncovered),
        "config": _config(opaque, stated),
        "opaque": {str(kind): value.hex() for kind, value in opaque.fields.items()},
        "revocation": "good" if device.status.good else "unknown",
    }
    optional = {
        "fwid": _fwid(opaque, leaf),
        "vbios_version": stated.get(VBIOS) or stated.get(BIOS),
        "driver_version": stated.get(DRIVER),
        "mode": opaque.mode() if leaf.device_class is DeviceClass.GPU else None,
        "oemid": next((held.rim.manufacturer for held in comparison.held.values()), None),
    }
    claims |= {name: value for name, value in optional.items() if value}
    if comparison.complete:
        claims["measres"] = "success" if comparison.matches else "fail"
    if comparison.matches:
        claims |= {"secboot": True, "dbgstat": "disabled"}
    return claims | _as_nvidia(device, stated, bound=bound)


def common_claims(device: Device) -> CommonClaims:
    """The ``common`` member, for one device."""
    claims: CommonClaims = {
        "product": device.leaf.chip,
        "registers": {str(i): value.hex() for i, value in sorted(device.exchange.measurements.items())},
    }
    if device.comparison.matches:
        claims["debug"] = False
    return claims


def topology_claims(topology: Topology) -> dict[str, Any]:
    """The ``nvidia`` member for a whole system."""
    return {
        "device_class": "ppcie",
        "mode": "ppcie",
        "topology": {
            "gpus": topology.gpus,
            "switches": topology.switches,
            "complete": not topology.faults,
            "switch_pdis": sorted(topology.own),
        },
    }


def _fwid(opaque: Opaque, leaf: Leaf) -> str | None:
    """What the device states, else what its leaf does: both were held against one another."""
    stated = opaque.fwid() or next(iter(leaf.fwids), None)
    return None if stated is None else stated.hex()


def _config(opaque: Opaque, stated: dict[str, str]) -> dict[str, Any]:
    """Under the names of CoCo's local verifier; texts without their zeros, other fields as hex."""
    found: dict[str, Any] = {field.name.lower(): opaque.text(field) for field in _TEXTS}
    found |= {field.name.lower(): _hex(opaque.fields.get(field)) for field in _BYTES}
    found |= {
        "cpr_info": _hex(opaque.fields.get(Field.CPRINFO)),
        "driver_version": stated.get(DRIVER),
        "fwid": _hex(opaque.fwid()),
        "measurement_count": opaque.counts() or None,
        "vbios_version": stated.get(VBIOS) or stated.get(BIOS),
    }
    return {name: value for name, value in found.items() if value is not None}


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _as_nvidia(device: Device, stated: dict[str, str], *, bound: bool) -> dict[str, Any]:
    """Under the names of NVIDIA's tools. Absent is what is not known; nothing false would have got here."""
    leaf, comparison = device.leaf, device.comparison
    kind = f"x-nvidia-{leaf.device_class}"
    report = f"{kind}-attestation-report"
    claims: dict[str, Any] = {
        "x-nvidia-device-type": str(leaf.device_class),
        f"{kind}-arch-check": True,
        f"{report}-parsed": True,
        f"{report}-signature-verified": True,
        f"{report}-cert-chain": _chain(device.path, device.status),
        # Also where only the leaf states an identity, as LS10 does: nothing contradicts it.
        f"{report}-cert-chain-fwid-match": True,
        "x-nvidia-mismatch-measurement-records": [dict(item) for item in comparison.mismatches],
    }
    if bound:
        claims[f"{report}-nonce-match"] = True
    for part, version in stated.items():
        claims[f"{kind}-{part}-version"] = version
    for part, held in comparison.held.items():
        claims |= _manifest(f"{kind}-{part}-rim", held)
    if comparison.complete and leaf.device_class is DeviceClass.GPU:
        claims[f"{kind}-vbios-index-no-conflict"] = True
    return claims


def _manifest(name: str, held: Held) -> dict[str, Any]:
    flags = ("fetched", "schema-validated", "signature-verified", "version-match", "measurements-available")
    return {f"{name}-{flag}": True for flag in flags} | {
        f"{name}-cert-chain": _chain(held.rim.path, held.status)
    }


def _chain(path: Path, status: Status) -> dict[str, Any]:
    return {
        "x-nvidia-cert-status": "valid",
        "x-nvidia-cert-ocsp-status": "good" if status.good else "unknown",
        "x-nvidia-cert-expiration-date": path.not_after.isoformat().replace("+00:00", "Z"),
        "x-nvidia-cert-revocation-reason": None,
    }
