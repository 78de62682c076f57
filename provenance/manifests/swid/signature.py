"""The enveloped XML signature of a SWID tag: ``common.xml_signature`` with this room's errors.

The algorithm is that of the signer's certificate's key; the certificate's path is the reader's to validate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import xml_signature
from common.errors import Malformed
from common.xml_signature import DSIG, SIGNATURE
from provenance import keys
from provenance.errors import (
    ManifestMalformed,
    SignerCertificateInvalid,
    StatementSignatureInvalid,
    StatementUnsigned,
)

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509
    from lxml.etree import _Element

__all__ = ["ALGORITHMS", "DSIG", "SIGNATURE", "require_shape", "verify"]

# Algorithm of a certificate's key (``provenance.keys``) to the one signature algorithm that it signs with.
# Ed25519 has none here.
ALGORITHMS: Final = {
    "ecdsa-p256-sha256": xml_signature.ECDSA_SHA256,
    "ecdsa-p384-sha384": xml_signature.ECDSA_SHA384,
    "ecdsa-p521-sha512": xml_signature.ECDSA_SHA512,
    "rsa-pkcs1v15-sha256": xml_signature.RSA_SHA256,
}


def require_shape(root: _Element) -> tuple[bytes, ...]:
    """The certificates that the one signature carries, DER, in its order.

    Raises:
        StatementUnsigned: there is none.
        ManifestMalformed: it is not of the one shape that is read.
    """
    try:
        return xml_signature.require_shape(root)
    except xml_signature.XmlUnsigned as error:
        raise StatementUnsigned(str(error)) from error
    except Malformed as error:
        raise ManifestMalformed(error.message) from error


def verify(data: bytes, certificate: x509.Certificate, now: datetime) -> bytes:
    """Verify the signature; the canonical bytes that it covers.

    Args:
        data: the document, whose shape was checked.
        certificate: the signer's, whose path was validated.
        now: the instant of judgement.

    Raises:
        SignerCertificateInvalid: a key without an algorithm here.
        StatementSignatureInvalid: another algorithm than the key's, or the signature does not hold.
    """
    algorithm = ALGORITHMS.get(keys.from_certificate(certificate).algorithm)
    if algorithm is None:
        raise SignerCertificateInvalid("the signer's key has no XML signature algorithm that is read here")
    try:
        return xml_signature.verify(data, certificate, algorithm, now)
    except xml_signature.XmlSignatureInvalid as error:
        raise StatementSignatureInvalid(str(error)) from error
