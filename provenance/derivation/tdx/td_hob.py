"""The TD hand-off block (HOB) list that QEMU writes for a TDX guest, which its firmware measures first.

The list: the hand-off information table, then one resource descriptor per range of memory, by address. The
ranges that the TDVF metadata declares as TD HOB or temporary memory are system memory, all else up to
the end of memory below 4 GiB is unaccepted, and so is the rest of memory, from 4 GiB on. The
end-of-list entry is counted in the table's end address, and is not measured.

Machine ``q35`` alone: memory below 4 GiB is all of it up to 2816 MiB exclusive, and 2 GiB of larger ones.

Validated: digests of this list equal the first events of two logs of real TDX machines. The logs do not
state the memory; 2 GiB and 10 GiB are the sizes that match.

Sources: UEFI PI 1.7 volume 3, sections 4.5.2 (hob header), 5.3 (EFI_HOB_HANDOFF_INFO_TABLE), 5.5
(EFI_HOB_RESOURCE_DESCRIPTOR); TDX Virtual Firmware Design Guide, section 4.2; QEMU, hw/i386/tdvf-hob.c
and hw/i386/pc_q35.c (memory below 4 GiB).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from provenance.derivation.tdx.tdvf import FOUR_GIB, SectionType
from provenance.errors import NotDerivable

if TYPE_CHECKING:
    from provenance.derivation.tdx.tdvf import Tdvf

MIB: Final = 1 << 20
# hw/i386/pc_q35.c, pc_q35_init: from this size on, memory below 4 GiB ends at 2 GiB.
_SPLIT_FROM: Final = 0xB0000000
_BELOW_IF_SPLIT: Final = 0x80000000
MAX_MEMORY: Final = 1 << 46

# type, length, reserved; version, boot mode, memory top and bottom, free top and bottom, end of list
_HANDOFF: Final = struct.Struct("<HHIII5Q")
_HANDOFF_TYPE: Final = 1
_HANDOFF_VERSION: Final = 9
# type, length, reserved; owner GUID, resource type, attributes, start, length
_RESOURCE: Final = struct.Struct("<HHI16xIIQQ")
_RESOURCE_TYPE: Final = 3
_SYSTEM_MEMORY: Final = 0
_UNACCEPTED_MEMORY: Final = 7
_PRESENT_INITIALIZED_TESTED: Final = 7
_END_BYTES: Final = 8


def memory_below_4g(memory: int) -> int:
    """How much of a q35 machine's memory lies below 4 GiB, in bytes."""
    return memory if memory < _SPLIT_FROM else _BELOW_IF_SPLIT


def measured_list(firmware: Tdvf, memory: int) -> bytes:
    """The bytes of the HOB list that the firmware measures into RTMR0.

    Args:
        firmware: its TDVF metadata.
        memory: the machine's memory in bytes.

    Raises:
        NotDerivable: the firmware declares sections that do not lie in memory, or that this list does
            not account for (permanent memory, payloads).
        ArtifactInvalid: the firmware declares no TD HOB, or several.
    """
    base = firmware.one(SectionType.TD_HOB).gpa
    low_end = memory_below_4g(memory)
    body: list[bytes] = []
    reached = 0
    for gpa, size in _ranges(firmware):
        if gpa + size >= low_end:
            raise NotDerivable("the machine's memory ends before the sections that its firmware declares")
        if gpa > reached:
            body.append(_resource(_UNACCEPTED_MEMORY, reached, gpa))
        body.append(_resource(_SYSTEM_MEMORY, gpa, gpa + size))
        reached = gpa + size
    body.append(_resource(_UNACCEPTED_MEMORY, reached, low_end))
    if memory > low_end:
        body.append(_resource(_UNACCEPTED_MEMORY, FOUR_GIB, FOUR_GIB + memory - low_end))
    resources = b"".join(body)
    end = base + _HANDOFF.size + len(resources) + _END_BYTES
    return _HANDOFF.pack(_HANDOFF_TYPE, _HANDOFF.size, 0, _HANDOFF_VERSION, 0, 0, 0, 0, 0, end) + resources


def _ranges(firmware: Tdvf) -> list[tuple[int, int]]:
    unknown = {SectionType.PERM_MEM, SectionType.PAYLOAD, SectionType.PAYLOAD_PARAM}
    if any(section.type in unknown for section in firmware.sections):
        raise NotDerivable("the firmware declares memory or payload sections that QEMU does not launch")
    return sorted(
        (section.gpa, section.size)
        for section in firmware.sections
        if section.type in (SectionType.TD_HOB, SectionType.TEMP_MEM)
    )


def _resource(kind: int, start: int, end: int) -> bytes:
    return _RESOURCE.pack(
        _RESOURCE_TYPE, _RESOURCE.size, 0, kind, _PRESENT_INITIALIZED_TESTED, start, end - start
    )
