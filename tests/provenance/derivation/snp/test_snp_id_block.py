"""Rule snp-id-block: no key that has not signed, no block that is not this launch's."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from sevsnpmeasure.id_block import snp_calc_id_block

from common.errors import TouchstoneError
from provenance.derivation import derive
from provenance.derivation.snp import id_block
from provenance.derivation.snp.id_block import ID_AUTH_BYTES, IdBlock
from provenance.errors import (
    ArtifactInvalid,
    IdBlockInvalid,
    LaunchShapeInvalid,
    NotDerivable,
    SubjectMismatch,
)
from provenance.model import Artifact, DerivationRequest
from tests.provenance.derivation import material

ID_KEY = ec.derive_private_key(0x1D, ec.SECP384R1())
AUTHOR_KEY = ec.derive_private_key(0xA0, ec.SECP384R1())
DIGEST = bytes(range(48))
POLICY = 0x30000
LAUNCH: dict[str, Any] = {"family_id": "11" * 16, "image_id": "22" * 16, "guest_svn": 3, "policy": POLICY}
BLOCK = IdBlock(DIGEST, b"\x11" * 16, b"\x22" * 16, 3, POLICY)
AUTH = id_block.sign(BLOCK, ID_KEY, AUTHOR_KEY)


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def artifact(role: str, data: bytes) -> Artifact:
    return Artifact(role, role, data)


def run(files: dict[str, bytes], **launch: Any) -> dict[str, Any]:
    admitted = material.admitted(*(material.subject(role, data) for role, data in files.items()))
    request = DerivationRequest(rule="snp-id-block", launch=LAUNCH | launch, group="release-7")
    values = derive(admitted, request, [artifact(role, data) for role, data in files.items()])
    assert {value.group for value in values} == {"release-7"}
    assert {value.tee for value in values} == {"snp"}
    return {value.name: value.value for value in values}


ATTESTED = {"launch-digest": DIGEST.hex().encode(), "id-auth": AUTH}


# -- what is refused


@pytest.mark.parametrize(
    "offset", [0, 4, 8, 0x40, 0x40 + 72, 0x100, 0x240, 0x244, 0x300, 0x650, 0x680, 0x700, 0x884, 0xFFF]
)
def test_a_changed_bit_of_the_authentication_is_refused(offset: int) -> None:
    changed = bytearray(AUTH)
    changed[offset] ^= 1
    with pytest.raises(IdBlockInvalid):
        id_block.verify(BLOCK, bytes(changed))


@pytest.mark.parametrize(
    "member", [{"guest_svn": 4}, {"policy": POLICY | 1 << 19}, {"family_id": "12" * 16}]
)
def test_a_signature_over_another_block_is_refused(member: dict[str, Any]) -> None:
    with pytest.raises(IdBlockInvalid, match="ID block"):
        run(ATTESTED, **member)


def test_the_author_keys_signature_over_another_id_key_is_refused() -> None:
    other = id_block.sign(BLOCK, ec.derive_private_key(2, ec.SECP384R1()), AUTHOR_KEY)
    with pytest.raises(IdBlockInvalid, match="author"):
        id_block.verify(BLOCK, AUTH[:0x680] + other[0x680:])


def test_an_author_key_that_the_algorithm_denies_is_refused() -> None:
    with pytest.raises(IdBlockInvalid, match="author"):
        id_block.verify(BLOCK, AUTH[:4] + bytes(4) + AUTH[8:])


def test_a_point_off_the_curve_is_refused() -> None:
    with pytest.raises(IdBlockInvalid, match="point"):
        id_block.verify(BLOCK, AUTH[:0x244] + bytes(144) + AUTH[0x244 + 144 :])


@pytest.mark.parametrize("size", [0, ID_AUTH_BYTES - 1, ID_AUTH_BYTES + 1])
def test_an_authentication_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(IdBlockInvalid):
        id_block.verify(BLOCK, (AUTH + b"\0")[:size])


@pytest.mark.parametrize(
    "block", [b"", BLOCK.encode()[:-1], BLOCK.encode() + b"\0", bytes(80) + b"\x02" + bytes(15)]
)
def test_an_id_block_of_another_size_or_version_is_refused(block: bytes) -> None:
    with pytest.raises(IdBlockInvalid):
        id_block.parse_id_block(block)


def test_an_id_block_that_is_not_of_this_launch_is_refused() -> None:
    other = IdBlock(bytes(48), b"\x11" * 16, b"\x22" * 16, 3, POLICY)
    with pytest.raises(NotDerivable, match="at hand"):
        run(ATTESTED | {"id-block": other.encode()})


def test_a_p256_key_is_refused() -> None:
    key = ec.derive_private_key(3, ec.SECP256R1())
    with pytest.raises(IdBlockInvalid, match="curve"):
        run({"launch-digest": DIGEST.hex().encode(), "id-key": pem(key)})
    with pytest.raises(IdBlockInvalid, match="curve"):
        id_block.sign(BLOCK, key)


@pytest.mark.parametrize("key", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    with pytest.raises((ArtifactInvalid, SubjectMismatch)):
        run({"launch-digest": DIGEST.hex().encode(), "id-key": key})


@pytest.mark.parametrize(
    "files",
    [
        {"launch-digest": DIGEST.hex().encode()},
        ATTESTED | {"id-key": pem(ID_KEY)},
        ATTESTED | {"author-key": pem(AUTHOR_KEY)},
        {"id-auth": AUTH},
        ATTESTED | {"firmware": b"unmeasured"},
    ],
)
def test_what_does_not_determine_the_block_or_its_key_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(NotDerivable):
        run(files)


@pytest.mark.parametrize("text", [b"", DIGEST, DIGEST.hex().upper().encode(), DIGEST.hex().encode() + b" "])
def test_a_launch_digest_that_is_not_hex_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        run(ATTESTED | {"launch-digest": text})


@pytest.mark.parametrize(
    "launch",
    [
        {"family_id": "11" * 15},
        {"image_id": "GG" * 16},
        {"guest_svn": -1},
        {"guest_svn": 1 << 32},
        {"policy": 0x10000},
        {"policy": 1 << 26 | POLICY},
        {"policy": "0x30000"},
        {"surplus": 1},
    ],
)
def test_a_malformed_launch_shape_is_refused(launch: dict[str, Any]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        run(ATTESTED, **launch)


def test_an_artefact_that_is_not_a_subject_is_refused() -> None:
    admitted = material.admitted(material.subject("launch-digest", DIGEST.hex().encode()))
    request = DerivationRequest(rule="snp-id-block", launch=LAUNCH)
    with pytest.raises(SubjectMismatch):
        derive(admitted, request, [artifact(role, data) for role, data in ATTESTED.items()])


def test_an_id_block_for_several_launches_is_refused() -> None:
    admitted, artifacts = material.build()
    launch = LAUNCH | {"snp": material.LAUNCH | {"vcpus": [1, 2]}}
    key = artifact("id-key", pem(ID_KEY))
    subjects = (*admitted.authentic.statement.subjects, material.subject("id-key", key.data))
    with pytest.raises(LaunchShapeInvalid, match="one vCPU"):
        derive(
            material.admitted(*subjects),
            DerivationRequest(rule="snp-id-block", launch=launch),
            [*artifacts, key],
        )


@given(data=st.binary(max_size=ID_AUTH_BYTES + 1), place=st.integers(0, ID_AUTH_BYTES - 1))
@settings(max_examples=60, deadline=None)
def test_foreign_bytes_raise_typed_errors_alone(data: bytes, place: int) -> None:
    for auth in (data, (AUTH[:place] + data + AUTH)[:ID_AUTH_BYTES]):
        try:
            id_block.verify(BLOCK, auth)
            assert auth == AUTH
        except TouchstoneError:
            pass


# -- what is derived


def test_all_that_the_block_states_is_one_group_of_values() -> None:
    assert run(ATTESTED | {"id-block": BLOCK.encode()}) == {
        "snp_launch_measurement": DIGEST.hex(),
        "snp_family_id": "11" * 16,
        "snp_image_id": "22" * 16,
        "snp_guest_svn": 3,
        "snp_policy": POLICY,
        "snp_id_key_digest": hashlib.sha384(AUTH[0x240:0x644]).hexdigest(),
        "snp_author_key_digest": hashlib.sha384(AUTH[0x880:0xC84]).hexdigest(),
    }


def test_an_attested_key_gives_the_same_digests_as_its_signature() -> None:
    keys = {"id-key": pem(ID_KEY), "author-key": pem(AUTHOR_KEY)}
    assert run({"launch-digest": DIGEST.hex().encode()} | keys) == run(ATTESTED)


def test_without_an_author_key_there_is_no_digest_of_one() -> None:
    values = run(ATTESTED | {"id-auth": id_block.sign(BLOCK, ID_KEY)})
    assert "snp_author_key_digest" not in values


def test_the_launch_digest_is_derived_from_the_build() -> None:
    admitted, artifacts = material.build()
    key = artifact("id-key", pem(ID_KEY))
    subjects = (*admitted.authentic.statement.subjects, material.subject("id-key", key.data))
    (measured,) = derive(admitted, material.request(), artifacts)
    request = DerivationRequest(rule="snp-id-block", launch=LAUNCH | {"snp": material.LAUNCH})
    values = derive(material.admitted(*subjects), request, [*artifacts, key])
    assert values[0].value == measured.value
    assert values[0].inputs["measurement"] == measured.inputs


def test_sev_snp_measure_makes_the_same_block_and_key_digests(tmp_path: Any) -> None:
    for name, key in (("id", ID_KEY), ("author", AUTHOR_KEY)):
        (tmp_path / name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    text = snp_calc_id_block(DIGEST, str(tmp_path / "id"), str(tmp_path / "author"))
    first, id_hash, author_hash = text.replace("author_key: ", "").replace("id_key_hash: ", "").split("\n")
    block, auth = (base64.b64decode(part.split("=", 1)[1]) for part in first.split(","))
    ours = IdBlock(DIGEST, bytes(16), bytes(16), 0, 0x30000)
    assert ours.encode() == block
    keys = id_block.verify(id_block.parse_id_block(block), auth)
    assert (keys.id_key, keys.author_key) == (base64.b64decode(id_hash), base64.b64decode(author_hash))
