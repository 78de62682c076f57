"""Old SLSA envelopes: a certificate beside the signature, no log entry."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.encoding import b64_encode
from provenance.dsse import DsseEnvelope
from provenance.errors import EnvelopeMalformed, StatementIncomplete, StatementSignatureInvalid
from testkit.authority import GITHUB_ISSUER, TestAuthority
from tests.provenance.builds import IDENTITY, NOW, admit, statement


def envelope(authority: TestAuthority, **changes: Any) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate: x509.Certificate = authority.ca.issue(
        key.public_key(),
        identity=IDENTITY,
        issuer=GITHUB_ISSUER,
        claims={},
        not_before=NOW,
        lifetime=timedelta(minutes=10),
    )
    pae = DsseEnvelope("application/vnd.in-toto+json", statement(), ()).pae
    signature = {
        "keyid": "",
        "sig": b64_encode(key.sign(pae, ec.ECDSA(hashes.SHA256()))),
        "cert": certificate.public_bytes(serialization.Encoding.PEM).decode(),
    }
    document = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": b64_encode(statement()),
        "signatures": [signature | changes],
    }
    return json.dumps(document).encode()


def test_good_signature_without_log_entry_is_incomplete(authority: TestAuthority) -> None:
    with pytest.raises(StatementIncomplete) as caught:
        admit(authority, envelope(authority))
    assert "log entry" in caught.value.message
    assert caught.value.advice


def test_bad_signature_is_a_bad_signature(authority: TestAuthority) -> None:
    other = json.loads(envelope(authority))["signatures"][0]["sig"]
    with pytest.raises(StatementSignatureInvalid):
        admit(authority, envelope(authority, sig=other))


@pytest.mark.parametrize(
    "certificate", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_unreadable_certificate_is_malformed(authority: TestAuthority, certificate: str) -> None:
    with pytest.raises(EnvelopeMalformed):
        admit(authority, envelope(authority, cert=certificate))
