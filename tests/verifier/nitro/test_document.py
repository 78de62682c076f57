"""Reading attestation documents: each rule broken alone, and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import cbor
from common.errors import DuplicateKey, Malformed, TooLarge, TouchstoneError
from testkit.cose import sign1
from testkit.nitro_enclave import ABSENT, NOW, NitroAuthority, endless, register, wrapped
from verifier.errors import UnsupportedEvidence
from verifier.nitro.document import parse
from verifier.nitro.tee import TEE

AUTHORITY = NitroAuthority()
KEY = AUTHORITY.keys[-1]
DOCUMENT = AUTHORITY.document()


@pytest.mark.parametrize("indefinite", [True, False])
@pytest.mark.parametrize("tagged", [True, False])
def test_documents_are_read_with_and_without_tag_and_endless_map(tagged: bool, indefinite: bool) -> None:
    document = parse(AUTHORITY.document(tagged=tagged, indefinite=indefinite, nonce=b"n", public_key=b"k"))
    assert document.module_id == "i-0-enc0"
    assert document.made == NOW
    assert document.pcrs[0] == register(0)
    assert len(document.cabundle) == 4
    assert (document.user_data, document.nonce, document.public_key) == (bytes(64), b"n", b"k")


def test_what_the_enclave_did_not_pass_along_may_be_absent_null_or_empty() -> None:
    for value in (ABSENT, None, b""):
        document = parse(AUTHORITY.document(user_data=value, nonce=value, public_key=value))
        assert not any((document.user_data, document.nonce, document.public_key))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("module_id", ""),
        ("module_id", b"i"),
        ("module_id", "x" * 257),
        ("digest", b"SHA384"),
        ("timestamp", 0),
        ("timestamp", -1),
        ("timestamp", "1"),
        ("timestamp", True),
        ("timestamp", 1 << 63),
        ("pcrs", {}),
        ("pcrs", []),
        ("pcrs", {32: bytes(48)}),
        ("pcrs", {-1: bytes(48)}),
        ("pcrs", {"0": bytes(48)}),
        ("pcrs", {0: bytes(32)}),
        ("pcrs", {0: "00"}),
        ("certificate", b""),
        ("certificate", bytes(1025)),
        ("certificate", "x"),
        ("cabundle", []),
        ("cabundle", b"x"),
        ("cabundle", [b""]),
        ("cabundle", [bytes(1025)]),
        ("cabundle", ["x"]),
        ("cabundle", [b"x"] * 9),
        ("user_data", bytes(1025)),
        ("user_data", "x"),
        ("nonce", 5),
        ("public_key", [b""]),
        *(
            (name, ABSENT)
            for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
        ),
    ],
)
def test_every_member_is_demanded_and_typed(member: str, value: object) -> None:
    with pytest.raises(Malformed):
        parse(AUTHORITY.document(**{member: value}))


def test_other_hashes_and_other_documents_are_not_supported() -> None:
    with pytest.raises(UnsupportedEvidence, match="SHA512"):
        parse(AUTHORITY.document(digest="SHA512"))
    with pytest.raises(UnsupportedEvidence, match="NitroTPM"):
        parse(AUTHORITY.document(pcrs=ABSENT, nitrotpm_pcrs={0: bytes(48)}))


def test_members_that_are_not_known_are_kept_by_name() -> None:
    assert parse(AUTHORITY.document(more=1, another=b"x")).others == ("another", "more")


def test_a_member_twice_is_refused() -> None:
    payload = endless(AUTHORITY.members())[:-1] + cbor.encode("digest") + cbor.encode("SHA384") + b"\xff"
    with pytest.raises(DuplicateKey):
        parse(sign1(payload, KEY, tagged=False))
    twice = {0: bytes(48)}
    pcrs = b"\xa2" + cbor.encode(twice)[1:] * 2
    members = AUTHORITY.members(pcrs=ABSENT)
    with pytest.raises(DuplicateKey):
        parse(sign1(endless(members)[:-1] + cbor.encode("pcrs") + pcrs + b"\xff", KEY))


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x80", b"\xbf", b"\xf6", b"\xbf\x61a\xff", b"\x40"])
def test_other_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse(sign1(payload, KEY))


def test_the_message_itself_has_no_indefinite_lengths_or_long_numbers() -> None:
    parts = (b"\xa1\x01\x38\x22", {}, AUTHORITY.document(), bytes(96))
    with pytest.raises(Malformed, match="indefinite"):
        parse(b"\x9f" + b"".join(cbor.encode(part) for part in parts) + b"\xff")
    payload = endless(AUTHORITY.members(timestamp=5)).replace(b"timestamp\x05", b"timestamp\x18\x05")
    with pytest.raises(Malformed, match="shortest"):
        parse(sign1(payload, KEY))


def test_truncated_at_every_length_or_longer() -> None:
    for length in range(len(DOCUMENT)):
        with pytest.raises(TouchstoneError):
            parse(DOCUMENT[:length])
    with pytest.raises(Malformed):
        parse(DOCUMENT + b"\0")
    with pytest.raises(TooLarge):
        parse(DOCUMENT + bytes(65_536))


def test_a_raw_document_is_recognised() -> None:
    assert TEE.recognise(DOCUMENT) == wrapped(DOCUMENT)
    assert TEE.recognise(AUTHORITY.document(tagged=True)) is not None
    assert TEE.recognise(b"\xd9\x01\x8f") is None
    assert TEE.recognise(b"") is None
    with pytest.raises(Malformed, match="broken"):
        TEE.recognise(DOCUMENT[:-1])


def test_contents_show_the_members_and_never_fail() -> None:
    assert TEE.contents(wrapped(DOCUMENT))["module_id"] == "i-0-enc0"
    assert TEE.contents(wrapped(b"x")) == {}


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=120), st.integers(0, len(DOCUMENT)), st.binary(min_size=1, max_size=6))
def test_any_bytes_give_a_document_or_our_error(data: bytes, at: int, patch: bytes) -> None:
    for candidate in (
        data,
        sign1(data, KEY),
        DOCUMENT[:at] + patch + DOCUMENT[at + len(patch) :],
    ):
        try:
            parse(candidate)
        except TouchstoneError:
            pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=60)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 40), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(AUTHORITY.members())), VALUES)
def test_any_value_of_a_member_gives_a_document_or_our_error(member: str, value: object) -> None:
    try:
        parse(AUTHORITY.document(**{member: value}))
    except TouchstoneError:
        pass
