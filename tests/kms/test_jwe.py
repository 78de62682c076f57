"""A secret is encrypted to strong public keys only, and its JWE says what it is and for which session."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as reference
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from common.encoding import b64url_decode, b64url_encode
from common.errors import TouchstoneError
from kms import jwe
from kms.errors import RecipientKeyRefused

MEMBERS = {"resource": "resource/a/b/c", "version": 3, "ear_jti": "ab" * 16}
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


def _ec_jwk(curve="P-384"):
    return dict(ECKey.import_key(ec.generate_private_key(CURVES[curve])).as_dict(private=False))


def _rsa_jwk(bits=3072):
    return dict(RSAKey.import_key(rsa.generate_private_key(65537, bits)).as_dict(private=False))


def _decrypt(token, key, algorithm):
    registry = reference.JWERegistry(algorithms=[algorithm, "A256GCM"], header_registry=jwe._HEADER)
    registry.max_ciphertext_length = 8 << 20
    return reference.decrypt_compact(token, key, registry=registry)


@pytest.mark.parametrize("curve", CURVES)
def test_an_ec_guest_decrypts_what_is_bound_to_its_session(curve):
    key = ECKey.import_key(ec.generate_private_key(CURVES[curve]))
    to = jwe.recipient(key.as_dict(private=False))
    opened = _decrypt(jwe.encrypt(to, b"secret", **MEMBERS), key, "ECDH-ES+A256KW")
    assert opened.plaintext == b"secret"
    header = opened.headers()
    assert header.pop("epk")["crv"] == curve
    assert header == {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", **MEMBERS}


def test_an_rsa_guest_gets_oaep_with_sha256():
    key = RSAKey.import_key(rsa.generate_private_key(65537, 3072))
    token = jwe.encrypt(jwe.recipient(key.as_dict(private=False)), b"secret", **MEMBERS)
    opened = _decrypt(token, key, "RSA-OAEP-256")
    assert opened.plaintext == b"secret"
    assert opened.headers() == {"alg": "RSA-OAEP-256", "enc": "A256GCM", **MEMBERS}


def test_the_longest_id_and_a_mebibyte_fit():
    key = ECKey.import_key(ec.generate_private_key(ec.SECP521R1()))
    members = MEMBERS | {"resource": "resource/" + "/".join(["x" * 128] * 3)}
    token = jwe.encrypt(jwe.recipient(key.as_dict(private=False)), b"s" * (1 << 20), **members)
    assert _decrypt(token, key, "ECDH-ES+A256KW").plaintext == b"s" * (1 << 20)


def test_an_altered_header_does_not_decrypt():
    key = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
    token = jwe.encrypt(jwe.recipient(key.as_dict(private=False)), b"secret", **MEMBERS)
    head, rest = token.split(".", 1)
    header = json.loads(b64url_decode(head)) | {"ear_jti": "cd" * 16}
    forged = b64url_encode(json.dumps(header).encode()) + "." + rest
    with pytest.raises(JoseError):
        _decrypt(forged, key, "ECDH-ES+A256KW")


def test_two_encryptions_share_nothing():
    to = jwe.recipient(_ec_jwk())
    first, second = (jwe.encrypt(to, b"secret", **MEMBERS).split(".") for _ in range(2))
    assert all(a != b for a, b in zip(first, second, strict=True))


def _changed(jwk, **changes):
    return {name: value for name, value in (jwk | changes).items() if value is not None}


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        dict(OKPKey.generate_key("X25519").as_dict(private=False)),
        dict(OKPKey.generate_key("Ed25519").as_dict(private=False)),
        dict(ECKey.generate_key("secp256k1").as_dict(private=False)),
        dict(ECKey.generate_key("P-256").as_dict(private=True)),
        _changed(_ec_jwk("P-256"), crv="P-384"),
        _changed(_ec_jwk("P-256"), x="AA"),
        _changed(_ec_jwk("P-256"), x=None),
        _changed(_ec_jwk("P-256"), y="A" * 43),
        _changed(_ec_jwk("P-256"), x=1),
        _changed(_ec_jwk("P-256"), alg="RSA1_5"),
        _changed(_ec_jwk("P-256"), alg="dir"),
        _changed(_ec_jwk("P-256"), use="sig"),
        _rsa_jwk(2048),
        _changed(_rsa_jwk(), alg="RSA1_5"),
        _changed(_rsa_jwk(), e="Aw"),  # 3
        _changed(_rsa_jwk(), e="AQAC"),  # even
        _changed(_rsa_jwk(), n=b64url_encode(b"\xff" * 2049)),
        _changed(_rsa_jwk(), n=None),
    ],
)
def test_a_weak_foreign_private_or_malformed_key_is_refused(jwk):
    with pytest.raises(RecipientKeyRefused):
        jwe.recipient(jwk)


def test_no_input_of_ours_makes_a_zip_header():
    token = jwe.encrypt(jwe.recipient(_ec_jwk()), b"0" * 10_000, **MEMBERS)
    assert "zip" not in json.loads(b64url_decode(token.split(".")[0]))
    assert len(token) > 10_000


_VALUES = st.text(max_size=90) | st.integers() | st.none() | st.lists(st.text(max_size=3), max_size=2)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use", "other"]),
        st.sampled_from(["EC", "RSA", "P-256", "P-384", "AQAB", "A" * 43, "enc"]) | _VALUES,
    )
)
def test_any_jwk_is_a_recipient_or_a_typed_refusal(jwk):
    try:
        jwe.recipient(jwk)
    except TouchstoneError as error:
        assert isinstance(error, RecipientKeyRefused)  # noqa: PT017
