"""What a Fulcio certificate claims about its holder: subject alternative name, issuer, extensions.

The claims are those of the OIDC token that Fulcio saw. They are read from a certificate that was
verified before (``provenance.sigstore.signing_certificate``); reading proves nothing.

Source: sigstore/fulcio, docs/oid-info.md. OIDs 1.3.6.1.4.1.57264.1.1 to .6 hold raw UTF-8 text
(deprecated), .8 and later a DER UTF8String (X.690 section 8.23).
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from provenance.errors import SignerCertificateInvalid
from provenance.keys import from_certificate
from provenance.model import Signer

_ARC: Final = "1.3.6.1.4.1.57264.1."
_ISSUER_V1: Final = _ARC + "1"
_ISSUER_V2: Final = _ARC + "8"
# OtherName SAN for identities that are neither URI nor e-mail (oid-info.md, .7).
_OTHER_NAME: Final = _ARC + "7"
_RAW_CLAIMS: Final = {
    _ARC + "2": "github_workflow_trigger",
    _ARC + "3": "github_workflow_sha",
    _ARC + "4": "github_workflow_name",
    _ARC + "5": "github_workflow_repository",
    _ARC + "6": "github_workflow_ref",
}
_CLAIMS: Final = {
    _ARC + "9": "build_signer_uri",
    _ARC + "10": "build_signer_digest",
    _ARC + "11": "runner_environment",
    _ARC + "12": "source_repository_uri",
    _ARC + "13": "source_repository_digest",
    _ARC + "14": "source_repository_ref",
    _ARC + "15": "source_repository_identifier",
    _ARC + "16": "source_repository_owner_uri",
    _ARC + "17": "source_repository_owner_identifier",
    _ARC + "18": "build_config_uri",
    _ARC + "19": "build_config_digest",
    _ARC + "20": "build_trigger",
    _ARC + "21": "run_invocation_uri",
    _ARC + "22": "source_repository_visibility",
}
OID_OF_CLAIM: Final = {name: oid for oid, name in (_RAW_CLAIMS | _CLAIMS).items()}

_UTF8_STRING: Final = 0x0C  # X.680 section 8.4: universal tag 12
_LONG_FORM: Final = 0x80  # X.690 section 8.1.3.5
_MAX_LENGTH_OCTETS: Final = 2


def signer_of(certificate: x509.Certificate, root: str) -> Signer:
    """The signer that a verified certificate proves.

    Args:
        certificate: the signing certificate.
        root: name of the trust root that vouches for it.

    Raises:
        SignerCertificateInvalid: not exactly one subject alternative name of a known type, no issuer,
            two issuers that differ, or an extension that is not as documented.
    """
    try:
        extensions = list(certificate.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise SignerCertificateInvalid("the signing certificate's extensions cannot be read") from error
    values = {
        item.oid.dotted_string: item.value.value
        for item in extensions
        if isinstance(item.value, x509.UnrecognizedExtension)
    }
    claims = {name: _raw(values[oid]) for oid, name in _RAW_CLAIMS.items() if oid in values}
    claims |= {name: decode_utf8_string(values[oid]) for oid, name in _CLAIMS.items() if oid in values}
    return Signer(
        kind="certificate",
        identity=_identity(extensions),
        root=root,
        issuer=_issuer(values),
        claims=claims,
        certificate=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=f"{certificate.serial_number:x}",
        key=from_certificate(certificate).spki_sha256,
    )


def decode_utf8_string(data: bytes) -> str:
    """Decode a DER UTF8String: minimal length, nothing after it.

    Raises:
        SignerCertificateInvalid: otherwise.
    """
    header, length = _length(data)
    if data[:1] != bytes((_UTF8_STRING,)) or len(data) != header + length:
        raise SignerCertificateInvalid("a certificate extension is not a DER UTF8String")
    return _raw(data[header:])


def _length(data: bytes) -> tuple[int, int]:
    """Octets before the content, and the content's length; (0, -1) where the length is not DER."""
    if len(data) > 1 and data[1] < _LONG_FORM:
        return 2, data[1]
    count = data[1] - _LONG_FORM if len(data) > 1 else 0
    octets = data[2 : 2 + count]
    value = int.from_bytes(octets, "big")
    minimal = 1 <= count <= _MAX_LENGTH_OCTETS and value >= max(_LONG_FORM, 1 << 8 * (count - 1))
    return (2 + count, value) if minimal and len(octets) == count else (0, -1)


def _identity(extensions: list[x509.Extension[x509.ExtensionType]]) -> str:
    names = [
        name
        for item in extensions
        if isinstance(item.value, x509.SubjectAlternativeName)
        for name in item.value
    ]
    if len(names) != 1:
        raise SignerCertificateInvalid(
            f"the signing certificate has {len(names)} subject alternative names, not one"
        )
    name = names[0]
    if isinstance(name, (x509.UniformResourceIdentifier, x509.RFC822Name)):
        return name.value
    if isinstance(name, x509.OtherName) and name.type_id.dotted_string == _OTHER_NAME:
        return decode_utf8_string(name.value)
    raise SignerCertificateInvalid("the subject alternative name is neither URI, e-mail nor Fulcio's own")


def _issuer(values: dict[str, bytes]) -> str:
    stated = set()
    if _ISSUER_V1 in values:
        stated.add(_raw(values[_ISSUER_V1]))
    if _ISSUER_V2 in values:
        stated.add(decode_utf8_string(values[_ISSUER_V2]))
    if len(stated) != 1:
        raise SignerCertificateInvalid("the signing certificate names no issuer, or two that differ")
    return stated.pop()


def _raw(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SignerCertificateInvalid("a certificate extension is not UTF-8") from error
    if not text.isprintable():
        raise SignerCertificateInvalid("a certificate extension has control characters")
    return text
