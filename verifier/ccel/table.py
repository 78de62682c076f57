"""The ACPI table ``CCEL``: which kind of guest it is, and where the firmware put the event log.

Little endian, 56 bytes. Sources: UEFI 2.11, section 38.4.2 (CC event log ACPI table); ACPI 6.5, section
5.2.6 (table header). Nothing measures or signs the table: it is for readers, no verdict rests on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.binary import Reader
from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE_BYTES: Final = 56
_SIGNATURE: Final = b"CCEL"
# UEFI 2.11, table 38.4.2 (CC Type).
CC_TYPES: Final[Mapping[int, str]] = {1: "sev", 2: "tdx"}


class CcelTable(msgspec.Struct, frozen=True):
    """A parsed table.

    Attributes:
        revision: of the table.
        oem_id: ASCII, without trailing spaces.
        oem_table_id: likewise.
        cc_type: 1 AMD SEV, 2 Intel TDX; other values belong to other vendors.
        cc_subtype: vendor's.
        log_area_bytes: least length of the area that holds the log.
        log_area_address: guest physical address of it.
    """

    revision: int
    oem_id: str
    oem_table_id: str
    cc_type: int
    cc_subtype: int
    log_area_bytes: int
    log_area_address: int


def parse_table(data: bytes) -> CcelTable:
    """Parse the table.

    Raises:
        Malformed: another size, signature, length field or checksum; an id that is not ASCII.
    """
    if len(data) != TABLE_BYTES:
        raise Malformed(f"the CCEL table has {len(data)} bytes, not {TABLE_BYTES}")
    if sum(data) % 256:
        raise Malformed("the CCEL table's checksum does not hold")
    reader = Reader(data, "CCEL table", "little")
    if reader.take(4, "signature") != _SIGNATURE:
        raise Malformed("the ACPI table is not a CCEL table")
    if reader.u32("length") != TABLE_BYTES:
        raise Malformed("the CCEL table's length field is not its length")
    revision = reader.u8("revision")
    reader.u8("checksum")
    oem_id = _ascii(reader.take(6, "OEM id"))
    oem_table_id = _ascii(reader.take(8, "OEM table id"))
    reader.take(12, "OEM revision, creator id and revision")
    cc_type, cc_subtype = reader.u8("CC type"), reader.u8("CC subtype")
    reader.u16("reserved")
    table = CcelTable(
        revision=revision,
        oem_id=oem_id,
        oem_table_id=oem_table_id,
        cc_type=cc_type,
        cc_subtype=cc_subtype,
        log_area_bytes=reader.u64("log area minimum length"),
        log_area_address=reader.u64("log area start address"),
    )
    reader.finish()
    return table


def _ascii(data: bytes) -> str:
    text = data.rstrip(b" \x00")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise Malformed("an id of the CCEL table is not printable ASCII")
    return text.decode("ascii")
