"""Collateral in JSON that Intel's TCB signing key signed: TCB info and QE identity.

Sources: Intel PCS API version 4 (``Get SGX/TDX TCB Info``, ``Get QE Identity``): the signature is ECDSA
P-256 with SHA-256, r and s in hex, over the bytes of the member's value as they stand in the answer.

Invariants:

* The signed bytes are a slice of the bytes received.
* Nothing of a document is read before its signature is verified, except that it is one JSON object.
* The signer is the TCB signing certificate, issued by the anchor itself; no other certificate of Intel's
  may sign collateral.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import Final, TypeVar

import msgspec

from common import strict_json
from common.errors import InputError
from verifier.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CollateralExpired,
    CollateralInvalid,
)
from verifier.intel.certificates import (
    TCB_SIGNING_NAME,
    Anchor,
    check_leaf,
    load_issuer_chain,
    require_issued,
    sha256_of,
    validity,
    verify_raw,
)

MAX_BODY_BYTES: Final = 512 * 1024
_SIGNATURE_HEX: Final = 128
_Parsed = TypeVar("_Parsed")


class Signer(msgspec.Struct, frozen=True):
    """Who signed a document.

    Attributes:
        serial: of the TCB signing certificate.
        sha256: of its DER, hex.
        not_before: of certificate and root, UTC.
        not_after: of certificate and root, UTC.
        issued: start of the certificate itself, UTC.
    """

    serial: int
    sha256: str
    not_before: datetime
    not_after: datetime
    issued: datetime


class Opened(msgspec.Struct, frozen=True):
    """The signed bytes of a document, and its signer.

    Attributes:
        signed: the member's value as received.
        sha256: of ``signed``, hex.
        signer: see there.
    """

    signed: bytes
    sha256: str
    signer: Signer


def open_document(body: bytes, issuer_chain: bytes, member: str, anchor: Anchor) -> Opened:
    """Verify a document's chain and signature.

    Args:
        body: the document as it came.
        issuer_chain: PEM, leaf first.
        member: ``tcbInfo`` or ``enclaveIdentity``.
        anchor: the root that must have issued the signer.

    Raises:
        CertificateInvalid: the chain is not TCB signing and root.
        CollateralInvalid: not one JSON object with the member and a signature, or not signed by the signer.
    """
    signed, signature = _members(body, member)
    leaf = load_issuer_chain(issuer_chain, anchor, f"the issuer chain of {member}")
    key = check_leaf(leaf, TCB_SIGNING_NAME)
    require_issued(leaf, anchor.certificate, anchor.key, TCB_SIGNING_NAME)
    if not verify_raw(key, signature, signed):
        raise CollateralInvalid(f"{member} is not signed by {TCB_SIGNING_NAME}")
    not_before, not_after = validity((leaf, anchor.certificate))
    signer = Signer(leaf.serial_number, sha256_of(leaf), not_before, not_after, leaf.not_valid_before_utc)
    return Opened(signed, hashlib.sha256(signed).hexdigest(), signer)


def decode(opened: Opened, form: type[_Parsed], member: str) -> _Parsed:
    """The signed bytes as ``form``; members that it does not name are passed over.

    Raises:
        CollateralInvalid: another form.
    """
    try:
        return msgspec.json.decode(opened.signed, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: not UTF-8
        raise CollateralInvalid(f"{member} is not of the published form: {error}") from error


def require_in_force(
    signer: Signer, issue_date: datetime, next_update: datetime, now: datetime, what: str
) -> None:
    """Demand that a document and its signer are valid at ``now``.

    Raises:
        CertificateNotYetValid, CertificateExpired: the signer's certificate, or the root.
        CollateralExpired: the document.
    """
    if now < signer.not_before:
        raise CertificateNotYetValid(f"the signer of {what} is valid from {signer.not_before.isoformat()}")
    if now > signer.not_after:
        raise CertificateExpired(f"the signer of {what} was valid to {signer.not_after.isoformat()}")
    if not issue_date <= now <= next_update:
        raise CollateralExpired(
            f"{what} is in force from {issue_date.isoformat()} to {next_update.isoformat()},"
            f" not at {now.isoformat()}"
        )


def _members(body: bytes, member: str) -> tuple[bytes, bytes]:
    try:
        # Twice: strictly, so that no reader could see another document; and as slices of what came.
        strict_json.loads(body, what=member, max_bytes=MAX_BODY_BYTES)
        raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        signed, signature = bytes(raw[member]), msgspec.json.decode(raw["signature"], type=str)
    except InputError as error:
        raise CollateralInvalid(error.message) from error
    except (KeyError, msgspec.MsgspecError, ValueError) as error:
        raise CollateralInvalid(f"the document has not {member} and its signature") from error
    if len(signature) != _SIGNATURE_HEX or not signature.isascii() or not signature.isalnum():
        raise CollateralInvalid(f"the signature of {member} is not 64 bytes in hex")
    try:
        return signed, bytes.fromhex(signature)
    except ValueError as error:
        raise CollateralInvalid(f"the signature of {member} is not 64 bytes in hex") from error
