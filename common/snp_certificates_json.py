"""The certificates of SNP evidence as Confidential Containers writes them (``cert_chain``).

A list of ``{"cert_type": ..., "data": [octets of the DER]}``, or null. ``cert_type`` is ``ARK``, ``ASK``,
``VCEK``, ``VLEK``, ``CRL`` or ``Empty``, or ``{"OTHER": "<uuid>"}`` for what a host put there besides.

Source: crate ``sev`` (CertTableEntry, CertType).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from common.errors import Malformed, TooLarge
from common.snp_certificate_table import parse_certificate_table

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES: Final = frozenset({"ARK", "ASK", "VCEK", "VLEK", "CRL", "Empty"})
_KEPT: Final = TYPES - {"Empty"}
_MAX_ENTRIES: Final = 32
_MAX_BYTES: Final = 64 << 10


def to_json(table: bytes) -> list[dict[str, Any]] | None:
    """The certificates of an extended report's table; null for none.

    Raises:
        TooLarge, Malformed: not such a table (``common.snp_certificate_table``).
    """
    if not any(table):
        return None
    found = parse_certificate_table(table)
    return [{"cert_type": kind, "data": list(data)} for kind, data in found.items()] or None


def from_json(value: object) -> Mapping[str, bytes]:
    """Certificates by type. Those of other types, and empty entries, are left out.

    Raises:
        Malformed: of another form, or a type twice.
        TooLarge: over 32 entries, or 64 KiB in one.
    """
    if value is None:
        return {}
    if not isinstance(value, list):
        raise Malformed("the certificate chain is neither null nor a list")
    if len(value) > _MAX_ENTRIES:
        raise TooLarge(f"the certificate chain has more than {_MAX_ENTRIES} entries")
    found: dict[str, bytes] = {}
    for entry in value:
        if not isinstance(entry, dict) or entry.keys() != {"cert_type", "data"}:
            raise Malformed("an entry of the certificate chain has other members than cert_type and data")
        kind, data = _kind(entry["cert_type"]), _octets(entry["data"])
        if kind not in _KEPT:
            continue
        if kind in found:
            raise Malformed(f"the certificate chain has {kind} twice")
        found[kind] = data
    return found


def _kind(value: object) -> str:
    if isinstance(value, str) and value in TYPES:
        return value
    if isinstance(value, dict) and value.keys() == {"OTHER"} and isinstance(value["OTHER"], str):
        return "OTHER"
    raise Malformed("a certificate has a type that SNP evidence does not have")


def _octets(value: object) -> bytes:
    if not isinstance(value, list):
        raise Malformed("a certificate is not a list of octets")
    if len(value) > _MAX_BYTES:
        raise TooLarge(f"a certificate has more than {_MAX_BYTES} bytes")
    if not all(type(octet) is int and 0 <= octet <= 0xFF for octet in value):  # noqa: PLR2004 (an octet)
        raise Malformed("a certificate is not a list of octets")
    return bytes(value)
