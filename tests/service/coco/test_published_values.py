"""Values that anybody can compute from the protocol's rules, through our code (coco-wire, A)."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from coco import jwe
from common import init_data, runtime_data
from tests.service.coco.kbs import b64, b64url, unb64url

NONCE = b64(bytes(range(32)))
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "alg": "ECDH-ES+A256KW",
    "x": b64url(b"\x11" * 32),
    "y": b64url(b"\x22" * 32),
}
DEVICE = "afaf5489dc2496e5c518e1b771e327e803f116b0489b8cd43a1a5a062f4db24314574012e14d2f9a3da881aa6e6e2f33"
PRIMARY = "0c96c263c7a36d48eff0e40280317b280699b25d73222393ec02adb2fc464aa4276be567c68b6ddf0c8ac3d26f469e68"
TOML = 'version = "0.1.0"\nalgorithm = "sha256"\n\n[data]\n"aa.toml" = ""\n'


def test_canonical_runtime_data() -> None:
    key = (
        f'{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"{"ERER" * 10}ERE","y":"{"IiIi" * 10}IiI"}}'
    )
    device = runtime_data.canonical(runtime_data.device(NONCE, KEY))
    assert device.decode() == f'{{"nonce":"{NONCE}","tee-pubkey":{key}}}'
    primary = runtime_data.canonical(runtime_data.primary(NONCE, KEY, ""))
    assert primary.decode() == f'{{"additional-evidence":"","nonce":"{NONCE}","tee-pubkey":{key}}}'


def test_digests_and_report_data() -> None:
    assert runtime_data.digest(runtime_data.device(NONCE, KEY)).hex() == DEVICE
    digest = runtime_data.digest(runtime_data.primary(NONCE, KEY, ""))
    assert digest.hex() == PRIMARY
    assert runtime_data.fitted(digest, 64).hex() == PRIMARY + "00" * 16
    assert runtime_data.fitted(bytes.fromhex(DEVICE), 32).hex() == DEVICE[:64]


def test_canonical_form_sorts_by_utf16_and_escapes_as_rfc_8785() -> None:
    """Trap 3: a sorter of code points puts U+10000 after U+FB33."""
    value = {"\ufb33": 1, "\U00010000": 2, "\u20ac": "\n\u0007\u00e9", "\r": 3}
    assert runtime_data.canonical(value).decode() == (
        '{"\\r":3,"\u20ac":"\\n\\u0007\u00e9","\U00010000":2,"\ufb33":1}'
    )


def test_protected_header_for_rsa() -> None:
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    key = {"kty": "RSA", "alg": "RSA-OAEP-256", "n": b64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    sealed = jwe.encrypt(jwe.recipient(key, allow_rsa1_5=False), b"x")
    assert sealed.protected == "eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2R0NNIn0"
    assert json.loads(unb64url(sealed.protected)) == {"alg": "RSA-OAEP-256", "enc": "A256GCM"}


def test_init_data() -> None:
    digest = init_data.parse(TOML).digest
    assert digest.hex() == "acad196a293df71f3401be561a2ecd6dd087c20bed0750ace54b33634b9a4d74"
    pcr8 = "cf00faa33901654f1275ad3ea2dd405d8b67505d866022ab5fa1abe42d9ea119"
    assert init_data.pcr_value(digest).hex() == init_data.field_of("tpm", digest).hex() == pcr8


@pytest.mark.parametrize("tee", ["tpm", "az-snp-vtpm", "az-tdx-vtpm"])
def test_init_data_of_a_tpm_needs_sha256(tee: str) -> None:
    """Trap 20."""
    with pytest.raises(init_data.InitDataUnfit):
        init_data.field_of(tee, hashlib.sha384(TOML.encode()).digest())


@pytest.mark.parametrize(("tee", "size"), [("snp", 32), ("tdx", 48), ("sgx", 64)])
def test_init_data_is_fitted_to_the_field(tee: str, size: int) -> None:
    digest = hashlib.sha384(TOML.encode()).digest()
    assert init_data.field_of(tee, digest) == digest[:size].ljust(size, b"\0")


def test_init_data_of_cca_is_compared_whole() -> None:
    """Trap 19."""
    digest = hashlib.sha512(TOML.encode()).digest()
    assert init_data.field_of("cca", digest) == digest
    with pytest.raises(init_data.InitDataUnfit):
        init_data.field_of("cca", digest[:32])
