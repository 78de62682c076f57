"""The four TCB versions of a report, taken apart for its product."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from verifier.snp.products import Product, Tcb, decode_tcb

if TYPE_CHECKING:
    from verifier.snp.report import Report


class PlatformTcbs(msgspec.Struct, frozen=True):
    """TCBs of one report.

    Attributes:
        current: what runs now (0x038).
        reported: what the signing key was derived for (0x180).
        committed: what the platform can no longer go below (0x1E0).
        launch: what ran when the guest was launched or imported (0x1F0).
    """

    current: Tcb
    reported: Tcb
    committed: Tcb
    launch: Tcb

    def items(self) -> tuple[tuple[str, Tcb], ...]:
        """Name and TCB, in the order above."""
        return (
            ("current", self.current),
            ("reported", self.reported),
            ("committed", self.committed),
            ("launch", self.launch),
        )


def tcbs_of(report: Report, product: Product) -> PlatformTcbs:
    """Decode the TCBs of ``report``.

    Raises:
        Malformed: a reserved byte is set.
    """
    return _decode(
        report.current_tcb, report.reported_tcb, report.committed_tcb, report.launch_tcb, product
    )


@lru_cache(maxsize=1024)
def _decode(
    current: bytes, reported: bytes, committed: bytes, launch: bytes, product: Product
) -> PlatformTcbs:
    return PlatformTcbs(
        current=decode_tcb(current, product),
        reported=decode_tcb(reported, product),
        committed=decode_tcb(committed, product),
        launch=decode_tcb(launch, product),
    )
