"""Linux IMA measurement list (``binary_runtime_measurements``): parsing and replay into register 10.

Little endian (the byte order of every machine this product runs on; ``ima_canonical_fmt`` elsewhere).
Source: Linux, security/integrity/ima/ima_fs.c (``ima_measurements_show``: record layout),
ima_template.c (templates), ima_queue.c (what is extended); Documentation/security/IMA-templates.rst.

A record: register u32, SHA-1 template digest (20 bytes), name length u32, template name, data length u32,
template data. Each bank is extended with the bank's hash over the template data; where the kernel had no
implementation of that hash at boot, with the SHA-1 digest padded with zeros. That form is as weak as
SHA-1 and is accepted only where the SHA-1 bank is.

A list grows while a quote is made: the quoted value may be reached before the last record. Records after
it are vouched for by nothing, and are not counted.

Not done: the legacy ``ima`` template, which has another layout; the meaning of the records.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.binary import Reader
from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence
from verifier.tpm.algorithms import BANK_HASHES, HASH_SIZES

IMA_PCR: Final = 10  # CONFIG_IMA_MEASURE_PCR_IDX, default
MAX_IMA_BYTES: Final = 4 << 20
MAX_RECORDS: Final = 50_000
_SHA1_BYTES: Final = 20
_MAX_NAME: Final = 64
_LEGACY_TEMPLATE: Final = b"ima"


class ImaRecord(msgspec.Struct, frozen=True):
    """One record.

    Attributes:
        digest: SHA-1 of ``data``; all zero for a violation (a file was open for writing).
        template: template name.
        data: template data.
    """

    digest: bytes
    template: str
    data: bytes


def parse_ima_log(data: bytes) -> tuple[ImaRecord, ...]:
    """Parse a measurement list.

    Raises:
        TooLarge: over 4 MiB or 50,000 records.
        Malformed: empty, cut short, a record of another register, a name that is not ASCII.
        UnsupportedEvidence: the legacy template.
    """
    if len(data) > MAX_IMA_BYTES:
        raise TooLarge(f"IMA list of {len(data)} bytes, the limit is {MAX_IMA_BYTES}")
    reader = Reader(data, "IMA list", "little")
    records = [_record(reader)]
    while reader.remaining:
        if len(records) >= MAX_RECORDS:
            raise TooLarge(f"IMA list of more than {MAX_RECORDS} records")
        records.append(_record(reader))
    return tuple(records)


def records_until(
    records: tuple[ImaRecord, ...], bank: str, start: bytes, quoted: bytes, *, allow_sha1: bool
) -> int | None:
    """How many records lead from ``start`` to the quoted value; None if no number of them does.

    Raises:
        UnsupportedEvidence: no implementation of the bank's hash.
    """
    if bank not in BANK_HASHES:
        raise UnsupportedEvidence(f"no replay of {bank} banks")
    forms = (False, True) if allow_sha1 and bank != "sha1" else (False,)
    counts = (_replay(records, bank, start, quoted, padded=padded) for padded in forms)
    return next((count for count in counts if count is not None), None)


def _replay(
    records: tuple[ImaRecord, ...], bank: str, start: bytes, quoted: bytes, *, padded: bool
) -> int | None:
    hash_of, sha1, size = BANK_HASHES[bank], BANK_HASHES["sha1"], HASH_SIZES[bank]
    register = start
    for count, record in enumerate(records):
        if register == quoted:
            return count
        if record.digest == bytes(_SHA1_BYTES):
            extended = b"\xff" * size
        elif sha1(record.data) != record.digest:
            return None  # the record's data is not what its digest says
        elif padded:
            extended = record.digest.ljust(size, b"\x00")
        else:
            extended = hash_of(record.data)
        register = hash_of(register + extended)
    return len(records) if register == quoted else None


def _record(reader: Reader) -> ImaRecord:
    register = reader.u32("register")
    if register != IMA_PCR:
        raise Malformed(f"IMA list: a record of register {register}, not {IMA_PCR}")
    digest = reader.take(_SHA1_BYTES, "template digest")
    size = reader.u32("template name length")
    if not 0 < size <= _MAX_NAME:
        raise Malformed(f"IMA list: a template name of {size} bytes")
    name = reader.take(size, "template name")
    if name == _LEGACY_TEMPLATE:
        raise UnsupportedEvidence("the legacy IMA template is not supported: use ima-ng or ima-sig")
    if not name.isascii():
        raise Malformed("IMA list: a template name is not ASCII")
    return ImaRecord(digest, name.decode("ascii"), reader.take(reader.u32("data length"), "template data"))
