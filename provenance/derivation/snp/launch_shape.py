"""The SNP launch shape: what the VMM decides and the launch digest depends on.

Every member that enters the measurement is stated by the caller; none has a default. A list of vCPU
counts stands for a set of launches that share everything else, and gives one value each.

Sources: AMD APM volume 2 (24593), section 15.36.16 and table B-4 (SEV_FEATURES at 3B0h); AMD CPUID
specification (25481), Fn0000_0001_EAX; QEMU, docs/system/i386/amd-memory-encryption.rst
(``kernel-hashes``) and target/i386/cpu.c (CPU models).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sevsnpmeasure.vcpu_types import CPU_SIGS

from provenance.errors import LaunchShapeInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VCPUS: Final = 1024
MAX_COUNTS: Final = 64
_SNP_ACTIVE: Final = 1  # SEV_FEATURES bit 0 (APM volume 2, table B-4): set on every SNP guest
_UINT32: Final = 1 << 32
_UINT64: Final = 1 << 64


class Vmm(StrEnum):
    """Virtual machine monitors whose initial register state is known."""

    QEMU = "QEMU"
    EC2 = "ec2"
    GCE = "gce"


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vmm: Vmm
    vcpus: int | list[int]
    guest_features: int
    kernel_hashes: bool
    vcpu_type: str | None = None
    vcpu_sig: int | None = None


class LaunchShape(msgspec.Struct, frozen=True):
    """A parsed launch shape, ``parse`` makes it.

    Attributes:
        vmm: the virtual machine monitor.
        vcpus: vCPU counts, ascending, without repetition; one value is derived per count.
        guest_features: SEV_FEATURES of every vCPU (64 bits).
        kernel_hashes: the VMM puts the hashes of kernel, initrd and command line into the page that
            the firmware declares for them.
        vcpu_sig: CPUID Fn0000_0001_EAX, in RDX at reset under QEMU; None on ec2 and gce, which put
            a constant there.
        vcpu_type: the CPU model that the signature was taken from, if a model was stated.
    """

    vmm: Vmm
    vcpus: tuple[int, ...]
    guest_features: int
    kernel_hashes: bool
    vcpu_sig: int | None
    vcpu_type: str | None

    def record(self, vcpus: int) -> dict[str, Any]:
        """The shape of one launch, JSON-compatible, for lineage."""
        record: dict[str, Any] = {
            "vmm": self.vmm.value,
            "vcpus": vcpus,
            "guest_features": self.guest_features,
            "kernel_hashes": self.kernel_hashes,
        }
        if self.vcpu_type is not None:
            record["vcpu_type"] = self.vcpu_type
        elif self.vcpu_sig is not None:
            record["vcpu_sig"] = self.vcpu_sig
        return record


def parse(launch: Mapping[str, Any]) -> LaunchShape:
    """Parse the ``launch`` member of a derivation request.

    Raises:
        LaunchShapeInvalid: a missing, unknown, ill-typed or contradicting member.
    """
    try:
        document = msgspec.convert(dict(launch), type=_Document, strict=True)
    except msgspec.ValidationError as error:
        raise LaunchShapeInvalid(f"launch shape: {error}") from error
    features = document.guest_features
    if not (0 <= features < _UINT64 and features & _SNP_ACTIVE):
        raise LaunchShapeInvalid("launch shape: guest_features is not a 64-bit SEV_FEATURES with bit 0 set")
    return LaunchShape(
        vmm=document.vmm,
        vcpus=_counts(document.vcpus),
        guest_features=features,
        kernel_hashes=document.kernel_hashes,
        vcpu_sig=_signature(document),
        vcpu_type=document.vcpu_type,
    )


def _counts(stated: int | list[int]) -> tuple[int, ...]:
    counts = [stated] if isinstance(stated, int) else stated
    if not 1 <= len(counts) <= MAX_COUNTS:
        raise LaunchShapeInvalid(
            f"launch shape: vcpus lists {len(counts)} counts, 1 to {MAX_COUNTS} may be"
        )
    if not all(1 <= count <= MAX_VCPUS for count in counts):
        raise LaunchShapeInvalid(f"launch shape: a vCPU count is not within 1 to {MAX_VCPUS}")
    if len(set(counts)) != len(counts):
        raise LaunchShapeInvalid("launch shape: vcpus lists one count twice")
    return tuple(sorted(counts))


def _signature(document: _Document) -> int | None:
    if document.vcpu_type is not None and document.vcpu_sig is not None:
        raise LaunchShapeInvalid("launch shape: vcpu_type and vcpu_sig exclude each other")
    signature = document.vcpu_sig
    if document.vcpu_type is not None:
        signature = CPU_SIGS.get(document.vcpu_type)
        if signature is None:
            raise LaunchShapeInvalid(
                "launch shape: vcpu_type is not a CPU model that is known",
                advice=f"Give vcpu_sig, or one of {', '.join(CPU_SIGS)}.",
            )
    if signature is None and document.vmm is Vmm.QEMU:
        raise LaunchShapeInvalid(
            "launch shape: QEMU measures the CPU signature: vcpu_type or vcpu_sig is needed"
        )
    if signature is not None and not 0 <= signature < _UINT32:
        raise LaunchShapeInvalid("launch shape: vcpu_sig is not a 32-bit CPUID signature")
    return signature if document.vmm is Vmm.QEMU else None
