"""Reading claims out of certificates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.errors import SignerCertificateInvalid, SignerUntrusted
from provenance.pipeline import Pipeline
from provenance.sigstore import fulcio
from testkit.authority import TestAuthority
from tests.provenance.builds import NOW, admit, policy, sign


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 4000])
def test_utf8_strings_of_every_length_form_are_read(length: int) -> None:
    text = "x" * length
    if length < 0x80:
        header = bytes((0x0C, length))
    elif length < 0x100:
        header = bytes((0x0C, 0x81, length))
    else:
        header = bytes((0x0C, 0x82)) + length.to_bytes(2, "big")
    assert fulcio.decode_utf8_string(header + text.encode()) == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0c",
        b"\x0c\x02a",
        b"\x0c\x01ab",
        b"\x16\x01a",
        b"\x0c\x81\x01a",
        b"\x0c\x82\x00\x80" + b"a" * 128,
        b"\x0c\x80a",
        b"\x0c\x83\x01\x00\x00" + b"a" * 65536,
        b"\x0c\x01\xff",
        b"\x0c\x02a\n",
    ],
    ids=lambda data: data[:6].hex(),
)
def test_other_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(SignerCertificateInvalid):
        fulcio.decode_utf8_string(data)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_decode_or_raise_our_error(data: bytes) -> None:
    try:
        text = fulcio.decode_utf8_string(data)
    except SignerCertificateInvalid:
        return
    assert text.encode() in data


def test_email_identity_is_taken_from_the_certificate(authority: TestAuthority) -> None:
    envelope = sign(authority, identity="release@acme.example", issuer="https://accounts.example")
    authentic = Pipeline(policy(authority)).authenticate(envelope, NOW)
    assert authentic.signers[0].identity == "release@acme.example"
    assert authentic.signers[0].issuer == "https://accounts.example"
    assert authentic.signers[0].claims == {}
    with pytest.raises(SignerUntrusted):
        admit(authority, envelope)
