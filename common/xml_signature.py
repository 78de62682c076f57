"""An enveloped XML signature over a whole document, by a key that a certificate carries.

Order, for a caller: the document by ``common.strict_xml`` -> ``require_shape``, against wrapping: exactly
one ``Signature`` in the document, a child of the root; one ``Reference`` to the whole document
(``URI=""``); the transforms are the enveloped-signature transform and, optionally, one canonicalisation;
allow-listed algorithms; ``KeyInfo`` with certificates only -> the certificate path, which is the caller's
-> ``verify`` with the algorithm of the certificate's key -> the bytes that it verified, parsed again, are
what is read.

Nothing in the signature is believed: key values and key names are refused, and a certificate counts by its
path alone. No reference is resolved but the document itself.

Sources: XML Signature Syntax and Processing 1.1 sections 4 and 6; XML Signature Best Practices (W3C 2013);
RFC 6931; RFC 9231.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from common import strict_xml
from common.errors import Malformed

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509
    from lxml.etree import _Element

DSIG: Final = "http://www.w3.org/2000/09/xmldsig#"
SIGNATURE: Final = f"{{{DSIG}}}Signature"
_ENVELOPED: Final = f"{DSIG}enveloped-signature"
# Canonical XML 1.0, 1.1 and exclusive, without comments.
_CANONICALISATIONS: Final = frozenset(
    {
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        "http://www.w3.org/2006/12/xml-c14n11",
        "http://www.w3.org/2001/10/xml-exc-c14n#",
    }
)
_DIGESTS: Final = frozenset(
    {
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    }
)
_MORE: Final = "http://www.w3.org/2001/04/xmldsig-more#"
ECDSA_SHA256: Final = f"{_MORE}ecdsa-sha256"
ECDSA_SHA384: Final = f"{_MORE}ecdsa-sha384"
ECDSA_SHA512: Final = f"{_MORE}ecdsa-sha512"
RSA_SHA256: Final = f"{_MORE}rsa-sha256"
ALGORITHMS: Final = frozenset({ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512, RSA_SHA256})
_MAX_CHAIN: Final = 8


class XmlUnsigned(Exception):
    """The document has no signature. Never leaves the callers, who have errors of their own."""


class XmlSignatureInvalid(Exception):
    """The signature does not hold. Never leaves the callers, who have errors of their own."""


def require_shape(root: _Element) -> tuple[bytes, ...]:
    """The certificates that the one signature carries, DER, in its order.

    Raises:
        XmlUnsigned: there is none.
        Malformed: it is not of the shape above.
    """
    signatures = list(root.iter(SIGNATURE))
    if not signatures:
        raise XmlUnsigned("the XML document has no signature")
    if len(signatures) != 1 or signatures[0].getparent() is not root:
        raise Malformed("the XML document has several signatures, or one that is not the root's child")
    signature = signatures[0]
    if [child.tag for child in signature] != [
        _dsig("SignedInfo"),
        _dsig("SignatureValue"),
        _dsig("KeyInfo"),
    ]:
        raise Malformed("the XML signature is not SignedInfo, SignatureValue and KeyInfo")
    _require_signed_info(signature[0])
    return _certificates(signature[2])


def verify(data: bytes, certificate: x509.Certificate, algorithm: str, now: datetime) -> bytes:
    """Verify the signature; the canonical bytes that it covers.

    Args:
        data: the document, whose shape was checked.
        certificate: the signer's, whose path was validated.
        algorithm: the one that the certificate's key signs with, of ``ALGORITHMS``.
        now: the instant of judgement.

    Raises:
        XmlSignatureInvalid: another algorithm than the key's, or the signature does not hold.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from lxml.etree import LxmlError  # noqa: PLC0415 (heavy import)
    from signxml.algorithms import DigestAlgorithm, SignatureMethod  # noqa: PLC0415
    from signxml.exceptions import SignXMLException  # noqa: PLC0415
    from signxml.verifier import SignatureConfiguration, XMLVerifier  # noqa: PLC0415 (heavy import)

    configuration = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod(algorithm)}),
        digest_algorithms=frozenset({DigestAlgorithm(item) for item in _DIGESTS}),
        verification_time=now,
    )
    try:
        result = XMLVerifier().verify(
            data, x509_cert=certificate, parser=strict_xml.strict_parser(), expect_config=configuration
        )
    except (SignXMLException, InvalidSignature, LxmlError, ValueError, TypeError) as error:
        raise XmlSignatureInvalid(f"the XML signature does not verify: {str(error)[:160]}") from error
    if isinstance(result, list):
        raise XmlSignatureInvalid("the XML signature covers several things")
    return result.signed_data


def _require_signed_info(info: _Element) -> None:
    if [child.tag for child in info] != [
        _dsig("CanonicalizationMethod"),
        _dsig("SignatureMethod"),
        _dsig("Reference"),
    ]:
        raise Malformed("the XML signature does not have exactly one reference")
    _require_algorithm(info[0], _CANONICALISATIONS)
    _require_algorithm(info[1], ALGORITHMS)
    reference = info[2]
    if reference.get("URI") != "" or reference.get("Type") is not None:
        raise Malformed("the XML signature's reference is not the document as a whole")
    if [child.tag for child in reference] != [
        _dsig("Transforms"),
        _dsig("DigestMethod"),
        _dsig("DigestValue"),
    ]:
        raise Malformed("the XML signature's reference is not transforms, digest method and digest")
    transforms = list(reference[0])
    if not transforms or len(transforms) > 2 or any(item.tag != _dsig("Transform") for item in transforms):  # noqa: PLR2004
        raise Malformed("the XML signature has other transforms than it may have")
    _require_algorithm(transforms[0], frozenset({_ENVELOPED}))
    for item in transforms[1:]:
        _require_algorithm(item, _CANONICALISATIONS)
    _require_algorithm(reference[1], _DIGESTS)


def _require_algorithm(element: _Element, allowed: frozenset[str]) -> None:
    # Children would be parameters (an XPath, a prefix list): none is understood here.
    if element.get("Algorithm") not in allowed or len(element):
        raise Malformed("the XML signature names an algorithm or transform that is not accepted")


def _certificates(info: _Element) -> tuple[bytes, ...]:
    found = []
    for data in info:
        if data.tag != _dsig("X509Data"):
            raise Malformed("the XML signature's KeyInfo has something other than certificates")
        for item in data:
            if item.tag != _dsig("X509Certificate"):
                raise Malformed("the XML signature's KeyInfo has something other than certificates")
            found.append(_base64("".join((item.text or "").split())))
    if len(found) > _MAX_CHAIN:
        raise Malformed(f"the XML signature carries more than {_MAX_CHAIN} certificates")
    return tuple(found)


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a certificate of the XML signature is not base64") from error


def _dsig(name: str) -> str:
    return f"{{{DSIG}}}{name}"
