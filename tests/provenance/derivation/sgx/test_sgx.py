"""Rule sgx-enclave: nothing that EINIT would refuse, nothing that its author did not sign."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation import derive
from provenance.derivation.sgx.enclave_elf import measure_enclave
from provenance.derivation.sgx.enclave_measurement import measure_sgxs
from provenance.derivation.sgx.sigstruct import parse_sigstruct
from provenance.errors import (
    ArtifactInvalid,
    LaunchShapeInvalid,
    NotDerivable,
    SigstructInvalid,
    SubjectMismatch,
)
from provenance.model import Artifact, DerivationRequest
from tests.provenance.derivation import enclaves, material

if TYPE_CHECKING:
    from pathlib import Path

HASH = bytes(range(32))


@pytest.fixture(scope="module")
def css() -> bytes:
    return enclaves.sigstruct(HASH)


@pytest.fixture(scope="module")
def enclave() -> bytes:
    return enclaves.signed_enclave()


def run(files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    admitted = material.admitted(*(material.subject(role, data) for role, data in files.items()))
    request = DerivationRequest(rule="sgx-enclave", group="release-7", **changes)
    values = derive(admitted, request, [Artifact(role, role, data) for role, data in files.items()])
    assert {(value.tee, value.group) for value in values} == {("sgx", "release-7")}
    return {value.name: value.value for value in values}


# -- SIGSTRUCT


@pytest.mark.parametrize(
    "offset",
    [0, 16, 20, 24, 40, 44, 127, 128, 511, 512, 515, 516, 899, 900, 911, 960, 992, 1026, 1039, 1807],
)
def test_a_changed_bit_anywhere_is_refused(css: bytes, offset: int) -> None:
    changed = bytearray(css)
    changed[offset] ^= 1
    with pytest.raises(SigstructInvalid):
        parse_sigstruct(bytes(changed))


@pytest.mark.parametrize("size", [0, 1, 1807, 1809])
def test_another_size_is_refused(css: bytes, size: int) -> None:
    with pytest.raises(SigstructInvalid):
        parse_sigstruct((css + b"\0")[:size])


@pytest.mark.parametrize("exponent", [0, 1, 2, 5, 65537])
def test_another_exponent_is_refused(exponent: int) -> None:
    with pytest.raises(SigstructInvalid, match="exponent"):
        parse_sigstruct(enclaves.sigstruct(HASH, exponent=exponent))


def test_a_vendor_that_einit_does_not_know_is_refused() -> None:
    with pytest.raises(SigstructInvalid, match="VENDOR"):
        parse_sigstruct(enclaves.sigstruct(HASH, vendor=0x1022))


def test_a_smaller_key_is_refused() -> None:
    small = rsa.generate_private_key(public_exponent=3, key_size=2048)
    with pytest.raises(SigstructInvalid, match="3072"):
        parse_sigstruct(_with_small_key(small))


def _with_small_key(key: rsa.RSAPrivateKey) -> bytes:
    built = bytearray(enclaves.sigstruct(HASH))
    built[128:512] = key.public_key().public_numbers().n.to_bytes(384, "little")
    built[516:900] = (1).to_bytes(384, "little")
    return bytes(built)


def test_a_signature_of_zero_or_one_is_refused(css: bytes) -> None:
    for value in (0, 1):
        changed = css[:516] + value.to_bytes(384, "little") + css[900:]
        with pytest.raises(SigstructInvalid):
            parse_sigstruct(changed)


@given(data=st.binary(max_size=1900))
@settings(max_examples=60, deadline=None)
def test_foreign_bytes_as_sigstruct_raise_typed_errors_alone(data: bytes) -> None:
    with pytest.raises(SigstructInvalid):
        parse_sigstruct(data)


def test_what_is_signed_is_read(css: bytes) -> None:
    signed = parse_sigstruct(css)
    modulus = enclaves.key().public_key().public_numbers().n.to_bytes(384, "little")
    assert signed.mr_enclave == HASH
    assert signed.mr_signer == hashlib.sha256(modulus).digest()
    assert (signed.isv_prod_id, signed.isv_svn, signed.date) == (7, 9, "20260601")
    assert signed.attributes == 4
    assert not signed.debug_excluded


def test_a_real_sigstruct(vectors: Path) -> None:
    data = (vectors / "evidence/measure/sgx-sigstruct-oasis/sigstruct.bin").read_bytes()
    assert run({"sigstruct": data}) == {
        "sgx_mr_enclave": "c50673624a6cb17c1c6c2a4e6906f47a170c4629b8723781d1017ef376f1a75d",
        "sgx_mr_signer": "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e",
        "sgx_isv_prod_id": 0,
        "sgx_isv_svn": 0,
        "sgx_isv_family_id": "00" * 16,
        "sgx_isv_ext_prod_id": "00" * 16,
    }


# -- SGXS: a page list


def _stream() -> enclaves.Stream:
    return enclaves.Stream().page(0, 0x100, bytes(4096)).page(0x1000, 0x205, b"\x90" * 4096)


def _block(tag: bytes, *numbers: int) -> bytes:
    return (tag.ljust(8, b"\0") + struct.pack(f"<{len(numbers)}Q", *numbers)).ljust(64, b"\0")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _stream().data[:-1],
        _stream().data + b"\0",
        _stream().data[64:],
        _stream().data + enclaves.Stream().data,
        _stream().data + _block(b"EADD", 0x1000, 0x205),
        _stream().data + _block(b"EADD", 0x2001, 0x205),
        _stream().data + _block(b"EADD", enclaves.SIZE, 0x205),
        _stream().data + _block(b"EADD", 0x2000, 0x202),
        _stream().data + _block(b"EADD", 0x2000, 0x101),
        _stream().data + _block(b"EADD", 0x2000, 0x305),
        _stream().data + _block(b"EADD", 0x2000, 0x10205),
        _stream().data + _block(b"EADD", 0x2000, 0x205, 1),
        _stream().data + _block(b"EEXTEND", 0x2000) + bytes(256),
        _stream().data + _block(b"EEXTEND", 0x1080) + bytes(256),
        enclaves.Stream(size=0x3000).data,
        enclaves.Stream(size=0x1000).data,
        enclaves.Stream(size=1 << 38).data,
        enclaves.Stream(frame=0).data,
    ],
)
def test_a_page_list_that_the_instructions_refuse_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        measure_sgxs(data)


def test_unmeasured_content_is_not_derivable() -> None:
    with pytest.raises(NotDerivable):
        measure_sgxs(_stream().data + _block(b"UNMEASRD", 0x1000) + bytes(256))


@given(data=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_foreign_bytes_as_page_list_raise_typed_errors_alone(data: bytes) -> None:
    for stream in (data, enclaves.Stream().data + data, _stream().data + _block(b"EADD") + data):
        try:
            measure_sgxs(stream)
        except TouchstoneError:
            pass


def test_the_measurement_is_the_hash_of_the_page_list() -> None:
    assert run({"sgxs": _stream().data}) == {"sgx_mr_enclave": _stream().hash().hex()}


def test_a_page_list_that_its_author_did_not_sign_is_refused(css: bytes) -> None:
    with pytest.raises(NotDerivable, match="ENCLAVEHASH"):
        run({"sgxs": _stream().data, "sigstruct": css})


def test_a_signed_page_list_gives_the_whole_group() -> None:
    values = run({"sgxs": _stream().data, "sigstruct": enclaves.sigstruct(_stream().hash())})
    assert values["sgx_mr_enclave"] == _stream().hash().hex()
    assert len(values) == 6


# -- ELF


@pytest.mark.parametrize("offset", [0x1000, 0x1008 + 24, 0x2000, 0x4000, 0x4100, 0x5000 + 25 + 1888 + 16])
def test_a_changed_byte_of_what_is_loaded_is_refused(enclave: bytes, offset: int) -> None:
    changed = bytearray(enclave)
    changed[offset] ^= 1
    with pytest.raises((NotDerivable, SigstructInvalid)):
        measure_enclave(bytes(changed))


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [(5, 0x1000, 0, 0x100, 0x80)],
        [(5, 0x1000, 0, 0x100, 0)],
        [(5, 0x1000, 0, 1 << 63, 1 << 63)],
        [(5, 1 << 63, 0, 0x100, 0x100)],
        [(5, 0x1000, 1 << 63, 0x100, 0x100)],
        [(5, 0x1000, 0, 0x100, 0x100), (6, 0x1000, 0x80, 0x100, 0x100)],
        [(5, 0x1000, 0x2000, 0x100, 0x100), (6, 0x1000, 0x0, 0x100, 0x100)],
        [(0, 0x1000, 0, 0x100, 0x100)],
        [(2, 0x1000, 0, 0x100, 0x100)],
        [(5, 0x1000, 0, 0x100, 1 << 60)],
        [(5, 0x1000, 0x80, 0, 0x100)],
        [(5, 0x1000, enclaves.SIZE, 0x100, 0x100)],
    ],
)
def test_absurd_segments_are_refused(css: bytes, segments: list[tuple[int, int, int, int, int]]) -> None:
    with pytest.raises((ArtifactInvalid, NotDerivable)):
        measure_enclave(enclaves.elf(enclaves.metadata(css), segments=segments))


@pytest.mark.parametrize(
    "layout",
    [
        enclaves.layout_entry(1, 3, 1, 0x0, 0, 0, 0x203),
        enclaves.layout_entry(1, 3, 1, 0x5001, 0, 0, 0x203),
        enclaves.layout_entry(1, 3, 1, 1 << 62, 0, 0, 0x203),
        enclaves.layout_entry(1, 1, 0xFFFFFFFF, 0x5000, 0, 0, 0x203),
        enclaves.layout_entry(1, 3, 1, 0x5000, 0x4000, 0x2000, 0x203),
        enclaves.layout_entry(1, 3, 1, 0x5000, 16, 8, 0x203),
        enclaves.layout_entry(4, 3, 1, 0x5000, 16, 1888, 0x100),
        enclaves.layout_entry(4, 3, 2, 0x5000, 72, 1888, 0x100),
        enclaves.layout_entry(1, 3, 0, 0x5000, 72, 1888, 0x203),
        enclaves.layout_entry(1, 0x103, 1, 0x5000, 0, 0, 0x203),
        struct.pack("<HHIQ16x", 1 << 12, 1, 1, 0x1000),
        struct.pack("<HHIQ16x", 1 << 12, 0, 1, 0x1000),
        enclaves.layout_entry(1, 1, 1, 0x5000, 0, 0, 0x203)
        + struct.pack("<HHIQ16x", 1 << 12, 1, 0xFFFFFFFF, 0x1000),
        enclaves.layout_entry(1, 1, 1, 0x5000, 0, 0, 0x203)
        + struct.pack("<HHIQ16x", 1 << 12, 1, 1, 0x1000) * 2
        + struct.pack("<HHIQ16x", 1 << 12, 2, 1, 0x1000),
        bytes(31),
    ],
)
def test_an_absurd_layout_is_refused(css: bytes, layout: bytes) -> None:
    with pytest.raises((ArtifactInvalid, NotDerivable)):
        measure_enclave(enclaves.elf(enclaves.metadata(css, layout=layout)))


def test_an_enclave_without_the_sdks_note_is_not_derivable(css: bytes) -> None:
    with pytest.raises(NotDerivable, match="sgxmeta"):
        measure_enclave(enclaves.elf(enclaves.metadata(css), notes=0))


def test_two_notes_are_refused(css: bytes) -> None:
    with pytest.raises(ArtifactInvalid, match="two"):
        measure_enclave(enclaves.elf(enclaves.metadata(css), notes=2))


def test_a_note_of_another_name_is_refused(css: bytes) -> None:
    with pytest.raises(ArtifactInvalid, match="sgx_metadata"):
        measure_enclave(enclaves.elf(enclaves.metadata(css), note_name=b"sgx_metadatA\0"))


@pytest.mark.parametrize("block", [b"", b"\0" * 4000, b"\x4c\x0e\x5d\x63\x94\x02\xa8\x86" + b"\xff" * 3000])
def test_a_note_without_metadata_is_refused(block: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        measure_enclave(enclaves.elf(block))


def test_a_separate_enclave_range_is_not_derivable(css: bytes) -> None:
    with pytest.raises(NotDerivable, match="12"):
        measure_enclave(enclaves.elf(enclaves.metadata(css, version=(12, 3))))


def test_blocks_that_state_different_things_are_refused() -> None:
    digest = enclaves.expected_stream().hash()
    both = b"".join(enclaves.metadata(enclaves.sigstruct(digest, svn=svn)) for svn in (1, 2))
    with pytest.raises(NotDerivable, match="two"):
        measure_enclave(enclaves.elf(both))


@pytest.mark.parametrize("size", [0, 20, 63, 200, 0x5000, 0x6000])
def test_an_enclave_cut_short_is_refused(enclave: bytes, size: int) -> None:
    with pytest.raises(ArtifactInvalid):
        measure_enclave(enclave[:size])


@given(place=st.integers(0, 0x5800), data=st.binary(min_size=1, max_size=16))
@settings(max_examples=100, deadline=None)
def test_foreign_bytes_in_an_enclave_raise_typed_errors_alone(place: int, data: bytes) -> None:
    good = enclaves.elf(enclaves.metadata(enclaves.sigstruct(HASH) if place % 16 == 0 else bytes(1808)))
    try:
        measure_enclave(good[:place] + data + good[place + len(data) :])
    except TouchstoneError:
        pass


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_signed_enclave_gives_one_group_of_values(blocks: int) -> None:
    css = enclaves.sigstruct(enclaves.expected_stream().hash())
    values = run({"enclave": enclaves.elf(enclaves.metadata(css) * blocks)})
    assert values["sgx_mr_enclave"] == enclaves.expected_stream().hash().hex()
    assert (values["sgx_isv_prod_id"], values["sgx_isv_svn"]) == (7, 9)


def test_a_page_with_text_relocations_is_added_writable() -> None:
    enclave = enclaves.signed_enclave(text_relocation=True)
    assert measure_enclave(enclave).mr_enclave == enclaves.expected_stream(text_writable=True).hash()


def test_the_version_is_a_minimum_and_the_rest_is_not(css: bytes) -> None:
    admitted = material.admitted(material.subject("sigstruct", css))
    request = DerivationRequest(rule="sgx-enclave")
    values = derive(admitted, request, [Artifact("sigstruct", "enclave.sig", css)])
    assert [value.name for value in values if value.scalar] == ["sgx_isv_svn"]
    assert values[0].inputs["signed"]["debugExcluded"] is False


def test_what_kss_adds_is_derived_too() -> None:
    css = enclaves.sigstruct(HASH, family_id=bytes(range(16)), ext_prod_id=b"\x5a" * 16, attributes=0x84)
    values = run({"sigstruct": css})
    assert values["sgx_isv_family_id"] == bytes(range(16)).hex()
    assert values["sgx_isv_ext_prod_id"] == "5a" * 16


# -- the rule


@pytest.mark.parametrize("role", ["gramine-manifest", "libpal", "firmware"])
def test_what_does_not_determine_an_enclave_is_refused(role: str, css: bytes) -> None:
    with pytest.raises(NotDerivable, match=role):
        run({role: b"x"})
    with pytest.raises(NotDerivable):
        run({role: b"x", "sigstruct": css})


def test_a_launch_shape_is_refused(css: bytes) -> None:
    with pytest.raises(LaunchShapeInvalid):
        run({"sigstruct": css}, launch={"heap": 1})


def test_a_digest_without_the_file_does_not_suffice(css: bytes) -> None:
    admitted = material.admitted(material.subject("enclave.sig", css))
    request = DerivationRequest(rule="sgx-enclave", subjects={"sigstruct": "enclave.sig"})
    with pytest.raises(NotDerivable, match="bytes"):
        derive(admitted, request, [])


def test_an_enclave_that_is_not_a_subject_is_refused(css: bytes) -> None:
    admitted = material.admitted(material.subject("enclave.sig", b"another"))
    with pytest.raises(SubjectMismatch):
        derive(admitted, DerivationRequest(rule="sgx-enclave"), [Artifact("sigstruct", "x", css)])
