"""Offline inspection of quotes: the collateral that was given, or a folder's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from common.encoding import b64url_decode
from common.errors import TouchstoneError
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.folder import FolderEndorsements
from verifier.intel.quote import SGX, SGX_VERSION, TDX, TYPED_BODY_VERSION, Quote, parse_quote

if TYPE_CHECKING:
    from verifier.intel.endorsements import IntelEndorsements
    from verifier.tee import Inspection

COLLATERAL = "endorsements"
_HEADER_BYTES = 48
_VENDOR = slice(12, 28)
_INTEL = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")


def given_endorsements(inspection: Inspection) -> IntelEndorsements:
    """Collateral of an inspection: one JSON object that was given, or the folder's files.

    Raises:
        InputError, CollateralInvalid: what was given is not of its form.
    """
    given = inspection.files.get(COLLATERAL)
    if given is not None:
        return FixedEndorsements.from_json(given)
    return FolderEndorsements(inspection.collateral)


def looks_like(data: bytes, tee_type: int) -> bool:
    """Whether the header is that of a quote of this TEE by Intel's quoting enclave."""
    if len(data) < _HEADER_BYTES or data[_VENDOR] != _INTEL:
        return False
    version = int.from_bytes(data[:2], "little")
    kind = int.from_bytes(data[4:8], "little")
    if version == SGX_VERSION:
        return tee_type == SGX and kind == SGX
    return SGX_VERSION < version <= TYPED_BODY_VERSION and kind == tee_type and kind in (SGX, TDX)


def quote_contents(text: str) -> dict[str, Any]:
    """Header and body of a quote in base64url, bytes as hex; empty where it cannot be parsed."""
    try:
        quote: Quote = parse_quote(b64url_decode(text, what="quote"))
    except TouchstoneError:
        return {}
    return {"header": _fields(quote.header), "body": _fields(quote.body)}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    fields = msgspec.structs.asdict(struct)
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
