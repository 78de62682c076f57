"""Revocation lists of the AMD roots: parsed and verified once per list, consulted at every use.

Sources: RFC 5280 sections 5 and 6.3; AMD VCEK specification (pub. 57230) section 4.

Invariants:

* A list counts only if its issuer is the very ARK of the chain and that ARK signed it. A list signed by
  an ASK, or of another product, is refused, not ignored.
* Only certificates whose issuer is the list's issuer are looked up: the intermediate and the root. Leaves
  have serial number 0 and another issuer; AMD revokes them by raising the TCB, so that matching them by
  serial would be wrong twice.
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
from verifier.errors import CertificateInvalid, CertificateRevoked, CrlExpired, CrlInvalid
from verifier.snp.certificates import require_pss, verify_signature

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.snp.chain import Anchor, VerifiedChain

MAX_CRL_BYTES: Final = 256 * 1024
_PEM: Final = b"-----BEGIN X509 CRL-----"
_SOURCE: Final = "RFC 5280 section 6.3; AMD 57230 section 4"


class RevocationList(msgspec.Struct, frozen=True):
    """A list that the anchor signed.

    Attributes:
        sha256: of the bytes at hand, hex.
        this_update: issued, UTC.
        next_update: no longer current after this, UTC.
        revoked: serial numbers.
    """

    sha256: str
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int]


def verify_list(data: bytes, anchor: Anchor) -> RevocationList:
    """Parse a CRL (DER or PEM) and verify everything that does not depend on the time.

    Raises:
        CrlInvalid: not a CRL, of another issuer, not signed by the anchor, without next update, indirect,
            delta, or too large.
    """
    if len(data) > MAX_CRL_BYTES:
        raise CrlInvalid(f"the revocation list has more than {MAX_CRL_BYTES} bytes")
    try:
        load = x509.load_pem_x509_crl if data.startswith(_PEM) else x509.load_der_x509_crl
        return _verified(with_names(load(data)), data, anchor)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise CrlInvalid("the revocation list cannot be parsed") from error
    except CertificateInvalid as error:
        raise CrlInvalid(error.message) from error


def _verified(crl: x509.CertificateRevocationList, data: bytes, anchor: Anchor) -> RevocationList:
    name = f"the revocation list of ARK-{anchor.product}"
    if crl.issuer != anchor.certificate.subject:
        raise CrlInvalid(f"{name} names another issuer")
    require_pss(
        crl.signature_algorithm_oid, crl.signature_algorithm_parameters, crl.signature_hash_algorithm, name
    )
    verify_signature(anchor.certificate, crl.signature, crl.tbs_certlist_bytes, name)
    if any(extension.critical for extension in crl.extensions):
        raise CrlInvalid(f"{name} has a critical extension: indirect and delta lists are not taken")
    if crl.next_update_utc is None:
        raise CrlInvalid(f"{name} has no next update")
    return RevocationList(
        sha256=hashlib.sha256(data).hexdigest(),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        revoked=frozenset(_serials(crl, name)),
    )


def _serials(crl: x509.CertificateRevocationList, name: str) -> set[int]:
    serials = set()
    for entry in crl:
        if any(extension.critical for extension in entry.extensions):
            raise CrlInvalid(f"an entry of {name} has a critical extension")
        serials.add(entry.serial_number)
    return serials


def require_not_revoked(crl: RevocationList, chain: VerifiedChain, now: datetime, checks: Checks) -> None:
    """Hold a chain's intermediate and root against a list, at ``now``.

    Raises:
        CrlInvalid: the list was issued after ``now``.
        CrlExpired: it is past its next update.
        CertificateRevoked: a serial number is on it.
    """
    observed = crl.next_update.isoformat()
    at = now.isoformat()
    checks.require(
        "snp.crl.issued", crl.this_update <= now, CrlInvalid,
        expected=at, observed=crl.this_update.isoformat(), source=_SOURCE,
    )  # fmt: skip
    checks.require(
        "snp.crl.current",
        now <= crl.next_update,
        CrlExpired,
        expected=at,
        observed=observed,
        source=_SOURCE,
    )
    for name, certificate in chain.certificates[1:]:
        checks.require(
            f"snp.crl.{name.lower()}", certificate.serial_number not in crl.revoked, CertificateRevoked,
            expected="not revoked", observed=certificate.serial_number, source=_SOURCE,
        )  # fmt: skip
