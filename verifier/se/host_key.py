"""Host-key documents: the certificate that says which key a machine with Secure Execution holds.

Order: format of the document; its signing key in the store; signature; chain of the signing key to a root;
dates; revocation of document, signing key and every authority above it.

The certificate of the host-key signing key is no authority's (``CA:FALSE``): path validation by RFC 5280
fails at the last hop, by design. What makes it a signing key is its subject, as IBM documents it, and that
its own chain holds. All other links are validated as RFC 5280 says.

Sources: s390-tools ``pvattest create`` and ``pvimg`` (host-key documents); IBM, Verifying the host key
document; RFC 5280 section 6.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from common.errors import Malformed
from verifier.errors import CertificateInvalid, EndorsementMissing, RootUntrusted
from verifier.se.names import is_signing_subject, same_name
from verifier.se.pki import (
    extension_of,
    key_identifier_fits,
    load_certificates,
    require_dates,
    require_not_revoked,
    signed_by,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks

COORDINATE_BYTES: Final = 80  # of a point, padded on the left (PV_ECDH_PUB_KEY, s390-tools)
_MAX_INTERMEDIATES: Final = 2
_SOURCE: Final = "s390-tools, verification of host-key documents"
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)


class HostKey(msgspec.Struct, frozen=True):
    """A host key whose document holds.

    Attributes:
        key: the key, on P-521.
        hash: SHA-256 of its coordinates: the public host-key hash (PHKH) that attestations name.
        endorsements: SHA-256 of each certificate and list relied on, hex.
        not_after: earliest end of their validity.
    """

    key: ec.EllipticCurvePublicKey
    hash: bytes
    endorsements: tuple[str, ...]
    not_after: datetime


def load_host_key_document(data: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePublicKey]:
    """Parse one document.

    Raises:
        Malformed: not exactly one certificate, or its key is not on P-521. TooLarge: over 64 KiB.
    """
    found = load_certificates(data, "host-key document")
    if len(found) != 1:
        raise Malformed(f"a host-key document is one certificate, not {len(found)}")
    key = found[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP521R1):
        raise Malformed("the key of a host-key document is on P-521")
    return found[0], key


def coordinates(key: ec.EllipticCurvePublicKey) -> bytes:
    """A point as the Ultravisor has it: x and y, big endian, 80 bytes each."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(COORDINATE_BYTES, "big") + numbers.y.to_bytes(COORDINATE_BYTES, "big")


def host_key_hash(key: ec.EllipticCurvePublicKey) -> bytes:
    """The public host-key hash (PHKH)."""
    return hashlib.sha256(coordinates(key)).digest()


def verify_host_key(
    document: bytes,
    certificates: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    roots: Sequence[x509.Certificate],
    *,
    now: datetime,
    checks: Checks,
) -> HostKey:
    """Verify a host-key document at ``now``.

    Args:
        document: the certificate, PEM or DER.
        certificates: signing keys and intermediates; which is which is said by their subjects.
        lists: revocation lists of all issuers.
        roots: trusted certificates, compared by their bytes.
        now: instant of verification.
        checks: where the checks are recorded.

    Raises:
        Malformed, TooLarge: not a host-key document.
        EndorsementError: signing key, chain, dates or revocation do not hold.
    """
    host, key = load_host_key_document(document)
    _require_format(host, checks)
    signing = _signing_key(host, certificates, checks)
    path = _path(
        signing, [item for item in certificates if not is_signing_subject(item.subject)], roots, checks
    )
    for name, certificate in _named(host, path):
        require_dates(certificate, name, now, checks)
    relied = [item.fingerprint(hashes.SHA256()).hex() for item in (host, *path)]
    not_after = min(item.not_valid_after_utc for item in (host, *path))
    issuers = (*path, path[-1])  # the root is held against its own list
    for (name, certificate), issuer in zip(_named(host, path), issuers, strict=True):
        for current in require_not_revoked(certificate, issuer, lists, name=name, now=now, checks=checks):
            relied.append(current.sha256)
            not_after = min(not_after, current.next_update)
    return HostKey(key, host_key_hash(key), tuple(dict.fromkeys(relied)), not_after)


def _named(host: x509.Certificate, path: Sequence[x509.Certificate]) -> list[tuple[str, x509.Certificate]]:
    names = ["hkd", "signing_key", *(f"authority.{depth}" for depth in range(len(path) - 2)), "root"]
    return list(zip(names, (host, *path), strict=True))


def _require_format(host: x509.Certificate, checks: Checks) -> None:
    usage = extension_of(host, x509.KeyUsage)
    constraints = extension_of(host, x509.BasicConstraints)
    ok = (usage is None or usage.key_agreement) and (constraints is None or not constraints.ca)
    checks.require(
        "se.hkd.format", ok and _understood(host), CertificateInvalid, source=_SOURCE,
        expected="an end entity's key on P-521 for key agreement, no unknown critical extension",
        observed=host.subject.rfc4514_string(),
    )  # fmt: skip


def _signing_key(
    host: x509.Certificate, certificates: Sequence[x509.Certificate], checks: Checks
) -> x509.Certificate:
    """The host-key signing key that signed ``host``."""
    named = [
        item
        for item in certificates
        if is_signing_subject(item.subject)
        and same_name(item.subject, host.issuer)
        and key_identifier_fits(host, item)
    ]
    checks.require(
        "se.signing_key.present", bool(named), EndorsementMissing, source=_SOURCE,
        expected="the certificate of IBM's host-key signing key that the document names",
        observed=host.issuer.rfc4514_string(),
    )  # fmt: skip
    found = next((item for item in named if signed_by(host, item)), None)
    checks.require(
        "se.hkd.signature", found is not None, CertificateInvalid, source=_SOURCE,
        expected="signed by the host-key signing key",
        observed=[item.fingerprint(hashes.SHA256()).hex() for item in named],
    )  # fmt: skip
    assert found is not None
    usage = extension_of(found, x509.KeyUsage)
    checks.require(
        "se.signing_key.usage", (usage is None or usage.digital_signature) and _understood(found),
        CertificateInvalid, expected="a key for signatures, no unknown critical extension",
        observed=found.subject.rfc4514_string(), source=_SOURCE,
    )  # fmt: skip
    return found


def _path(
    signing: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    checks: Checks,
) -> list[x509.Certificate]:
    """The chain from the signing key to one of ``roots``, every link verified."""
    path = [signing]
    while True:
        root = next((item for item in roots if _issued(path, item)), None)
        if root is not None:
            break
        issuer = next((item for item in authorities if item not in path and _issued(path, item)), None)
        checks.require(
            f"se.chain.{len(path) - 1}", issuer is not None and len(path) <= _MAX_INTERMEDIATES,
            RootUntrusted if issuer is None else CertificateInvalid,
            expected=f"at most {_MAX_INTERMEDIATES} authorities below a trusted root",
            observed=path[-1].issuer.rfc4514_string(), source=f"RFC 5280 section 6.1; {_SOURCE}",
        )  # fmt: skip
        assert issuer is not None
        path.append(issuer)
    checks.require(
        "se.chain.root", ok=True, error=RootUntrusted,
        observed=root.fingerprint(hashes.SHA256()).hex(), source="pinned roots; settings: roots",
    )  # fmt: skip
    return [*path, root]


def _issued(path: list[x509.Certificate], issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` is an authority that issued the last certificate of ``path``."""
    subject = path[-1]
    constraints = extension_of(issuer, x509.BasicConstraints)
    usage = extension_of(issuer, x509.KeyUsage)
    below = len(path) - 1
    return (
        issuer.subject == subject.issuer
        and constraints is not None
        and constraints.ca
        and (constraints.path_length is None or constraints.path_length >= below)
        and (usage is None or (usage.key_cert_sign and usage.crl_sign))
        and _understood(issuer)
        and key_identifier_fits(subject, issuer)
        and signed_by(subject, issuer)
    )


def _understood(certificate: x509.Certificate) -> bool:
    return all(item.oid in _UNDERSTOOD for item in certificate.extensions if item.critical)
