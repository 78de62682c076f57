"""Intel's revocation lists: parsed and verified once per list, consulted at every use.

Source: RFC 5280 sections 5 and 6.3; Intel SGX PCK Certificate and CRL Profile Specification, section 2.

Invariants:

* A list counts only if the very key that issues the certificates in question signed it.
* Indirect and delta lists are refused: both are marked by critical extensions that are not understood.
* Missing, expired, not yet valid, unsigned and revoking are told apart by code.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from common.x509_names import with_names
from verifier.errors import CertificateInvalid, CrlExpired, CrlInvalid
from verifier.intel.certificates import require_ecdsa, verify_der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

MAX_CRL_BYTES: Final = 1 << 20


class RevocationList(msgspec.Struct, frozen=True):
    """A list that its issuer signed.

    Attributes:
        sha256: of the bytes at hand, hex.
        issue_date: issued, UTC.
        next_update: no longer current after this, UTC.
        number: CRL number; None where the list has none.
        revoked: serial numbers.
    """

    sha256: str
    issue_date: datetime
    next_update: datetime
    number: int | None
    revoked: frozenset[int]


def verify_list(
    data: bytes, issuer: x509.Name, key: ec.EllipticCurvePublicKey, what: str
) -> RevocationList:
    """Parse a DER list and verify everything that does not depend on the time.

    Raises:
        CrlInvalid: not a list, of another issuer, not signed by ``key``, without next update, indirect,
            delta, or too large.
    """
    if len(data) > MAX_CRL_BYTES:
        raise CrlInvalid(f"{what} has more than {MAX_CRL_BYTES} bytes")
    try:
        return _verified(with_names(x509.load_der_x509_crl(data)), data, issuer, key, what)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise CrlInvalid(f"{what} cannot be parsed") from error
    except CertificateInvalid as error:
        raise CrlInvalid(error.message) from error


def require_current(crl: RevocationList, now: datetime, what: str) -> None:
    """Demand that a list is in force at ``now``.

    Raises:
        CrlInvalid: it was issued after ``now``.
        CrlExpired: it is past its next update.
    """
    if now < crl.issue_date:
        raise CrlInvalid(f"{what} was issued at {crl.issue_date.isoformat()}, after {now.isoformat()}")
    if now > crl.next_update:
        raise CrlExpired(f"{what} was to be renewed by {crl.next_update.isoformat()}")


def _verified(
    crl: x509.CertificateRevocationList,
    data: bytes,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    what: str,
) -> RevocationList:
    if crl.issuer != issuer:
        raise CrlInvalid(f"{what} names another issuer")
    require_ecdsa(crl.signature_algorithm_oid, what)
    if not verify_der(key, crl.signature, crl.tbs_certlist_bytes):
        raise CrlInvalid(f"{what} is not signed by its issuer")
    if any(extension.critical for extension in crl.extensions):
        raise CrlInvalid(f"{what} has a critical extension: indirect and delta lists are not taken")
    if crl.next_update_utc is None:
        raise CrlInvalid(f"{what} has no next update")
    return RevocationList(
        sha256=hashlib.sha256(data).hexdigest(),
        issue_date=crl.last_update_utc,
        next_update=crl.next_update_utc,
        number=_number(crl),
        revoked=frozenset(_serials(crl, what)),
    )


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def _serials(crl: x509.CertificateRevocationList, what: str) -> set[int]:
    serials = set()
    for entry in crl:
        if any(extension.critical for extension in entry.extensions):
            raise CrlInvalid(f"an entry of {what} has a critical extension")
        serials.add(entry.serial_number)
    return serials
