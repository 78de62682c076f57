"""Times in tokens of others: NumericDate (RFC 7519 section 2), seconds since the epoch, or a fraction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

_END: Final = 2**53


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """A time among ``claims``; None where it is absent or null.

    Raises:
        Malformed: it is no number, or one beyond 2**53.
    """
    value = claims.get(name)
    if value is None:
        return None
    # An integer may be too large for a float, and 1e999 is read as infinity.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _END:
        raise Malformed(f"{name} is not a time")
    return float(value)
