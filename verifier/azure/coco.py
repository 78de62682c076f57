"""Evidence of both kinds of VM as Confidential Containers spells it (attestation-agent, az-cvm-vtpm).

Three versions, told by the member ``version``: none (bytes as lists of numbers), 1, and 2, which is 1 made
after the guest's report data were written into the vTPM. The signature is what RSA gave, without the header
of a TPMT_SIGNATURE; the key is one for RSASSA with SHA-256. 24 registers of the SHA-256 bank, by position.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec

from common.encoding import b64url_encode, hex_decode
from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence
from verifier.tpm.algorithms import ALG_RSASSA, ALG_SHA256

REGISTERS: Final = 24
VERSIONS: Final = (0, 1, 2)
FRESH_VERSION: Final = 2
_MAX_BYTES: Final = 64 << 10
_MAX_SIGNATURE: Final = 512


class CocoQuote(msgspec.Struct, frozen=True):
    """A quote as our documents have it.

    Attributes:
        quote: TPMS_ATTEST, base64url.
        signature: TPMT_SIGNATURE, base64url.
        pcrs: SHA-256 registers.
    """

    quote: str
    signature: str
    pcrs: dict[str, dict[str, str]]


def members_of(document: Any, kind: str, names: frozenset[str]) -> dict[str, Any]:
    """The document, which must have exactly these members and perhaps ``version``.

    Raises:
        Malformed: another form.
    """
    if not isinstance(document, dict) or document.keys() - {"version"} != names:
        raise Malformed(f"the {kind} evidence is not of the published form")
    return document


def version_of(document: Any) -> int:
    """The form's version; 0 where none is said.

    Raises:
        UnsupportedEvidence: one that is not known here.
    """
    version = document.get("version", 0) if isinstance(document, dict) else 0
    if version is None or isinstance(version, bool) or version not in VERSIONS:
        raise UnsupportedEvidence(f"the Azure evidence is of no version of {VERSIONS}")
    return int(version)


def quote_of(quote: Any) -> CocoQuote:
    """A quote of either form.

    Raises:
        Malformed: another form, or not 24 registers.
    """
    if not isinstance(quote, dict) or quote.keys() != {"signature", "message", "pcrs"}:
        raise Malformed("the TPM quote is not of the published form")
    registers = quote["pcrs"]
    if not isinstance(registers, list) or len(registers) != REGISTERS:
        raise Malformed(f"a TPM quote has {REGISTERS} registers")
    signature = _hex_or_numbers(quote["signature"], "signature")
    if len(signature) > _MAX_SIGNATURE:
        raise Malformed("the TPM quote's signature is too long")
    header = b"".join(number.to_bytes(2, "big") for number in (ALG_RSASSA, ALG_SHA256, len(signature)))
    values = [_hex_or_numbers(value, "pcrs") for value in registers]
    return CocoQuote(
        quote=b64url_encode(_hex_or_numbers(quote["message"], "message")),
        signature=b64url_encode(header + signature),
        pcrs={"sha256": {str(index): value.hex() for index, value in enumerate(values)}},
    )


def bytes_of(value: Any, what: str) -> bytes:
    """Bytes of base64url (padded or not) or of a list of numbers.

    Raises:
        Malformed: neither. TooLarge: over 64 KiB.
    """
    if isinstance(value, list):
        return _numbers(value, what)
    if not isinstance(value, str):
        raise Malformed(f"{what} is neither base64url nor a list of bytes")
    if len(value) > _MAX_BYTES // 3 * 4 + 4:
        raise TooLarge(f"{what} of more than {_MAX_BYTES} bytes")
    text = value.rstrip("=")
    try:
        return base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{what} is not base64url") from error


def _hex_or_numbers(value: Any, what: str) -> bytes:
    if isinstance(value, list):
        return _numbers(value, what)
    if not isinstance(value, str) or len(value) > 2 * _MAX_BYTES:
        raise Malformed(f"{what} of the TPM quote is neither hex nor a list of bytes")
    return hex_decode(value, what=what)


def _numbers(value: list[Any], what: str) -> bytes:
    if len(value) > _MAX_BYTES:
        raise TooLarge(f"{what} of more than {_MAX_BYTES} bytes")
    if any(not isinstance(number, int) or isinstance(number, bool) for number in value):
        raise Malformed(f"{what} is not a list of bytes")
    try:
        return bytes(value)
    except ValueError as error:
        raise Malformed(f"{what} is not a list of bytes") from error
