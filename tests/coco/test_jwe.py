"""What a KBS hands out opens with the guest's key alone, in exactly the form that CoCo's clients read."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from Crypto.Hash import KMAC256
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as reference
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from coco import jwe
from coco.errors import TeeKeyRefused
from common.encoding import b64url_decode, b64url_encode
from common.errors import TouchstoneError
from tests.components import require

CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_RSA = rsa.generate_private_key(65537, 2048)
# The client's own key of Appendix A: 32 times 0x11, 32 times 0x22; not a point of the curve.
OFF_CURVE = {
    "kty": "EC",
    "crv": "P-256",
    "alg": "ECDH-ES+A256KW",
    "x": b64url_encode(b"\x11" * 32),
    "y": b64url_encode(b"\x22" * 32),
}


def _ec_key(curve="P-256"):
    return ECKey.import_key(ec.generate_private_key(CURVES[curve]))


def _jwk(key, **changes):
    jwk = dict(key.as_dict(private=False)) | changes
    return {name: value for name, value in jwk.items() if value is not None}


def _rsa_jwk(**changes):
    return _jwk(RSAKey.import_key(_RSA), **changes)


def _open(answer, key, algorithm):
    """By joserfc: the five parts are those of the compact form."""
    parts = answer.protected, answer.encrypted_key, answer.iv, answer.ciphertext, answer.tag
    token = ".".join(parts)
    registry = reference.JWERegistry(algorithms=[algorithm, "A256GCM"])
    registry.max_ciphertext_length = 8 << 20
    return reference.decrypt_compact(token, key, registry=registry)


@pytest.mark.parametrize("curve", CURVES)
def test_joserfc_opens_what_an_ec_guest_gets(curve):
    key = _ec_key(curve)
    to = jwe.recipient(_jwk(key, alg="ECDH-ES+A256KW"), allow_rsa1_5=False)
    answer = jwe.encrypt(to, b"secret")
    assert _open(answer, key, "ECDH-ES+A256KW").plaintext == b"secret"
    header = json.loads(b64url_decode(answer.protected))
    assert list(header) == ["alg", "enc", "epk"]
    assert list(header["epk"]) == ["crv", "kty", "x", "y"]
    assert header["epk"]["crv"] == curve
    size = {"P-256": 32, "P-384": 48, "P-521": 66}[curve]
    assert len(b64url_decode(header["epk"]["x"])) == len(b64url_decode(header["epk"]["y"])) == size
    assert (len(b64url_decode(answer.iv)), len(b64url_decode(answer.tag))) == (12, 16)
    assert len(b64url_decode(answer.encrypted_key)) == 40


def test_the_rsa_header_is_the_one_that_clients_authenticate():
    # Vector: JWE protected, RSA-OAEP-256.
    answer = jwe.encrypt(jwe.recipient(_rsa_jwk(alg="RSA-OAEP-256"), allow_rsa1_5=False), b"secret")
    assert answer.protected == "eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2R0NNIn0"
    assert _open(answer, RSAKey.import_key(_RSA), "RSA-OAEP-256").plaintext == b"secret"


def test_rsa1_5_is_behind_a_switch_and_then_works():
    jwk = _rsa_jwk(alg="RSA1_5")
    with pytest.raises(TeeKeyRefused, match="RSA1_5"):
        jwe.recipient(jwk, allow_rsa1_5=False)
    answer = jwe.encrypt(jwe.recipient(jwk, allow_rsa1_5=True), b"secret")
    content_key = _RSA.decrypt(b64url_decode(answer.encrypted_key), padding.PKCS1v15())
    assert _decrypt(answer, content_key) == b"secret"
    assert json.loads(b64url_decode(answer.protected)) == {"alg": "RSA1_5", "enc": "A256GCM"}


def test_without_alg_the_strong_algorithm_of_the_key_is_taken():
    assert jwe.recipient(_rsa_jwk(alg=None), allow_rsa1_5=True).algorithm == "RSA-OAEP-256"
    assert jwe.recipient(_jwk(_ec_key()), allow_rsa1_5=True).algorithm == "ECDH-ES+A256KW"


def test_an_ml_kem_guest_opens_its_answer():
    private = MLKEM768PrivateKey.generate()
    answer = jwe.encrypt(jwe.recipient(_akp_jwk(private), allow_rsa1_5=False), b"secret")
    header = json.loads(b64url_decode(answer.protected))
    assert list(header) == ["alg", "enc", "ek"]
    shared = private.decapsulate(b64url_decode(header["ek"]))
    info = b"\x00\x00\x00\x11ML-KEM-768+A192KW\x00\x00\x00\xc0"
    wrapping = KMAC256.new(key=shared, data=info, mac_len=24, custom=b"").digest()
    content_key = aes_key_unwrap(wrapping, b64url_decode(answer.encrypted_key))
    assert _decrypt(answer, content_key) == b"secret"


def test_our_kmac_is_openssls(tmp_path):
    """The derivation that has no second implementation in joserfc, held against OpenSSL's."""
    program = shutil.which("openssl")
    require(program, "no openssl program")
    key, data = bytes(range(32)), jwe._ML_KEM_INFO
    (tmp_path / "data").write_bytes(data)
    run = subprocess.run(
        [program, "mac", "-macopt", f"hexkey:{key.hex()}", "-macopt", "size:24", "-in", "data", "KMAC256"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = KMAC256.new(key=key, data=data, mac_len=24, custom=b"").hexdigest()
    assert run.stdout.strip().lower() == ours


def test_an_altered_header_does_not_open():
    key = _ec_key()
    answer = jwe.encrypt(jwe.recipient(_jwk(key), allow_rsa1_5=False), b"secret")
    header = json.loads(b64url_decode(answer.protected)) | {"kid": "other"}
    forged = jwe.EncryptedResource(
        b64url_encode(json.dumps(header).encode()),
        answer.encrypted_key,
        answer.iv,
        answer.ciphertext,
        answer.tag,
    )
    with pytest.raises(JoseError):
        _open(forged, key, "ECDH-ES+A256KW")


def test_another_content_key_does_not_open():
    answer = jwe.encrypt(jwe.recipient(_rsa_jwk(), allow_rsa1_5=False), b"secret")
    with pytest.raises(InvalidTag):
        _decrypt(answer, bytes(32))


def test_two_answers_share_nothing_but_their_form():
    to = jwe.recipient(_jwk(_ec_key()), allow_rsa1_5=False)
    first, second = jwe.encrypt(to, b"secret"), jwe.encrypt(to, b"secret")
    for part in ("protected", "encrypted_key", "iv", "ciphertext", "tag"):
        assert getattr(first, part) != getattr(second, part)


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_any_size_opens(size):
    key = _ec_key("P-521")
    answer = jwe.encrypt(jwe.recipient(_jwk(key), allow_rsa1_5=False), b"s" * size)
    assert _open(answer, key, "ECDH-ES+A256KW").plaintext == b"s" * size


REFUSED = {
    "off the curve": lambda: OFF_CURVE,
    "the point at infinity": lambda: OFF_CURVE | dict.fromkeys("xy", b64url_encode(bytes(32))),
    "a short coordinate": lambda: _jwk(_ec_key(), x=b64url_encode(b"\x01" * 31)),
    "another curve's name": lambda: _jwk(_ec_key("P-256"), crv="P-521"),
    "a curve that is not offered": lambda: _jwk(_ec_key(), crv="secp256k1"),
    "an algorithm of RSA on an EC key": lambda: _jwk(_ec_key(), alg="RSA-OAEP-256"),
    "an algorithm of EC on an RSA key": lambda: _rsa_jwk(alg="ECDH-ES+A256KW"),
    "direct agreement": lambda: _jwk(_ec_key(), alg="ECDH-ES"),
    "OAEP with SHA-1": lambda: _rsa_jwk(alg="RSA-OAEP"),
    "an algorithm that is no text": lambda: _jwk(_ec_key(), alg=["ECDH-ES+A256KW"]),
    "a private EC key": lambda: dict(_ec_key().as_dict(private=True)),
    "a private RSA key": lambda: dict(RSAKey.import_key(_RSA).as_dict(private=True)),
    "a symmetric key": lambda: {"kty": "oct", "k": b64url_encode(bytes(32))},
    "no kty": dict,
    "kty as a list": lambda: _jwk(_ec_key(), kty=["EC"]),
    "1024 bits": lambda: _rsa_jwk(n=b64url_encode(b"\xff" * 128)),
    "exponent 3": lambda: _rsa_jwk(e=b64url_encode(b"\x03")),
    "a huge exponent": lambda: _rsa_jwk(e=b64url_encode(b"\x01" + bytes(7) + b"\x01")),
    "an even exponent": lambda: _rsa_jwk(e=b64url_encode((1 << 17).to_bytes(3, "big"))),
    "a modulus over the limit": lambda: _rsa_jwk(n=b64url_encode(b"\xff" * 1025)),
    "a modulus of a megabyte": lambda: _rsa_jwk(n="A" * (1 << 20)),
    "padding": lambda: _jwk(_ec_key(), x="ERERERERERERERERERERERERERERERERERERERERERE="),
    "a signing key": lambda: _jwk(_ec_key(), use="sig"),
    "a number as a member": lambda: _jwk(_ec_key(), x=1),
    "AKP without alg": lambda: _akp_jwk(alg=None),
    "AKP of another set": lambda: _akp_jwk(alg="ML-KEM-1024+A256KW"),
    "AKP that is short": lambda: _akp_jwk(pub=b64url_encode(bytes(1183))),
    "AKP with its seed": lambda: _akp_jwk(priv=b64url_encode(bytes(64))),
    "AKP outside the field": lambda: _akp_jwk(pub=b64url_encode(b"\xff" * 1184)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_that_does_not_hold_is_refused(case):
    with pytest.raises(TeeKeyRefused) as refusal:
        jwe.recipient(REFUSED[case](), allow_rsa1_5=True)
    assert refusal.value.code == "coco.tee_key"


_values = st.none() | st.booleans() | st.integers() | st.text(max_size=60) | st.lists(st.text(max_size=5))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["kty", "crv", "alg", "x", "y", "n", "e", "pub", "use"]), _values),
    st.sampled_from(["EC", "RSA", "AKP", None]),
)
def test_whatever_comes_as_a_key_gives_a_key_or_a_typed_error(jwk, kty):
    if kty:
        jwk["kty"] = kty
    try:
        jwe.recipient(jwk, allow_rsa1_5=True)
    except TouchstoneError as error:
        assert error.code == "coco.tee_key"  # noqa: PT017 (either outcome is right)


def _akp_jwk(private=None, **changes):
    key = private or MLKEM768PrivateKey.generate()
    jwk = {
        "kty": "AKP",
        "alg": "ML-KEM-768+A192KW",
        "pub": b64url_encode(key.public_key().public_bytes_raw()),
    }
    return {name: value for name, value in (jwk | changes).items() if value is not None}


def _decrypt(answer, content_key):
    sealed = b64url_decode(answer.ciphertext) + b64url_decode(answer.tag)
    return AESGCM(content_key).decrypt(b64url_decode(answer.iv), sealed, answer.protected.encode())
