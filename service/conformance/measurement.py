"""Runs derivation cases of a conformance manifest: build inputs to the SNP launch measurement.

* ``derive-snp`` (provenance manifest): firmware file, kernel, initrd and command line under a launch
  shape; ``expect`` is the measurement.
* ``derive-tdx-mrtd``: firmware under a page order; ``expect`` is MRTD.
* ``derive-pcr11``: files of the sections of a unified kernel image (``linux``, ``osrel`` ...), optional
  ``phase`` path and ``bank``; ``expect`` is the register.
* ``measure`` (evidence manifest), told apart by what the case gives: JSON with ``ovmf_hash`` (a firmware
  descriptor with its launch, as dstack records it, always on QEMU); JSON with ``path`` (firmware of an
  installed distribution package, held to its digest); a firmware file with a table of launches; an SGX
  SIGSTRUCT, whose signature must hold.

Anything else is unsupported. What is compared is the measurement alone: these cases carry no
statement, so they start after ``provenance.derivation.subjects``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common import strict_json
from common.errors import Malformed, TouchstoneError
from common.files import read_limited
from provenance.derivation.boot import measured_boot, uki
from provenance.derivation.sgx import sigstruct
from provenance.derivation.snp import firmware, launch_shape, snp_launch
from provenance.derivation.tdx import tdvf, tdx_mrtd
from service.conformance.outcome import FAIL, PASS, Outcome, case_id, refused, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.derivation.snp.firmware import FirmwareState
    from provenance.derivation.snp.snp_launch import KernelHashes

SNP: Final = "derive-snp"
MRTD: Final = "derive-tdx-mrtd"
PCR11: Final = "derive-pcr11"
MEASURE: Final = "measure"
KINDS: Final = (PCR11, SNP, MRTD, MEASURE)
_MAX_FILE: Final = 64 << 20
_QEMU: Final = "QEMU"
# Where distributions install OVMF (Debian package `ovmf`); a manifest names no other place.
_FIRMWARE_FOLDERS: Final = (Path("/usr/share/ovmf"), Path("/usr/share/OVMF"))
_PAGE_ORDERS: Final = {
    "add-extend-interleaved": tdx_mrtd.PageOrder.INTERLEAVED,
    "all-adds-then-extends": tdx_mrtd.PageOrder.BY_SECTION,
}
_DESCRIPTOR_MEMBERS: Final = ("ovmf_hash", "ovmf_sections", "hashes_table_gpa", "reset_eip")


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case.

    Args:
        case: the manifest's record.
        folder: folder of the manifest, to which file names are relative.

    Raises:
        Malformed, NotFound: the case itself is unusable.
    """
    kind = str(case.get("type") or case.get("tee") or "?")
    try:
        if kind == SNP:
            return _run_derivation(case, folder)
        if kind == MRTD:
            return _run_mrtd(case, folder)
        if kind == PCR11:
            return _run_pcr11(case, folder)
        if kind == MEASURE:
            return _run_measure(case, folder)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Malformed(f"case {case_id(case)} lacks a member or has one of another type") from error
    return unsupported(case, kind, _expected(case), "no derivation rule for this measurement")


def _run_derivation(case: Mapping[str, Any], folder: Path) -> Outcome:
    params = case["params"]
    image = _read(folder, params["ovmf"])
    hashes = None
    try:
        if params["kernel"] is not None:
            hashes = snp_launch.kernel_hashes(
                _sha256(folder, params["kernel"]),
                _sha256(folder, params["initrd"]) if params["initrd"] is not None else None,
                (params["append"] or "").encode("utf-8"),
            )
        state = firmware.parse_firmware(image)
        launch = {**_launch(params), "vmm": params["vmm_type"]}
        measured = _measure(state, launch, hashes)
    except TouchstoneError as error:
        return refused(case, SNP, case["expect"], error)
    return _compared(case, SNP, [(case["expect"], measured)])


def _run_mrtd(case: Mapping[str, Any], folder: Path) -> Outcome:
    order = _PAGE_ORDERS[case["params"]["page_order"]]
    try:
        measured = tdx_mrtd.measure(tdvf.parse(_read(folder, case["params"]["tdvf"])), order)
    except TouchstoneError as error:
        return refused(case, MRTD, case["expect"], error)
    return _compared(case, MRTD, [(case["expect"], measured.hex())])


def _run_measure(case: Mapping[str, Any], folder: Path) -> Outcome:
    claims = case["expect"]["claims"]
    data = _read(folder, case["files"]["input"])
    try:
        if "digests" in claims:
            return _run_table(case, data, claims["digests"])
        if "launch_digest" in claims:
            return _run_input(case, strict_json.loads(data, what="input"), claims["launch_digest"])
        if "mr_enclave" in claims:
            return _run_sigstruct(case, data, claims)
    except TouchstoneError as error:
        return refused(case, MEASURE, _expected(case), error)
    return unsupported(case, MEASURE, _expected(case), "no derivation rule for this measurement")


def _run_pcr11(case: Mapping[str, Any], folder: Path) -> Outcome:
    params = case["params"]
    bank = params.get("bank", "sha256")
    unknown = params.keys() - {name[1:] for name in uki.SECTIONS} - {"bank", "phase"}
    if unknown:
        return unsupported(case, PCR11, _expected(case), f"no section {min(unknown)!a} is measured")
    stated = [name for name in uki.SECTIONS if params.get(name[1:]) is not None]
    try:
        uki.check_sections(stated)
        sections = [(name, _read(folder, params[name[1:]])) for name in stated]
        events = (
            *uki.measure_contents(sections, [bank]),
            *uki.measure_phases(params.get("phase", ""), [bank]),
        )
        value = measured_boot.registers(bank, events)[uki.KERNEL_BOOT_PCR]
    except TouchstoneError as error:
        return refused(case, PCR11, _expected(case), error)
    return _compared(case, PCR11, [(case["expect"], value.hex())])


def _run_sigstruct(case: Mapping[str, Any], data: bytes, claims: Mapping[str, Any]) -> Outcome:
    signed = sigstruct.parse_sigstruct(data)
    found = {
        "mr_enclave": signed.mr_enclave.hex(),
        "mr_signer": signed.mr_signer.hex(),
        "isv_prod_id": signed.isv_prod_id,
        "isv_svn": signed.isv_svn,
    }
    return _compared(case, MEASURE, [(str(claims[name]), str(value)) for name, value in found.items()])


def _run_table(case: Mapping[str, Any], image: bytes, table: list[Mapping[str, Any]]) -> Outcome:
    state = firmware.parse_firmware(image)
    pairs = [(row["launch_digest"], _measure(state, {**_launch(row), "vmm": _QEMU}, None)) for row in table]
    return _compared(case, MEASURE, pairs)


def _run_input(case: Mapping[str, Any], document: Mapping[str, Any], expected: str) -> Outcome:
    launch = {**_launch(document), "vmm": _QEMU}
    if "ovmf_hash" in document:
        described = {"format": firmware.DESCRIPTOR_FORMAT}
        described |= {name: document[name] for name in _DESCRIPTOR_MEMBERS}
        state = firmware.parse_descriptor(strict_json.canonical(described))
        hashes = snp_launch.kernel_hashes(
            bytes.fromhex(document["kernel_hash"]),
            bytes.fromhex(document["initrd_hash"]),
            document["cmdline"].encode("utf-8"),
        )
        return _compared(case, MEASURE, [(expected, _measure(state, launch, hashes))])
    path = Path(document["path"])
    if path.parent not in _FIRMWARE_FOLDERS or not path.is_file():
        return unsupported(case, MEASURE, _expected(case), f"no firmware at {path}: install `ovmf`")
    image = read_limited(path, what="firmware", max_bytes=_MAX_FILE)
    if hashlib.sha256(image).hexdigest() != document["sha256"]:
        return unsupported(case, MEASURE, _expected(case), f"{path} is of another version of `ovmf`")
    return _compared(case, MEASURE, [(expected, _measure(firmware.parse_firmware(image), launch, None))])


def _measure(state: FirmwareState, launch: Mapping[str, Any], hashes: KernelHashes | None) -> str:
    shape = launch_shape.parse({**launch, "kernel_hashes": hashes is not None})
    (digest,) = snp_launch.measure(state, shape, hashes).values()
    return digest.hex()


def _launch(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: source[name] for name in ("vcpus", "vcpu_type", "guest_features")}


def _compared(case: Mapping[str, Any], kind: str, pairs: list[tuple[str, str]]) -> Outcome:
    """``pass`` if every measurement is the expected one; ``pairs`` are (expected, measured)."""
    if not pairs:
        raise Malformed(f"case {case_id(case)} expects no measurement")
    differing = [f"expected {expected}, measured {got}" for expected, got in pairs if expected != got]
    expected = pairs[0][0] if len(pairs) == 1 else f"{len(pairs)} measurements"
    if differing:
        return Outcome(case_id(case), kind, expected, FAIL, None, agree=False, detail=differing[0])
    return Outcome(
        case_id(case), kind, expected, PASS, None, agree=True, detail=f"{len(pairs)} measured, all equal"
    )


def _expected(case: Mapping[str, Any]) -> str:
    expect = case.get("expect")
    return str(expect.get("result") if isinstance(expect, dict) else expect)


def _read(folder: Path, name: str) -> bytes:
    return read_limited(folder / name, what="case file", max_bytes=_MAX_FILE)


def _sha256(folder: Path, name: str) -> bytes:
    return hashlib.sha256(_read(folder, name)).digest()
