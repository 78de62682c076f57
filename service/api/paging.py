"""Query parameters that every listing takes."""

from __future__ import annotations

import msgspec

DEFAULT_PAGE = 100


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of a listing.

    Attributes:
        limit: at most so many items.
        cursor: ``next`` of the page before.
    """

    limit: int = DEFAULT_PAGE
    cursor: str | None = None
