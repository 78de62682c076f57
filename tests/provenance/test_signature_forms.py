"""One key, one algorithm, one form of signature: DER and r beside s are never both tried."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from provenance import keys
from provenance.errors import TrustPolicyInvalid

KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey = KEY) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def both_forms(message: bytes) -> tuple[bytes, bytes]:
    der = KEY.sign(message, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(der)
    return der, r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_each_algorithm_takes_its_own_form_only() -> None:
    der, flat = both_forms(b"message")
    with_der = keys.from_pem("ecdsa-p256-sha256", pem())
    with_flat = keys.from_pem("ecdsa-p256-sha256-p1363", pem())
    assert (with_der.verifies(der, b"message"), with_der.verifies(flat, b"message")) == (True, False)
    assert (with_flat.verifies(flat, b"message"), with_flat.verifies(der, b"message")) == (True, False)
    assert with_der.spki_sha256 == with_flat.spki_sha256


@pytest.mark.parametrize("change", [b"", b"\x00", bytes(64), b"\xff" * 64])
def test_other_bytes_do_not_verify(change: bytes) -> None:
    _, flat = both_forms(b"message")
    key = keys.from_pem("ecdsa-p256-sha256-p1363", pem())
    assert not key.verifies(change, b"message")
    assert not key.verifies(flat + b"\x00", b"message")
    assert not key.verifies(flat[:-1], b"message")
    assert not key.verifies(flat, b"other")


def test_the_form_is_of_p256_alone() -> None:
    with pytest.raises(TrustPolicyInvalid):
        keys.from_pem("ecdsa-p256-sha256-p1363", pem(ec.generate_private_key(ec.SECP384R1())))
