"""Rule ``snp-launch-digest``: firmware, kernel, initrd and command line to the SNP launch measurement.

Order: launch shape -> artefacts bound to subjects -> firmware parsed and checked -> kernel hashes ->
measuring -> one value per vCPU count.

* Kernel, initrd and command line count only under ``kernel_hashes``, and only with a firmware that
  declares a page for their hashes; given otherwise they would be unmeasured, and are refused.
* Without an initrd the hash of zero bytes is measured, as QEMU does. A command line is needed beside a
  kernel (an empty one is an empty artefact).
* The measuring is sev-snp-measure's (page context, section rules by VMM, VMSA, hash table). Its file
  readers are not used: they pad, wrap and default (``provenance.derivation.snp.ovmf``).

Not done: SEV, SEV-ES, SVSM, ID blocks.

Sources: SEV-SNP firmware ABI (56860) sections 8.17.2 (PAGE_INFO) and 8.16 (launch digest); QEMU,
target/i386/sev.c (kernel hashes).
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.guest import snp_update_metadata_pages
from sevsnpmeasure.ovmf import OvmfSevMetadataSectionDesc
from sevsnpmeasure.ovmf import SectionType as MeasuredType
from sevsnpmeasure.sev_hashes import SevHashes
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA

from provenance.derivation.boot.cmdline import check as check_cmdline
from provenance.derivation.snp import launch_shape
from provenance.derivation.snp.firmware import FirmwareState, parse_descriptor, parse_firmware
from provenance.derivation.subjects import BoundInput, bind
from provenance.derivation.validity import expiry_of, group_of
from provenance.errors import NotDerivable
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.derivation.snp.launch_shape import LaunchShape

NAME: Final = "snp-launch-digest"
VERSION: Final = 1
REFERENCE_NAME: Final = "snp_launch_measurement"
FIRMWARE: Final = "firmware"
DESCRIPTOR: Final = "firmware-descriptor"
KERNEL: Final = "kernel"
INITRD: Final = "initrd"
CMDLINE: Final = "cmdline"
_ROLES: Final = frozenset({FIRMWARE, DESCRIPTOR, KERNEL, INITRD, CMDLINE})
_HASHED: Final = frozenset({KERNEL, INITRD, CMDLINE})
TOOL: Final = f"sev-snp-measure/{version('sev-snp-measure')}"


class KernelHashes(msgspec.Struct, frozen=True):
    """SHA-256 digests that QEMU's ``kernel-hashes`` page holds, 32 bytes each.

    Attributes:
        kernel: of the kernel file.
        initrd: of the initrd file; of zero bytes where there is none.
        cmdline: of the command line with its terminating NUL.
    """

    kernel: bytes
    initrd: bytes
    cmdline: bytes


def kernel_hashes(kernel: bytes, initrd: bytes | None, cmdline: bytes) -> KernelHashes:
    """The hashes for a boot with these.

    Args:
        kernel: SHA-256 of the kernel file.
        initrd: SHA-256 of the initrd file, None where there is none.
        cmdline: the command line itself, without terminating NUL.

    Raises:
        ArtifactInvalid: the command line is not UTF-8, is too long, or has control characters (a
            trailing newline is not what the VMM passes on).
    """
    check_cmdline(cmdline)
    return KernelHashes(
        kernel=kernel,
        initrd=initrd if initrd is not None else hashlib.sha256().digest(),
        cmdline=hashlib.sha256(cmdline + b"\0").digest(),
    )


def measure(firmware: FirmwareState, shape: LaunchShape, hashes: KernelHashes | None) -> dict[int, bytes]:
    """The launch digest (48 bytes) for each vCPU count of the shape.

    Raises:
        NotDerivable: kernel hashes with a firmware that has no place for them, or several vCPUs with
            one that names no start address for application processors.
    """
    if hashes is not None and not firmware.measures_kernel:
        raise NotDerivable(
            "the firmware has no kernel-hashes page: kernel, initrd and command line would be unmeasured",
            advice="Use a firmware built with kernel hashes (edk2 OvmfPkg/AmdSev), or derive without them.",
        )
    if firmware.reset_eip is None and shape.vcpus[-1] > 1:
        raise NotDerivable("the firmware names no start address for application processors")
    vmm = VMMType[shape.vmm.value]
    context = GCTX(seed=firmware.ovmf_hash)
    snp_update_metadata_pages(context, _View(firmware), _table(hashes), vmm)
    # vCPUs are measured one after the other, so each count is a step on the way to the largest.
    vmsa = VMSA(
        SevMode.SEV_SNP, firmware.reset_eip or 0, shape.vcpu_sig or 0, shape.guest_features, vmm_type=vmm
    )
    digests: dict[int, bytes] = {}
    for index, page in enumerate(vmsa.pages(shape.vcpus[-1]), start=1):
        context.update_vmsa_page(page)
        if index in shape.vcpus:
            digests[index] = context.ld()
    return digests


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): one ``snp_launch_measurement`` per vCPU count.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        ArtifactInvalid: firmware, descriptor or command line cannot be read.
        NotDerivable: something is missing, superfluous, or would not be measured.
    """
    shape = launch_shape.parse(request.launch)
    expires = expiry_of(request, admitted.authentic.signed_at)
    group = group_of(admitted, request)
    inputs = bind(admitted, request, artifacts)
    hashes = _hashes(inputs, shape)
    digests = measure(_firmware(inputs), shape, hashes)
    recorded: dict[str, Any] = {role: inputs[role].sha256.hex() for role in sorted(inputs)}
    return tuple(
        DerivedValue(
            name=REFERENCE_NAME,
            value=digest.hex(),
            tee="snp",
            group=group,
            rule=f"{NAME}/{VERSION}",
            inputs=recorded | {"launch": shape.record(vcpus), "tool": TOOL},
            not_before=admitted.authentic.signed_at,
            expires=expires,
        )
        for vcpus, digest in digests.items()
    )


class _View:
    """A checked firmware in the shape in which sev-snp-measure reads its own."""

    def __init__(self, firmware: FirmwareState) -> None:
        self._items = [
            OvmfSevMetadataSectionDesc(section.gpa, section.size, int(section.type))
            for section in firmware.sections
        ]
        self._table = firmware.hashes_table_gpa

    def metadata_items(self) -> list[Any]:
        return self._items

    def has_metadata_section(self, kind: MeasuredType) -> bool:
        return any(item.section_type() == kind for item in self._items)

    def sev_hashes_table_gpa(self) -> int:
        if self._table is None:  # `measure` has refused this
            raise NotDerivable("the firmware has no table of kernel hashes")
        return self._table


def _table(hashes: KernelHashes | None) -> Any:
    if hashes is None:
        return None
    # Its constructor hashes files; here the digests are known, and the files need not be at hand.
    table = SevHashes.__new__(SevHashes)
    table.kernel_hash, table.initrd_hash, table.cmdline_hash = hashes.kernel, hashes.initrd, hashes.cmdline
    return table


def _firmware(inputs: Mapping[str, BoundInput]) -> FirmwareState:
    given = [inputs[role] for role in (FIRMWARE, DESCRIPTOR) if role in inputs]
    if len(given) != 1:
        raise NotDerivable("exactly one of firmware and firmware-descriptor is needed")
    (one,) = given
    if one.data is None:
        raise NotDerivable(f"the bytes of the {one.role} are needed, its digest does not suffice")
    return parse_firmware(one.data) if one.role == FIRMWARE else parse_descriptor(one.data)


def _hashes(inputs: Mapping[str, BoundInput], shape: LaunchShape) -> KernelHashes | None:
    unknown = inputs.keys() - _ROLES
    if unknown:
        named = ", ".join(ascii(role[:64]) for role in sorted(unknown))
        raise NotDerivable(f"artefacts that do not enter the launch measurement: {named}")
    if not shape.kernel_hashes:
        if inputs.keys() & _HASHED:
            raise NotDerivable(
                "kernel, initrd or command line are given with kernel_hashes off: they would be unmeasured"
            )
        return None
    kernel, initrd, cmdline = (inputs.get(role) for role in (KERNEL, INITRD, CMDLINE))
    if kernel is None or cmdline is None:
        raise NotDerivable("kernel_hashes needs a kernel and a command line (which may be empty)")
    if cmdline.data is None:
        raise NotDerivable("the text of the command line is needed: its digest does not suffice")
    return kernel_hashes(kernel.sha256, initrd.sha256 if initrd is not None else None, cmdline.data)
