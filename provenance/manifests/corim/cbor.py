"""Strict CBOR (``common.cbor``) with the limits of a CoRIM; whatever is wrong is a malformed manifest."""

from __future__ import annotations

from typing import Any, Final

from common import cbor
from common.cbor import encode
from provenance.errors import ManifestMalformed

__all__ = ["LIMITS", "MAX_BYTES", "MAX_DEPTH", "MAX_ITEMS", "decode", "encode"]

MAX_BYTES: Final = 4 << 20
MAX_ITEMS: Final = 200_000
MAX_DEPTH: Final = 24
LIMITS: Final = cbor.Limits(max_bytes=MAX_BYTES, max_items=MAX_ITEMS, max_depth=MAX_DEPTH)


def decode(data: bytes, *, what: str, tags: frozenset[int]) -> Any:
    """The one value in ``data``; tags as ``CBORTag``, never as what cbor2 would make of them.

    Args:
        data: encoded.
        what: its name in messages.
        tags: tag numbers that may occur.

    Raises:
        ManifestMalformed: not strict CBOR, or larger than the limits.
    """
    return cbor.decode(data, what=what, tags=tags, limits=LIMITS, error=ManifestMalformed)
