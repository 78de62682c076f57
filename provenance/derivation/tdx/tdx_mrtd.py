"""Rule ``tdx-mrtd``: a TDX virtual firmware to MRTD.

Order: launch shape -> artefact bound to a subject -> TDVF metadata -> one value per page order.

MRTD is one SHA-384 over what the TDX module appends while the TD is built: for every page that the VMM
adds, 128 bytes with "MEM.PAGE.ADD" and the page's address; for every 256 bytes that it asks to be
measured, 128 bytes with "MR.EXTEND" and their address, then the bytes. Sections are added in the order of
the firmware's table. Within a section there are two orders, by VMM, and each is a legal launch:

* ``interleaved``: each page is extended right after it was added;
* ``two-pass``: all pages of a section are added, then all are extended.

Memory size, vCPU count, TD attributes and XFAM do not enter MRTD.

Not done: a TD HOB, payload or parameter section that is measured but filled by the VMM (refused); MRSEAM
and MRSIGNERSEAM, which belong to the TDX module and are not derived from anything built here.

Sources: Intel TDX Module ABI specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND (data that extends MRTD);
TDX Virtual Firmware Design Guide, section 11; Linux, arch/x86/kvm/vmx/tdx.c.
"""

from __future__ import annotations

import hashlib
import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.derivation.derived import Output, check_roles, convert, data_of, one_or_many, record
from provenance.derivation.subjects import bind
from provenance.derivation.tdx import tdvf
from provenance.derivation.tdx.tdvf import PAGE, SectionType
from provenance.errors import NotDerivable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.derivation.tdx.tdvf import Section, Tdvf
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "tdx-mrtd"
VERSION: Final = 1
REFERENCE_NAME: Final = "mr_td"  # as CoCo's default attestation policy names it
FIRMWARE: Final = "firmware"
_CHUNK: Final = 256  # what one TDH.MR.EXTEND measures
# 128 bytes: the operation's name, at 16 the guest physical address (little endian), zeros.
_RECORD: Final = struct.Struct("<16sQ104x")
_ADD: Final = b"MEM.PAGE.ADD"
_EXTEND: Final = b"MR.EXTEND"


class PageOrder(StrEnum):
    """In which order a VMM adds and extends the pages of a section."""

    INTERLEAVED = "interleaved"
    BY_SECTION = "two-pass"


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    page_order: PageOrder | list[PageOrder]


def measure(firmware: Tdvf, order: PageOrder) -> bytes:
    """MRTD (48 bytes) of a firmware under a page order.

    Raises:
        NotDerivable: a section is measured whose content the VMM makes.
    """
    digest = hashlib.sha384()
    for section in firmware.sections:
        if section.augmented:
            continue
        content = _content(section)
        pages = range(0, section.size, PAGE)
        if order is PageOrder.INTERLEAVED:
            for offset in pages:
                digest.update(_RECORD.pack(_ADD, section.gpa + offset))
                digest.update(_extension(section.gpa, content, offset))
            continue
        digest.update(b"".join(_RECORD.pack(_ADD, section.gpa + offset) for offset in pages))
        for offset in pages:
            digest.update(_extension(section.gpa, content, offset))
    return digest.digest()


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): one ``mr_td`` per page order.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: the firmware is not a subject of the statement.
        ArtifactInvalid: the firmware cannot be read.
        NotDerivable: no firmware, only its digest, or anything beside it; as ``measure``.
    """
    stated: PageOrder | list[PageOrder] = convert(request.launch, _Shape).page_order
    orders: tuple[PageOrder, ...] = one_or_many(stated, "page_order")
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    inputs = bind(admitted, request, artifacts)
    check_roles(inputs, {FIRMWARE}, "MRTD")
    firmware = tdvf.parse(data_of(inputs, FIRMWARE))
    recorded: dict[str, Any] = record(inputs)
    return tuple(
        output.value(
            REFERENCE_NAME,
            measure(firmware, order).hex(),
            "tdx",
            recorded | {"launch": {"page_order": order.value}},
        )
        for order in orders
    )


def _content(section: Section) -> bytes | None:
    """What is measured of a section's content; None where only addresses are."""
    if not section.extended:
        return None
    if section.data is not None:
        return section.data
    if section.type not in (SectionType.TEMP_MEM, SectionType.PERM_MEM):
        raise NotDerivable(
            f"the firmware has its {section.type.name} section measured, whose content the VMM makes"
        )
    return bytes(section.size)


def _extension(gpa: int, content: bytes | None, offset: int) -> bytes:
    if content is None:
        return b""
    return b"".join(
        _RECORD.pack(_EXTEND, gpa + at) + content[at : at + _CHUNK]
        for at in range(offset, offset + PAGE, _CHUNK)
    )
