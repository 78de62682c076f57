"""Instants as text: RFC 3339 and nothing else of ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

# RFC 3339 section 5.6, date-time; `datetime.fromisoformat` alone would accept much more of ISO 8601.
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})\Z"
)


def rfc3339(text: str) -> datetime | None:
    """The instant (in UTC) that an RFC 3339 date-time names, or None where it is none."""
    if not _RFC3339.match(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # no such day or hour; before year 1 or after 9999 in UTC
        return None


def earliest(*instants: datetime | None) -> datetime | None:
    """The earliest of the bounds that are given; None where none is."""
    return min((instant for instant in instants if instant is not None), default=None)
