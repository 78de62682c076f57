"""CSV's items of the endorsement store: HSK and CEK of a chip, in one file.

The name holds the chip's serial number, which nothing in the certificates bears out: a file under another
chip's number does harm to nobody, since the report's PEK must be signed by the CEK in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from verifier.csv.certificates import HSK_CEK_BYTES
from verifier.csv.chain import Anchors, verify_hsk_cek
from verifier.csv.report import parse_serial_number
from verifier.csv.store import KDS
from verifier.csv.verifier import read_report, split_hsk_cek
from verifier.endorsements.kinds import Ask, CollateralKind, Facts, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.csv.evidence import CsvEvidence
    from verifier.endorsements.kinds import Item, Sources

VENDOR: Final = "hygon"
_BASE: Final = KDS.partition("/hsk_cek")[0]


def kinds(anchors: Anchors | None = None) -> tuple[CollateralKind, ...]:
    """The kinds, below Hygon's pinned root, or below others."""

    def verify(item: Item, now: datetime) -> Facts:
        del now
        serial_number = _serial(item.name.split("/")[2])
        verify_hsk_cek(*split_hsk_cek(item.data), anchors or Anchors())
        return Facts(subject=serial_number)

    return (
        CollateralKind(
            name="csv.hsk-cek",
            title="HSK and CEK of a Hygon chip",
            vendor=VENDOR,
            glob="csv/hsk_cek/*/hsk_cek.cert",
            verify=verify,
            max_bytes=HSK_CEK_BYTES,
            changes=False,
            parameters=(Parameter("serial-number", "Serial number of the chip.", "TEXT"),),
            asks=_asks,
            needs=_needs,
        ),
    )


def _asks(given: Mapping[str, str], sources: Sources) -> tuple[Ask, ...]:
    if "serial-number" not in given:
        return ()
    name = _serial(given["serial-number"])
    urls = tuple(f"{base}/hsk_cek?snumber={name}" for base in sources.of(VENDOR, _BASE))
    return (Ask(f"csv/hsk_cek/{name}/hsk_cek.cert", urls),)


def _needs(evidence: CsvEvidence) -> tuple[Mapping[str, str], ...]:
    if evidence.hsk_cek is not None:
        return ()
    return ({"serial-number": read_report(evidence).serial_number},)


def _serial(text: str) -> str:
    if not text.isascii():
        raise Malformed("the chip's serial number is not of letters, digits and hyphens")
    return parse_serial_number(text.encode("ascii"))
