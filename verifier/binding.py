"""What a piece of evidence must carry in its report-data field, for every way of expecting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.binding import binding_digest
from common.errors import Malformed
from verifier.model import ReportDataBinding, Unbound

if TYPE_CHECKING:
    from verifier.model import Expectation, InitDataClaim


def expected_report_data(expected: Expectation, init_data: InitDataClaim | None, size: int) -> bytes | None:
    """The bytes that evidence must carry, of ``size`` bytes; None for ``Unbound``.

    Raises:
        Malformed: expected report data of another length, or an unusable nonce or key.
    """
    if isinstance(expected, Unbound):
        return None
    if isinstance(expected, ReportDataBinding):
        if len(expected.report_data) != size:
            raise Malformed(f"expected report data has {len(expected.report_data)} bytes, not {size}")
        return expected.report_data
    return binding_digest(
        nonce=expected.nonce,
        tee_pubkey=expected.tee_pubkey,
        audience=expected.audience,
        init_data_digest=b"" if init_data is None else init_data.digest,
        size=size,
    )
