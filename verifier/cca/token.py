"""The CCA token: a tagged map of two signed tokens. Bytes to the two messages, nothing of them verified.

Accepted: CBOR tag 399 around a map of exactly 44234 (platform) and 44241 (realm), each a byte string that
holds a COSE_Sign1 with tag 18. What stands in the map is signed by nobody, so that a further member is
refused.

Source: draft-ffm-rats-cca-token-00 section 4 (``cca-token``); verification checklist, common rules: 64 KiB.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cbor2 import CBORTag

from common import cbor, cose
from common.errors import Malformed
from verifier.cca.fields import Fields

TAG: Final = 399
HEAD: Final = b"\xd9\x01\x8f"  # tag 399
PLATFORM, REALM = 44234, 44241
MAX_BYTES: Final = cbor.EVIDENCE.max_bytes


class Part(msgspec.Struct, frozen=True):
    """One of the two tokens.

    Attributes:
        message: the signed message.
        fields: its payload, a map.
    """

    message: cose.Sign1
    fields: Fields


class Token(msgspec.Struct, frozen=True):
    """Both tokens."""

    platform: Part
    realm: Part


def parse(data: bytes) -> Token:
    """Take a token apart.

    Raises:
        InputError: see the module's text.
    """
    value = cbor.decode(data, what="the CCA token", tags=frozenset({TAG}))
    if not isinstance(value, CBORTag):
        raise Malformed("the CCA token does not have tag 399")
    members = value.value
    if not isinstance(members, dict) or set(members) != {PLATFORM, REALM}:
        raise Malformed("the CCA token does not hold a platform token and a realm token, and nothing else")
    return Token(
        platform=_part(members[PLATFORM], "the platform token"),
        realm=_part(members[REALM], "the realm token"),
    )


def _part(encoded: object, what: str) -> Part:
    if not isinstance(encoded, bytes):
        raise Malformed(f"{what} is not a byte string")
    message = cose.parse(encoded, what=what, kind=cose.Sign1, key_id_unprotected=True)
    return Part(message, Fields.decode(message.payload, what))
