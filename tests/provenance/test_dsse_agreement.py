"""Our DSSE against the reference library's (securesystemslib, which in-toto signs with), both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from in_toto.models.metadata import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from common.encoding import b64_encode
from provenance import dsse, keys
from testkit.authority import TestKey, sign_dsse

PAYLOAD = json.dumps({"_type": "https://in-toto.io/Statement/v1", "text": "ünï"}).encode()
TYPE = "application/vnd.in-toto+json"


@pytest.mark.parametrize(
    "private", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_what_the_library_signs_verifies_here(private: Any) -> None:
    signer = CryptoSigner(private)
    envelope = Envelope(PAYLOAD, TYPE, {})
    envelope.create_signature(signer)
    (signature,) = envelope.signatures.values()
    parsed = dsse.parse(
        {
            "payload": b64_encode(PAYLOAD),
            "payloadType": TYPE,
            "signatures": [{"sig": b64_encode(bytes.fromhex(signature.signature))}],
        }
    )
    assert parsed.pae == envelope.pae()
    algorithm = "ed25519" if isinstance(private, ed25519.Ed25519PrivateKey) else "ecdsa-p256-sha256"
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    key = keys.from_pem(algorithm, pem)
    assert key.verifies(parsed.signatures[0].signature, parsed.pae)


def test_what_we_sign_verifies_with_the_library() -> None:
    key = TestKey()
    document = json.loads(sign_dsse(PAYLOAD, [(key, "key")]))
    parsed = dsse.parse(document)
    library = SSlibKey("key", "ecdsa", "ecdsa-sha2-nistp256", {"public": key.public_pem})
    envelope = Envelope.from_dict(
        document | {"signatures": [{"keyid": "key", "sig": document["signatures"][0]["sig"]}]}
    )
    envelope.verify([library], 1)
    assert envelope.pae() == parsed.pae
