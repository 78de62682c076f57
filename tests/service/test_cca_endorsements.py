"""Attestation keys of Arm CCA platforms out of CoRIMs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cbor2 import CBORTag
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from common import cbor
from common.encoding import b64_encode
from common.errors import Malformed, TouchstoneError
from provenance.errors import ManifestMalformed
from service.cca_endorsements import keys_of_corim
from service.inspection import recognise, verify
from testkit.cca_platform import CcaPlatform
from verifier.cca.endorsements import FolderEndorsements, write_keys
from verifier.errors import EndorsementMissing
from verifier.tee import Inspection

FIRST, SECOND = CcaPlatform(b"first"), CcaPlatform(b"second")


def spki(platform: CcaPlatform, encoding: Encoding) -> bytes:
    return platform.cpak.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def pem(platform: CcaPlatform) -> CBORTag:
    return CBORTag(554, spki(platform, Encoding.PEM).decode())


def triple(platform: CcaPlatform, *keys: object) -> list[Any]:
    environment = {0: {0: CBORTag(560, platform.implementation_id)}, 1: CBORTag(550, platform.instance_id)}
    return [environment, list(keys or (pem(platform),))]


def corim(*triples: object, label: int = 3) -> bytes:
    comid = {1: {0: "id"}, 4: {label: list(triples)}}
    return cbor.encode(CBORTag(501, {0: "corim", 1: [CBORTag(506, cbor.encode(comid))]}))


def test_keys_come_by_platform_in_both_spellings_and_go_into_the_store(tmp_path: Path) -> None:
    bare = CBORTag(554, b64_encode(spki(SECOND, Encoding.DER)))
    keys = keys_of_corim(corim(triple(FIRST), triple(SECOND, bare)))
    assert keys == {item.ids: item.cpak.public_key() for item in (FIRST, SECOND)}
    assert write_keys(tmp_path, keys) == 2
    assert FolderEndorsements(tmp_path).attestation_key(*FIRST.ids) == FIRST.cpak.public_key()


def test_an_outer_tag_of_older_drafts_is_taken_off() -> None:
    content = cbor.encode(CBORTag(500, CBORTag(501, {0: "x", 1: []})))
    with pytest.raises(Malformed, match="no attestation key"):
        keys_of_corim(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        cbor.encode({}),
        cbor.encode(CBORTag(501, [])),
        cbor.encode(CBORTag(501, {0: "x"})),
        corim(triple(FIRST), label=0),
        corim(triple(FIRST), triple(FIRST)),
        corim(triple(FIRST, pem(FIRST), pem(SECOND))),
        corim(triple(FIRST, CBORTag(555, "certificate"))),
        corim(triple(FIRST, CBORTag(554, "!"))),
        corim(triple(FIRST, CBORTag(554, "AAAA"))),
        corim(triple(FIRST, CBORTag(554, b"bytes"))),
        corim([*triple(FIRST), {}]),
        corim([triple(FIRST)[0], []]),
        corim([{0: {0: CBORTag(560, bytes(31))}, 1: CBORTag(550, FIRST.instance_id)}, [pem(FIRST)]]),
        corim([{0: {0: CBORTag(560, bytes(32))}}, [pem(FIRST)]]),
        corim([{0: {0: CBORTag(560, bytes(32))}, 1: CBORTag(550, b"\2" + bytes(32))}, [pem(FIRST)]]),
        corim("text"),
    ],
)
def test_what_is_not_read_whole_is_refused(content: bytes) -> None:
    with pytest.raises(TouchstoneError):
        keys_of_corim(content)


def test_a_real_corim_endorses_the_key_of_a_real_token(vectors: Path, tmp_path: Path) -> None:
    evidence = vectors / "evidence"
    data = (evidence / "corim" / "cca-platform-valid" / "corim.cbor").read_bytes()
    assert write_keys(tmp_path, keys_of_corim(data)) == 1
    token = recognise((evidence / "cca" / "legacy-02-wrongkey-ccatoken" / "token.cbor").read_bytes())
    now = datetime(2026, 6, 1, tzinfo=UTC)
    verified = verify(token, Inspection(now=now, collateral=tmp_path))
    assert verified.identity == f"cca-instance:01{'02' * 32}"
    with pytest.raises(EndorsementMissing):
        verify(token, Inspection(now=now, collateral=tmp_path / "elsewhere"))
    with pytest.raises(ManifestMalformed):
        keys_of_corim(data[:-1])


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_any_bytes_give_keys_or_our_error(at: int, patch: bytes) -> None:
    good = corim(triple(FIRST))
    try:
        keys_of_corim(good[:at] + patch + good[at + len(patch) :])
    except TouchstoneError:
        pass
