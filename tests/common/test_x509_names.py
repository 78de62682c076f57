"""Names that the library cannot read are a value error, not a type error at first use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.errors import Malformed
from common.x509_names import with_names
from verifier.snp.certificates import load_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
UTF8, BIT_STRING = b"\x0c", b"\x03"


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "readable name")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, NOW, NOW + timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_readable_name_is_left_alone() -> None:
    loaded = x509.load_der_x509_certificate(certificate())
    assert with_names(loaded) is loaded


def test_a_common_name_of_a_type_that_none_has_is_a_value_error() -> None:
    text = b"\x0dreadable name"
    broken = certificate().replace(UTF8 + text, BIT_STRING + text)
    loaded = x509.load_der_x509_certificate(broken)
    with pytest.raises(TypeError):
        _ = loaded.subject
    with pytest.raises(ValueError, match="name"):
        with_names(x509.load_der_x509_certificate(broken))
    with pytest.raises(Malformed):
        load_certificate(broken, "the leaf")
