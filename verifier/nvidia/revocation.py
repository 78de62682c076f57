"""Revocation of NVIDIA's certificates: OCSP responses and CRLs, at hand as files, verified offline.

A certificate is covered by an OCSP response about it, or by a CRL of its issuer. NVIDIA's responder answers
for every authority below the root, but not for a device's leaf, which the chip's own boot-ROM authority
issues: its status is that authority's. CRLs exist for what the root and its sub-authorities issue.

Invariants:

* A response counts only if its CertID names this certificate (issuer's name and key, serial number), and it
  is signed by the issuer itself or by a responder whose certificate the issuer signed for OCSP (RFC 6960
  section 4.2.2.2), which is valid at ``now``. A response about the certificate that does not hold is
  refused, not ignored.
* A CRL counts only if its issuer is this certificate's issuer and signed it; indirect and delta lists are
  refused by their critical extensions.
* Both must be in force at ``now``. "unknown" is not "good".

Sources: RFC 6960 sections 4.2 and 4.4; RFC 5280 sections 5 and 6.3.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from common.x509_names import with_names
from verifier.errors import CertificateInvalid, CertificateRevoked, CrlExpired, CrlInvalid, CrlMissing
from verifier.nvidia.certificates import UNREADABLE, Path, extension, verify_with

if TYPE_CHECKING:
    from common.checks import Checks
    from verifier.nvidia.collateral import NvidiaCollateral

MAX_OCSP_BYTES: Final = 64 * 1024
MAX_CRL_BYTES: Final = 256 * 1024
_PEM: Final = b"-----BEGIN X509 CRL-----"
_OCSP: Final = "RFC 6960 section 4.2"
_CRL: Final = "RFC 5280 section 6.3"
_HASHES: Final = {
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}
_CACHED: Final = 256


class Status(msgspec.Struct, frozen=True):
    """What is known of a path's revocation.

    Attributes:
        good: every certificate that must be is covered, and none is revoked.
        sha256: of each response and list that was relied on, hex.
        not_after: when the first of them ends; None: none was relied on.
    """

    good: bool
    sha256: tuple[str, ...] = ()
    not_after: datetime | None = None


class _Word(msgspec.Struct, frozen=True):
    """What one response or list says of one certificate."""

    source: str
    sha256: str
    revoked: bool
    start: datetime
    end: datetime


def check_revocation(
    path: Path, collateral: NvidiaCollateral, now: datetime, name: str, checks: Checks, *,
    required: bool, leaf: bool,
) -> Status:  # fmt: skip
    """Hold every certificate of a path below its root against what is at hand.

    Args:
        path: the verified path.
        collateral: where responses and lists are.
        now: verification time.
        name: prefix of the checks' names.
        checks: records.
        required: whether every certificate must be covered.
        leaf: whether the leaf must be covered too; otherwise only what is at hand about it counts.

    Raises:
        CertificateRevoked: a certificate is revoked.
        CrlMissing: one is not covered, and it is required.
        CrlInvalid, CrlExpired: what is at hand about one does not hold.
    """
    words: list[_Word] = []
    good = True
    for position, certificate in enumerate(path.certificates[:-1]):
        issuer = path.certificates[position + 1]
        label = f"{name}.{position}.revocation"
        try:
            found = _words(certificate, issuer, collateral, now)
        except CrlInvalid as error:
            checks.fail(label, CrlInvalid, source=_OCSP, note=error.message)
        _require_good(found, certificate, now, label, checks)
        words += found
        if found:
            continue
        if position == 0 and not leaf:
            checks.skip(label, "the leaf is issued by the chip, whose own status counts", source=_OCSP)
            continue
        good = False
        if required:
            checks.fail(
                label, CrlMissing, expected="an OCSP response, or a CRL of the issuer", source=_OCSP,
                observed=path.sha256[position],
            )  # fmt: skip
        checks.skip(label, "nothing is at hand, and the settings demand nothing", source=_OCSP)
    return Status(
        good=good,
        sha256=tuple(dict.fromkeys(word.sha256 for word in words)),
        not_after=min((word.end for word in words), default=None),
    )


def _words(
    certificate: x509.Certificate, issuer: x509.Certificate, collateral: NvidiaCollateral, now: datetime
) -> list[_Word]:
    """What is at hand about a certificate.

    Raises:
        CrlInvalid: something that is about it does not hold.
    """
    found = [_response(data, certificate, issuer, now) for data in collateral.ocsp(certificate)]
    found += [_list(data, certificate, issuer) for data in collateral.crls(certificate)]
    return [word for word in found if word is not None]


def _require_good(
    words: list[_Word], certificate: x509.Certificate, now: datetime, label: str, checks: Checks
) -> None:
    for word in words:
        window = f"{word.start.isoformat()} to {word.end.isoformat()}"
        checks.require(
            f"{label}.issued", word.start <= now, CrlInvalid,
            expected=now.isoformat(), observed=window, source=word.source,
        )  # fmt: skip
        checks.require(
            f"{label}.current", now <= word.end, CrlExpired,
            expected=now.isoformat(), observed=window, source=word.source,
        )  # fmt: skip
        checks.require(
            label, not word.revoked, CertificateRevoked,
            expected="not revoked", observed=f"{certificate.serial_number:x}", source=word.source,
        )  # fmt: skip


def _response(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
) -> _Word | None:
    """What an OCSP response says of a certificate; None: it is about others."""
    if len(data) > MAX_OCSP_BYTES:
        raise CrlInvalid(f"an OCSP response has more than {MAX_OCSP_BYTES} bytes")
    try:
        word = _verified_response(data, certificate, issuer)
        if word is None:
            return None
        responder = word[1]
        if not responder.not_valid_before_utc <= now <= responder.not_valid_after_utc:
            raise CrlInvalid("the certificate of the OCSP responder is not valid at the time")
        return word[0]
    except (*UNREADABLE, TypeError) as error:
        raise CrlInvalid("an OCSP response cannot be read") from error


@lru_cache(maxsize=_CACHED)
def _verified_response(
    data: bytes, certificate: x509.Certificate, issuer: x509.Certificate
) -> tuple[_Word, x509.Certificate] | None:
    response = ocsp.load_der_ocsp_response(data)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise CrlInvalid(f"the OCSP responder answered {response.response_status.name.lower()}")
    single = next((one for one in response.responses if _is_about(one, certificate, issuer)), None)
    if single is None:
        return None
    responder = _responder(response, issuer)
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise CrlInvalid("the OCSP responder does not know the certificate")
    if single.next_update_utc is None:
        raise CrlInvalid("the OCSP response has no next update")
    word = _Word(
        source=_OCSP,
        sha256=hashlib.sha256(data).hexdigest(),
        revoked=single.certificate_status is ocsp.OCSPCertStatus.REVOKED,
        start=single.this_update_utc,
        end=single.next_update_utc,
    )
    return word, responder


def _is_about(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    # The CertID's hash names the issuer, it protects nothing: the response's signature does.
    digest = _HASHES.get(single.hash_algorithm.name)
    key = issuer.public_key()
    if digest is None or not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return (
        single.serial_number == certificate.serial_number
        and single.issuer_name_hash == digest(issuer.subject.public_bytes()).digest()
        and single.issuer_key_hash == digest(point).digest()
    )


def _responder(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate:
    """The certificate whose key signed a response, if the issuer lets it."""
    algorithm = response.signature_hash_algorithm
    if response.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384 or not isinstance(
        algorithm, hashes.SHA384
    ):
        raise CrlInvalid("the OCSP response is not signed with ECDSA and SHA-384")
    delegates = [one for one in response.certificates if one != issuer]
    for signer in (issuer, *delegates[:4]):
        if verify_with(signer, response.signature, response.tbs_response_bytes):
            if signer is not issuer:
                _require_delegated(signer, issuer)
            return signer
    raise CrlInvalid("the OCSP response is not signed by the issuer, nor by a responder of it")


def _require_delegated(signer: x509.Certificate, issuer: x509.Certificate) -> None:
    usages = extension(signer, x509.ExtendedKeyUsage)
    if usages is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
        raise CrlInvalid("the OCSP response is signed by a certificate that is not for OCSP")
    if (
        signer.issuer != issuer.subject
        or signer.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384
        or not verify_with(issuer, signer.signature, signer.tbs_certificate_bytes)
    ):
        raise CrlInvalid("the OCSP responder's certificate is not of the certificate's issuer")


def _list(data: bytes, certificate: x509.Certificate, issuer: x509.Certificate) -> _Word | None:
    """What a CRL says of a certificate; None: it is another issuer's."""
    if len(data) > MAX_CRL_BYTES:
        raise CrlInvalid(f"a revocation list has more than {MAX_CRL_BYTES} bytes")
    try:
        return _verified_list(data, certificate, issuer)
    except (*UNREADABLE, CertificateInvalid) as error:
        raise CrlInvalid("a revocation list cannot be read") from error


@lru_cache(maxsize=_CACHED)
def _verified_list(data: bytes, certificate: x509.Certificate, issuer: x509.Certificate) -> _Word | None:
    load = x509.load_pem_x509_crl if data.startswith(_PEM) else x509.load_der_x509_crl
    crl = with_names(load(data))
    if crl.issuer != issuer.subject:
        return None
    if crl.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384 or not verify_with(
        issuer, crl.signature, crl.tbs_certlist_bytes
    ):
        raise CrlInvalid("the revocation list is not signed by the certificate's issuer")
    usage = extension(issuer, x509.KeyUsage)
    if usage is None or not usage.crl_sign:
        raise CrlInvalid("the certificate's issuer may not sign revocation lists")
    if any(item.critical for item in crl.extensions):
        raise CrlInvalid("the revocation list is indirect or a delta")
    if crl.next_update_utc is None:
        raise CrlInvalid("the revocation list has no next update")
    return _Word(
        source=_CRL,
        sha256=hashlib.sha256(data).hexdigest(),
        revoked=crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None,
        start=crl.last_update_utc,
        end=crl.next_update_utc,
    )
