"""Tags and identifiers that CoMIDs are made of, each as text.

Sources: draft-ietf-rats-corim-11 section 7 and appendix A; RFC 9090 (object identifiers); RFC 9562 (UUIDs).
"""

from __future__ import annotations

import uuid
from typing import Final

from provenance.errors import ManifestMalformed

OID, UUID, UEID, SVN, MIN_SVN, BYTES, MASKED, INT_RANGE = 111, 37, 550, 552, 553, 560, 563, 564
# 554 to 562 (without 560): ways to write a key, a certificate or a thumbprint of one.
TAGS: Final = frozenset({OID, UUID, UEID, SVN, MIN_SVN, BYTES, MASKED, INT_RANGE}) | frozenset(
    range(554, 563)
)
_UUID_BYTES: Final = 16
_MAX_OID_BYTES: Final = 64
_OID_MORE: Final = 0x80
_OID_ARCS: Final = 40


def oid(value: object) -> str:
    """Dotted decimal of the content of a BER object identifier (RFC 9090; X.690 section 8.19).

    Raises:
        ManifestMalformed: not one, or an arc that is not in its shortest form.
    """
    if not isinstance(value, bytes) or not 1 <= len(value) <= _MAX_OID_BYTES or value[-1] & _OID_MORE:
        raise ManifestMalformed("an object identifier is malformed")
    arcs: list[int] = []
    arc, start = 0, True
    for byte in value:
        if start and byte == _OID_MORE:
            raise ManifestMalformed("an arc of an object identifier is not in its shortest form")
        arc, start = (arc << 7) | (byte & (_OID_MORE - 1)), not byte & _OID_MORE
        if start:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // _OID_ARCS, 2)
    return ".".join(str(item) for item in (first, arcs[0] - first * _OID_ARCS, *arcs[1:]))


def uuid_text(value: object) -> str:
    """Canonical text of a UUID (RFC 9562 section 4).

    Raises:
        ManifestMalformed: not 16 bytes.
    """
    return str(uuid.UUID(bytes=octets(value, "a UUID", _UUID_BYTES)))


def octets(value: object, what: str, length: int | None = None) -> bytes:
    """A non-empty byte string.

    Raises:
        ManifestMalformed: something else, or of another length.
    """
    if not isinstance(value, bytes) or not value or (length is not None and len(value) != length):
        raise ManifestMalformed(f"{what} is not a byte string of the right length")
    return value


def text(value: object, what: str) -> str:
    """A non-empty text.

    Raises:
        ManifestMalformed: something else.
    """
    if not isinstance(value, str) or not value:
        raise ManifestMalformed(f"{what} is not text")
    return value
