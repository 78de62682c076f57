"""Reading CCA tokens: each claim and structure rule broken alone, and any bytes."""

from __future__ import annotations

import pytest
from cbor2 import CBORTag
from hypothesis import given, settings
from hypothesis import strategies as st

from common import cbor
from common.errors import DuplicateKey, Malformed, TooLarge, TouchstoneError
from testkit.cca_platform import ABSENT, CcaPlatform, changed, collection, component, document
from testkit.cose import sign1
from verifier.cca import platform as p
from verifier.cca import realm as r
from verifier.cca import token as tokens
from verifier.cca.fields import Fields
from verifier.cca.tee import TEE

PLATFORM = CcaPlatform()
TOKEN = PLATFORM.token()


def parts() -> tuple[bytes, bytes]:
    return (
        sign1(cbor.encode(PLATFORM.platform_claims()), PLATFORM.cpak),
        sign1(cbor.encode(PLATFORM.realm_claims()), PLATFORM.rak),
    )


def test_both_tokens_are_read() -> None:
    token = tokens.parse(TOKEN)
    claims = p.parse(token.platform.fields)
    assert (claims.implementation_id, claims.instance_id) == PLATFORM.ids
    assert [item.type for item in claims.components] == ["RMM", "AP_BL31", None]
    assert claims.components[0].version == "1.0"
    realm = r.parse(token.realm.fields)
    assert realm.rak == PLATFORM.rak_claim
    assert r.rak_of(token.realm.fields) == PLATFORM.rak.public_key()


def test_truncated_at_every_length_or_longer() -> None:
    for length in range(len(TOKEN)):
        with pytest.raises(TouchstoneError):
            tokens.parse(TOKEN[:length])
    for tail in (b"\0", b"\xff", TOKEN):
        with pytest.raises(Malformed, match="after its end"):
            tokens.parse(TOKEN + tail)


def test_the_collection_holds_both_tokens_and_nothing_else() -> None:
    platform, realm = parts()
    good = collection(platform, realm)
    tokens.parse(good)
    for broken in (
        collection(platform, realm, member_1=b""),
        collection(platform, "text"),
        collection(None, realm),
        collection(b"", realm),
        cbor.encode(CBORTag(399, {44234: platform})),
        cbor.encode(CBORTag(399, {44241: realm})),
        cbor.encode(CBORTag(399, {"44234": platform, "44241": realm})),
        cbor.encode(CBORTag(399, [platform, realm])),
        cbor.encode({44234: platform, 44241: realm}),
        cbor.encode(CBORTag(907, {44234: platform, 44241: realm})),
        cbor.encode(CBORTag(399, CBORTag(399, {44234: platform, 44241: realm}))),
        cbor.encode(CBORTag(399, {44234: CBORTag(18, [b"", {}, b"", b""]), 44241: realm})),
    ):
        with pytest.raises(Malformed):
            tokens.parse(broken)


def test_a_token_in_it_needs_its_tag() -> None:
    untagged = sign1(cbor.encode(PLATFORM.platform_claims()), PLATFORM.cpak, tagged=False)
    with pytest.raises(Malformed, match="tag 18"):
        tokens.parse(collection(untagged, parts()[1]))


def test_a_key_twice_is_refused_at_every_level() -> None:
    platform, realm = parts()
    head = b"\xd9\x01\x8f\xa3"
    pair = cbor.encode(44234) + cbor.encode(platform)
    with pytest.raises(DuplicateKey):
        tokens.parse(head + pair + pair + cbor.encode(44241) + cbor.encode(realm))
    claims = PLATFORM.realm_claims()
    doubled = (
        bytes([0xA0 + len(claims) + 1]) + cbor.encode(claims)[1:] + cbor.encode(10) + cbor.encode(bytes(64))
    )
    with pytest.raises(DuplicateKey):
        tokens.parse(collection(platform, sign1(doubled, PLATFORM.rak)))


@pytest.mark.parametrize("indefinite", ["collection", "claims", "string"])
def test_indefinite_lengths_are_refused(indefinite: str) -> None:
    platform, realm = parts()
    if indefinite == "collection":
        body = b"".join(cbor.encode(item) for item in (44234, platform, 44241, realm))
        data = b"\xd9\x01\x8f\xbf" + body + b"\xff"
    elif indefinite == "claims":
        payload = b"\xbf" + cbor.encode(PLATFORM.realm_claims())[1:] + b"\xff"
        data = collection(platform, sign1(payload, PLATFORM.rak))
    else:
        chunked = b"\x5f" + cbor.encode(realm) + b"\xff"
        data = (
            b"\xd9\x01\x8f\xa2" + cbor.encode(44234) + cbor.encode(platform) + cbor.encode(44241) + chunked
        )
    with pytest.raises(Malformed, match="indefinite"):
        tokens.parse(data)


def test_numbers_that_are_not_shortest_are_refused() -> None:
    platform, realm = parts()
    long_label = b"\x1a\x00\x00\xac\xca"  # 44234 in four bytes
    data = (
        b"\xd9\x01\x8f\xa2" + long_label + cbor.encode(platform) + cbor.encode(44241) + cbor.encode(realm)
    )
    with pytest.raises(Malformed, match="shortest"):
        tokens.parse(data)
    payload = cbor.encode(PLATFORM.platform_claims()).replace(
        b"\x19\x09\x5b\x19\x30\x03", b"\x19\x09\x5b\x1a\x00\x00\x30\x03"
    )
    with pytest.raises(Malformed, match="shortest"):
        tokens.parse(collection(sign1(payload, PLATFORM.cpak), realm))


def test_sizes_and_depth_are_bounded() -> None:
    platform, realm = parts()
    with pytest.raises(TooLarge):
        tokens.parse(collection(platform + bytes(65536), realm))
    deep = b"\x81" * 40 + b"\x00"
    with pytest.raises(TooLarge):
        tokens.parse(collection(platform, sign1(deep, PLATFORM.rak)))


def platform_fields(**changes: object) -> Fields:
    return Fields(PLATFORM.platform_claims(**changes), "it")


def realm_fields(platform: CcaPlatform = PLATFORM, **changes: object) -> Fields:
    return Fields(platform.realm_claims(**changes), "it")


OPTIONAL = {p.SERVICE}


@pytest.mark.parametrize("label", sorted(PLATFORM.platform_claims()))
def test_every_platform_claim_is_demanded_and_typed(label: int) -> None:
    absent = platform_fields(**{f"claim_{label}": ABSENT})
    if label in OPTIONAL:
        assert p.parse(absent).service is None
    else:
        with pytest.raises(Malformed):
            p.parse(absent)
    for wrong in (None, True, {}, [], -1, 1 << 40, b"", "", [b""], [{}], "x" * 5000):
        with pytest.raises(Malformed):
            p.parse(platform_fields(**{f"claim_{label}": wrong}))


@pytest.mark.parametrize("label", sorted(PLATFORM.realm_claims()))
def test_every_realm_claim_is_demanded_and_typed(label: int) -> None:
    absent = realm_fields(**{f"claim_{label}": ABSENT})
    if label == r.PROFILE:
        assert r.parse(absent).profile is None
    else:
        with pytest.raises(Malformed):
            r.parse(absent)
    for wrong in (None, True, {}, [], -1, b"", "", 7):
        with pytest.raises(Malformed):
            r.parse(realm_fields(**{f"claim_{label}": wrong}))


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (p.CHALLENGE, bytes(33)),
        (p.IMPLEMENTATION_ID, bytes(33)),
        (p.INSTANCE_ID, b"\x01" + bytes(31)),
        (p.INSTANCE_ID, b"\x02" + bytes(32)),
        (p.CONFIG, bytes(4097)),
        (p.LIFECYCLE, 0x10000),
        (p.COMPONENTS, [component("a")] * 129),
        (p.COMPONENTS, [component("a", claim_2=bytes(31))]),
        (p.COMPONENTS, [component("a", claim_5=ABSENT)]),
        (p.COMPONENTS, [component("a", claim_2=ABSENT)]),
        (p.COMPONENTS, [component("a", claim_4=1)]),
        (p.COMPONENTS, [component("a", claim_1=b"a")]),
        (p.COMPONENTS, [component("a"), "a"]),
    ],
)
def test_sizes_of_platform_claims(label: int, value: object) -> None:
    with pytest.raises(Malformed):
        p.parse(platform_fields(**{f"claim_{label}": value}))


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (r.CHALLENGE, bytes(63)),
        (r.CHALLENGE, bytes(65)),
        (r.PERSONALIZATION, bytes(48)),
        (r.RIM, bytes(20)),
        (r.REMS, [bytes(32)] * 3),
        (r.REMS, [bytes(32)] * 5),
        (r.REMS, [bytes(32)] * 3 + [bytes(33)]),
        (r.REMS, [bytes(32)] * 3 + ["x"]),
    ],
)
def test_sizes_of_realm_claims(label: int, value: object) -> None:
    with pytest.raises(Malformed):
        r.parse(realm_fields(**{f"claim_{label}": value}))


def test_the_realms_key_has_the_form_of_its_profile() -> None:
    legacy = CcaPlatform(legacy=True)
    assert r.rak_of(realm_fields(legacy)) == legacy.rak.public_key()
    point = legacy.rak_claim
    for platform, rak in (
        (legacy, PLATFORM.rak_claim),
        (legacy, point[:-1]),
        (legacy, point + b"\0"),
        (PLATFORM, point),
        (PLATFORM, b"\xa0"),
    ):
        with pytest.raises(TouchstoneError):
            r.rak_of(realm_fields(platform, claim_44237=rak))
    for prefix in (b"\x02", b"\x05", b"\x00"):
        assert r.rak_of(realm_fields(legacy, claim_44237=prefix + point[1:])) is None


def test_unknown_claims_are_kept_by_name() -> None:
    claims = p.parse(platform_fields(claim_2403=b"x", claim_99999=1))
    assert claims.others == ("2403", "99999")
    with_text = Fields(PLATFORM.realm_claims() | {"extra": 1}, "it")
    assert r.parse(with_text).others == ("extra",)
    assert p.parse(platform_fields(claim_2399=[component("a", claim_7=True)])).components[0].others == (
        "7",
    )


def test_a_raw_token_is_recognised_by_its_tag() -> None:
    assert TEE.recognise(TOKEN) == document(TOKEN)
    assert TEE.recognise(b"\x84" + TOKEN) is None
    assert TEE.recognise(b"") is None
    with pytest.raises(Malformed, match="broken"):
        TEE.recognise(TOKEN[:-1])


def test_contents_show_every_claim_and_never_fail() -> None:
    shown = TEE.contents(document(TOKEN))
    assert shown["platform"]["lifecycle"] == 0x3003
    assert shown["platform"]["components"][0]["type"] == "RMM"
    assert shown["realm"]["challenge"] == "00" * 64
    assert TEE.contents(document(b"nothing")) == {}
    assert TEE.contents(document(PLATFORM.token(platform={"claim_2395": ABSENT}))) == {}


def test_changed_removes_what_is_absent() -> None:
    assert changed({1: 2, 3: 4}, {"claim_1": ABSENT}) == {3: 4}


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=120), st.integers(0, len(TOKEN)), st.binary(min_size=1, max_size=6))
def test_any_bytes_give_a_token_or_our_error(data: bytes, at: int, patch: bytes) -> None:
    for candidate in (data, b"\xd9\x01\x8f" + data, TOKEN[:at] + patch + TOKEN[at + len(patch) :]):
        try:
            token = tokens.parse(candidate)
            p.parse(token.platform.fields)
            r.rak_of(token.realm.fields)
            r.parse(token.realm.fields)
        except TouchstoneError:
            pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=97)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted({*PLATFORM.platform_claims(), *PLATFORM.realm_claims()})), VALUES)
def test_any_value_of_a_claim_gives_claims_or_our_error(label: int, value: object) -> None:
    for parse, fields in (
        (p.parse, platform_fields(**{f"claim_{label}": value})),
        (r.parse, realm_fields(**{f"claim_{label}": value})),
        (r.rak_of, realm_fields(**{f"claim_{label}": value})),
    ):
        try:
            parse(fields)
        except TouchstoneError:
            pass
