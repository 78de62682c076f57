"""Opaque data in both forms, and the firmware identity of leaves."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TouchstoneError
from testkit.nvidia_device import TestDevice, encode_opaque
from verifier.errors import UnsupportedEvidence
from verifier.nvidia import dice
from verifier.nvidia.opaque import Field, Opaque, parse_opaque

PDI = bytes.fromhex("40b9c6b3d748fd90")


def test_both_forms_say_the_same(gpu: TestDevice) -> None:
    plain = parse_opaque(encode_opaque(gpu.fields))
    assert plain == parse_opaque(encode_opaque(gpu.fields, typed=True))
    assert plain.text(Field.DRIVER_VERSION) == "550.90.07"
    assert plain.gpu_vbios_version() == "96.00.9F.00.01"
    assert plain.mode() == "spt"


def test_it_is_refused_when_cut_off_within_a_field(gpu: TestDevice) -> None:
    for typed in (False, True):
        data = encode_opaque(gpu.fields, typed=typed)
        whole = [length for length in range(len(data)) if _parses(data[:length])]
        assert len(whole) <= len(gpu.fields) + 1


def _parses(data: bytes) -> bool:
    try:
        parse_opaque(data)
    except Malformed:
        return False
    return True


def test_a_type_twice_is_refused() -> None:
    with pytest.raises(Malformed, match="twice"):
        parse_opaque(encode_opaque({3: b"1.0\0"}) * 2)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UnsupportedEvidence):
        parse_opaque(b"NVDAOD\1\0\2\0\0\0")


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, None),
        ({Field.FEATURE_FLAG: b"\1\0"}, "mpt"),
        ({Field.FEATURE_FLAG: b"\2"}, "ppcie"),
        ({Field.FEATURE_FLAG: b"\0\0", Field.PROTECTED_PCIE_STATUS: b"\xaa"}, "ppcie"),
    ],
)
def test_the_mode_is_the_flags_or_that_of_protected_pcie(
    fields: dict[int, bytes], mode: str | None
) -> None:
    assert Opaque(fields).mode() == mode


def test_an_unknown_mode_is_not_guessed() -> None:
    with pytest.raises(UnsupportedEvidence):
        Opaque({Field.FEATURE_FLAG: b"\7\0"}).mode()


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        (Field.VBIOS_VERSION, b"\1\2\3", Opaque.gpu_vbios_version),
        (Field.FWID, bytes(32), Opaque.fwid),
        (Field.MSCNT, bytes(5), Opaque.counts),
        (Field.SWITCH_PDI, bytes(9), Opaque.linked_switches),
        (Field.SWITCH_PDI, bytes(7), Opaque.own_pdi),
        (Field.SWITCH_GPU_PDIS, bytes(63), Opaque.linked_gpus),
        (Field.FEATURE_FLAG, b"", Opaque.mode),
        (Field.FEATURE_FLAG, bytes(9), Opaque.mode),
        (Field.DRIVER_VERSION, b"\xff\xff", lambda opaque: opaque.text(Field.DRIVER_VERSION)),
        (Field.DRIVER_VERSION, b"a\nb", lambda opaque: opaque.text(Field.DRIVER_VERSION)),
        (Field.DRIVER_VERSION, b"a" * 65, lambda opaque: opaque.text(Field.DRIVER_VERSION)),
    ],
)
def test_a_field_of_another_form_is_refused(field: int, value: bytes, read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Malformed):
        read(Opaque({field: value}))


def test_identifiers_of_linked_devices_are_turned_round_and_links_that_are_off_left_out() -> None:
    opaque = Opaque({Field.SWITCH_PDI: PDI + bytes(8), Field.SWITCH_GPU_PDIS: PDI * 8 + b"\xff" * 64})
    assert opaque.linked_switches() == {PDI[::-1].hex()} == opaque.linked_gpus()
    assert Opaque({Field.SWITCH_PDI: PDI}).own_pdi() == PDI.hex()
    assert Opaque({}).linked_gpus() == Opaque({}).linked_switches() == frozenset()


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_give_opaque_data_or_an_error_of_ours(data: bytes, typed: bool) -> None:
    try:
        opaque = parse_opaque((b"NVDAOD\0\0" if typed else b"") + data)
        for read in (Opaque.fwid, Opaque.gpu_vbios_version, Opaque.counts, Opaque.mode, Opaque.own_pdi):
            read(opaque)
    except TouchstoneError:
        return


# --- firmware identity ------------------------------------------------------------------------------


def _extension(device: TestDevice) -> tuple[str, bytes]:
    value = device.extensions()[1][0]
    return value.oid.dotted_string, value.value  # type: ignore[attr-defined]


@pytest.mark.parametrize("chip", ["GH100", "GB100", "LS_10"])
def test_the_firmware_identity_of_every_architecture_is_read(authority, chip: str) -> None:  # type: ignore[no-untyped-def]
    device = TestDevice(authority, chip)
    oid, value = _extension(device)
    assert dice.fwids(oid, value) == (device.fwid,)
    for length in range(len(value)):
        with pytest.raises(Malformed):
            dice.fwids(oid, value[:length])
    with pytest.raises(Malformed):
        dice.fwids(oid, value + b"\0")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("3000", id="empty"),
        pytest.param("308000000000", id="indefinite length"),
        pytest.param("3081050201010201", id="length that is not minimal"),
        pytest.param("30820005" + "0201010500", id="length with a leading zero"),
        pytest.param("3083000001" + "00", id="length of three bytes"),
        pytest.param("30030201013003020101", id="two values"),
        pytest.param("30" + "60" + "0500" * 48, id="too many elements"),
    ],
)
@pytest.mark.parametrize("oid", [dice.COMPOSITE_OID, dice.TCB_INFO_OID])
def test_other_extensions_are_refused(oid: str, value: str) -> None:
    with pytest.raises(Malformed):
        dice.fwids(oid, bytes.fromhex(value))


@settings(max_examples=300)
@given(st.binary(max_size=120), st.sampled_from([dice.COMPOSITE_OID, dice.TCB_INFO_OID]))
def test_any_extension_gives_identities_or_an_error_of_ours(data: bytes, oid: str) -> None:
    try:
        dice.fwids(oid, b"\x30" + bytes([len(data)]) + data)
    except Malformed:
        return


def test_a_digest_of_another_algorithm_is_refused() -> None:
    sha256 = bytes.fromhex("0609608648016503040201") + b"\x04\x20" + hashlib.sha256(b"x").digest()
    item = b"\x30" + bytes([len(sha256)]) + sha256
    info = b"\xa6" + bytes([len(item)]) + item
    with pytest.raises(Malformed):
        dice.fwids(dice.TCB_INFO_OID, b"\x30" + bytes([len(info)]) + info)
