"""What a piece of evidence must carry in its report-data field, for every way of expecting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.binding import binding_digest
from common.errors import Malformed
from common.runtime_data import fitted
from verifier.model import ReportDataBinding, RuntimeDataBinding, SessionBinding, Unbound

if TYPE_CHECKING:
    from verifier.model import Expectation, InitDataClaim


def expected_report_data(expected: Expectation, init_data: InitDataClaim | None, size: int) -> bytes | None:
    """The bytes that evidence must carry, of ``size`` bytes; None where nothing is expected.

    Raises:
        Malformed: expected report data of another length, or an unusable nonce or key.
    """
    if isinstance(expected, Unbound):
        return None
    if isinstance(expected, RuntimeDataBinding):
        return None if expected.data is None else fitted(expected.data, size)
    if isinstance(expected, ReportDataBinding):
        if len(expected.report_data) != size:
            raise Malformed(f"expected report data has {len(expected.report_data)} bytes, not {size}")
        return expected.report_data
    return binding_digest(
        nonce=expected.nonce,
        tee_pubkey=expected.tee_pubkey,
        audience=expected.audience,
        init_data_digest=b"" if init_data is None else init_data.digest,
        devices_digest=expected.devices,
        size=size,
    )


def bound_to(expected: Expectation) -> str:
    """How evidence that met ``expected`` is bound: ``session``, ``report-data`` or ``unbound``."""
    if isinstance(expected, RuntimeDataBinding):
        if expected.data is None:
            return "unbound"
        return "report-data" if expected.nonce is None else "session"
    if isinstance(expected, SessionBinding):
        return "session"
    return "report-data" if isinstance(expected, ReportDataBinding) else "unbound"


def bound_key(expected: Expectation) -> dict[str, str] | None:
    """The guest's key that evidence which met ``expected`` is bound to, if any."""
    return expected.tee_pubkey if isinstance(expected, (SessionBinding, RuntimeDataBinding)) else None
