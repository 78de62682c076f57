"""Session, measurement and secrets: published test values, and a platform that speaks the other side."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InvalidSetting, Malformed
from testkit.sev_platform import POLICY, SevPlatform
from tests.verifier.sev.conftest import DIGEST
from verifier.errors import SignatureInvalid, UnsupportedEvidence
from verifier.sev.certificate import parse_sev_certificate
from verifier.sev.launch import Firmware, VerifiedLaunch, measure, secret_table, verify_launch, wrap_secret
from verifier.sev.session import SessionKeys, derive, mac, owner_certificate, start_session, wrap_keys

PRIVATE = ec.generate_private_key(ec.SECP384R1())
KEYS = SessionKeys(
    tek=bytes([1]) * 16, tik=bytes([2]) * 16, nonce=bytes([3]) * 16, iv=bytes([4]) * 16, private_key=PRIVATE
)
ZERO = msgspec.structs.replace(KEYS, tek=bytes(16), tik=bytes(16), nonce=bytes(16), iv=bytes(16))
FIRMWARE = Firmware(0, 22, 7)
SECRET = secret_table({uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b"): b"a disk's passphrase"})
IV = bytes([5]) * 16


class TestPublished:
    """Test values of the Rust crate ``sev`` (``src/session``)."""

    def test_derivation(self) -> None:
        expected = "ab4d269fcc62bedb4511d56c386ce706"
        assert derive(bytes(16), b"sev-master-secret", bytes(16), 16).hex() == expected

    def test_mac(self) -> None:
        expected = "aa7855e13839dd767cd5da7c1ff5036540c9264b7a803029315e55375287b4af"
        assert mac(bytes(16), bytes(4)).hex() == expected

    def test_session(self) -> None:
        session = wrap_keys(bytes(16), 0, ZERO)
        assert session.wrapped.hex() == "2137bc7f9bb8bd7c3e55a576a15d3454b3856b8ba27afadf46dcfee9f02c02c4"
        assert session.wrapped_mac.hex() == (
            "3176c0752738bd9d5e86689534020f528c088f16238826b000b327dee6aeed7d"
        )
        assert session.policy_mac.hex() == (
            "aa7855e13839dd767cd5da7c1ff5036540c9264b7a803029315e55375287b4af"
        )
        assert len(session.raw) == 128

    def test_measurement_of_real_firmware(self) -> None:
        digest = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        nonce = bytes.fromhex("4fbe0bedbad6c86ae8f68971d103e554")
        tik = bytes.fromhex("66320db73158a35a255d051758e95ed4")
        expected = "6faab2daae389bcd3405a05d6cafe33c0414f7bedd0bae19ba5f38b7fd1664ea"
        assert measure(tik, Firmware(0, 0x12, 0x0F), 0, digest, nonce).hex() == expected


def test_keys_longer_than_a_digest_are_derived_in_blocks() -> None:
    long = derive(b"key", b"label", b"", 80)
    assert len(long) == 80
    assert len({long[:32], long[32:64], long[64:]}) == 3


def launched(platform: SevPlatform, policy: int = POLICY) -> tuple[Any, bytes]:
    pdh = parse_sev_certificate(platform.pdh).key
    session = start_session(pdh, policy, KEYS)
    launch = platform.launch(session.raw, owner_certificate(PRIVATE), policy)
    return launch, launch.measured(DIGEST)


def verified(measurement: bytes, **changes: Any) -> VerifiedLaunch:
    arguments = {"firmware": FIRMWARE, "policy": POLICY, "launch_digest": DIGEST} | changes
    return verify_launch(measurement, arguments.pop("keys", KEYS), **arguments)


def test_a_secret_reaches_the_launch_that_was_measured(platform: SevPlatform) -> None:
    launch, measurement = launched(platform)
    packet = wrap_secret(verified(measurement), SECRET, IV)
    assert launch.opened(packet.header, packet.data) == SECRET
    assert SECRET not in packet.data


def test_a_secret_opens_in_no_other_launch(platform: SevPlatform) -> None:
    _, measurement = launched(platform)
    packet = wrap_secret(verified(measurement), SECRET, IV)
    again, _ = launched(platform)
    again.measured(DIGEST, bytes([8]) * 16)
    with pytest.raises(ValueError, match="not for this launch"):
        again.opened(packet.header, packet.data)


@pytest.mark.parametrize(
    "changes",
    [
        {"launch_digest": bytes(32)},
        {"policy": 0},
        {"firmware": Firmware(0, 22, 8)},
        {"firmware": Firmware(1, 22, 7)},
        {"keys": msgspec.structs.replace(KEYS, tik=bytes(16))},
    ],
)
def test_a_measurement_is_of_all_that_it_covers(platform: SevPlatform, changes: dict[str, Any]) -> None:
    _, measurement = launched(platform)
    with pytest.raises(SignatureInvalid):
        verified(measurement, **changes)


def test_every_byte_of_a_measurement_counts(platform: SevPlatform) -> None:
    _, measurement = launched(platform)
    for position in range(len(measurement)):
        altered = bytearray(measurement)
        altered[position] ^= 1
        with pytest.raises(SignatureInvalid):
            verified(bytes(altered))
    for wrong in (measurement[:-1], measurement + b"\0", b""):
        with pytest.raises(Malformed):
            verified(wrong)


def test_old_firmware_is_refused() -> None:
    with pytest.raises(UnsupportedEvidence):
        verified(bytes(48), firmware=Firmware(0, 16, 0))


def test_a_session_is_for_one_platform_and_policy(platform: SevPlatform) -> None:
    other = SevPlatform(platform.authority)
    session = start_session(parse_sev_certificate(other.pdh).key, POLICY, KEYS)
    with pytest.raises(ValueError, match="not for this platform"):
        platform.launch(session.raw, owner_certificate(PRIVATE), POLICY)
    session = start_session(parse_sev_certificate(platform.pdh).key, POLICY, KEYS)
    with pytest.raises(ValueError, match="another policy"):
        platform.launch(session.raw, owner_certificate(PRIVATE), 0)


def test_sizes(platform: SevPlatform) -> None:
    pdh = parse_sev_certificate(platform.pdh).key
    small = msgspec.structs.replace(KEYS, private_key=ec.generate_private_key(ec.SECP256R1()))
    for keys, policy in ((small, POLICY), (KEYS, 1 << 32), (KEYS, -1)):
        with pytest.raises(InvalidSetting):
            start_session(pdh, policy, keys)
    with pytest.raises(InvalidSetting):
        SessionKeys(b"", b"", b"", b"", PRIVATE)
    with pytest.raises(InvalidSetting):
        Firmware(0, 256, 0)
    _, measurement = launched(platform)
    launch = verified(measurement)
    for secret, iv in ((b"", IV), (b"odd", IV), (bytes((16 << 10) + 16), IV), (SECRET, b"")):
        with pytest.raises(InvalidSetting):
            wrap_secret(launch, secret, iv)


def test_the_table_of_secrets_is_ovmfs() -> None:
    name = uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b")
    assert SECRET[:16] == uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b").bytes_le
    size = int.from_bytes(SECRET[16:20], "little")
    assert size == 20 + 20 + 19
    assert SECRET[20:36] == name.bytes_le
    assert SECRET[40:59] == b"a disk's passphrase"
    assert len(SECRET) % 16 == 0
    for secrets in ({}, {name: bytes(16 << 10)}):
        with pytest.raises(InvalidSetting):
            secret_table(secrets)


def test_the_owners_certificate_is_read_by_the_same_parser() -> None:
    parsed = parse_sev_certificate(owner_certificate(PRIVATE))
    assert parsed.key.public_numbers() == PRIVATE.public_key().public_numbers()
