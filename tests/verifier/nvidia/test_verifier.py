"""One device: what passes, and every single thing wrong."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.nvidia_authority import START, Issuer, NvidiaAuthority, name, usage
from testkit.nvidia_device import SIGNATURE_BYTES, TestDevice, encode_opaque
from tests.verifier.nvidia.conftest import BOUND, NONCE, NOW, PARTIAL, failed, verifier_of, verify
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    PolicyViolation,
    ReportDataMismatch,
    RootUntrusted,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import InitDataClaim, ReportDataBinding, RuntimeDataBinding, SessionBinding, Unbound
from verifier.nvidia import NvidiaSettings, NvidiaVerifier
from verifier.nvidia.chain import Architecture
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence
from verifier.nvidia.opaque import Field
from verifier.nvidia.spdm import parse_exchange
from wire.evidence import SampleEvidence

JWK = {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"}


@pytest.mark.parametrize(
    ("chip", "arch", "kind"),
    [("GH100", "HOPPER", "gpu"), ("GB100", "BLACKWELL", "gpu"), ("LS_10", "LS10", "switch")],
)
def test_a_genuine_device_with_everything_at_hand(
    authority: NvidiaAuthority, chip: str, arch: str, kind: str
) -> None:
    device = TestDevice(authority, chip)
    verified = verify(device, device.document(device.exchange(NONCE), arch=arch))
    claims = verified.claims["nvidia"]
    assert failed(verified) == []
    assert verified.floors == {}
    assert verified.bound == "report-data"
    assert verified.identity == f"nvidia-{kind}:{device.serial:x}"
    assert (claims["arch"], claims["device_class"]) == (arch, kind)
    assert (claims["measres"], claims["secboot"], claims["dbgstat"]) == ("success", True, "disabled")
    assert claims["revocation"] == "good"
    assert claims["fwid"] == device.fwid.hex()
    assert claims["oemid"] == "5703"
    assert verified.claims["report_data"] == NONCE.hex()
    assert verified.claims["common"] == {
        "product": chip.replace("_", ""),
        "registers": {str(index): value.hex() for index, value in device.measurements.items()},
        "debug": False,
    }
    assert verified.not_after == START + timedelta(days=1)  # that of the OCSP responses
    assert len(verified.endorsements) > len(device.chain)


def test_what_the_sender_states_is_never_a_claim(gpu: TestDevice) -> None:
    stated = "GPU-11111111-2222-3333-4444-555555555555"
    verified = verify(gpu, gpu.document(gpu.exchange(NONCE), arch="hopper", uuid=stated))
    assert stated not in msgspec.json.encode(verified.claims).decode()
    assert "uuid" not in verified.claims["nvidia"]


@pytest.mark.parametrize("arch", ["BLACKWELL", "LS10", "", "HOPPER "])
def test_an_architecture_that_the_certificates_do_not_prove_is_refused(gpu: TestDevice, arch: str) -> None:
    with pytest.raises(PolicyViolation):
        verify(gpu, gpu.document(gpu.exchange(NONCE), arch=arch))


def test_without_manifests_nothing_is_said_of_debug_and_boot(gpu: TestDevice) -> None:
    claims = verify(gpu, collateral=FixedCollateral(ocsp=gpu.status())).claims
    assert not {"measres", "secboot", "dbgstat"} & claims["nvidia"].keys()
    assert "debug" not in claims["common"]


# --- binding ----------------------------------------------------------------------------------------


def test_another_nonce_is_refused(gpu: TestDevice) -> None:
    for wrong in (bytes(32), NONCE[:31] + b"\0", NONCE[::-1]):
        with pytest.raises(ReportDataMismatch):
            verify(gpu, expected=ReportDataBinding(wrong))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_an_expectation_of_another_length_is_refused(gpu: TestDevice, size: int) -> None:
    with pytest.raises(Malformed):
        verify(gpu, expected=ReportDataBinding(NONCE.ljust(size, b"\0")[:size]))


def test_the_nonce_of_the_responder_does_not_count(gpu: TestDevice) -> None:
    """The device's own nonce stands in the response: it is not what was asked."""
    own = parse_exchange(gpu.exchange(NONCE)).responder_nonce
    with pytest.raises(ReportDataMismatch):
        verify(gpu, expected=ReportDataBinding(own))


def test_a_session_is_bound_by_its_digest(gpu: TestDevice) -> None:
    session = SessionBinding(nonce=bytes(32), tee_pubkey=JWK, audience="me")
    with pytest.raises(ReportDataMismatch):
        verify(gpu, expected=session)
    digest = bytes(range(48))
    for data in (digest, digest[:32]):
        coco = RuntimeDataBinding(data=data, nonce="n", tee_pubkey=JWK)
        verified = verify(gpu, gpu.document(gpu.exchange(digest[:32])), expected=coco)
        assert (verified.bound, verified.tee_pubkey) == ("session", JWK)


def test_without_an_expectation_nobody_is_recognised(gpu: TestDevice) -> None:
    verified = verify(gpu, expected=Unbound())
    assert verified.bound == "unbound"
    assert verified.floors["instance-identity"] == 97
    assert "x-nvidia-gpu-attestation-report-nonce-match" not in verified.claims["nvidia"]


def test_init_data_is_never_bound_and_never_a_claim(gpu: TestDevice) -> None:
    verifier = verifier_of(gpu.authority, gpu.collateral())
    claim = InitDataClaim(digest=bytes([1] * 32), data=b"init", fitted=True)
    verified = verifier.verify(gpu.evidence(NONCE), BOUND, claim, NOW)
    assert verified.init_data == "unsupported"
    assert "init_data" not in verified.claims


# --- signature --------------------------------------------------------------------------------------


def test_every_signed_bit_counts(gpu: TestDevice) -> None:
    exchange = gpu.exchange(NONCE)
    collateral = gpu.collateral()
    for offset in range(0, len(exchange) - SIGNATURE_BYTES, 5):
        changed = bytearray(exchange)
        changed[offset] ^= 1
        with pytest.raises(TouchstoneError):
            verify(gpu, gpu.document(bytes(changed)), collateral=collateral)


def test_a_bit_that_leaves_the_form_whole_is_called_a_signature_that_does_not_hold(gpu: TestDevice) -> None:
    exchange = gpu.exchange(NONCE)
    for offset in (4, 36, 52, len(exchange) - SIGNATURE_BYTES - 1, len(exchange) - 1, len(exchange) - 60):
        changed = bytearray(exchange)
        changed[offset] ^= 1
        with pytest.raises(SignatureInvalid):
            verify(gpu, gpu.document(bytes(changed)))


@pytest.mark.parametrize("signature", [bytes(96), b"\xff" * 96, b"\0" * 47 + b"\1" + b"\0" * 48])
def test_a_signature_out_of_range_is_refused(gpu: TestDevice, signature: bytes) -> None:
    exchange = gpu.exchange(NONCE)[:-SIGNATURE_BYTES] + signature
    with pytest.raises(SignatureInvalid):
        verify(gpu, gpu.document(exchange))


def test_a_signature_by_another_device_is_refused(authority: NvidiaAuthority, gpu: TestDevice) -> None:
    other = TestDevice(authority)
    with pytest.raises(SignatureInvalid):
        verify(gpu, gpu.document(other.exchange(NONCE)))


def test_the_boot_rom_authority_is_no_attestation_key(gpu: TestDevice) -> None:
    """Chain without its leaf, and an exchange that the authority's own key signed."""
    chain = gpu.chain[1:]
    with pytest.raises(SignatureInvalid):
        verify(gpu, gpu.document(gpu.exchange(NONCE), chain=chain))
    with pytest.raises(CertificateInvalid):
        verify(gpu, gpu.document(gpu.exchange(NONCE, key=gpu.brom.key), chain=chain))


# --- chain ------------------------------------------------------------------------------------------


def test_the_root_may_be_left_out_and_nothing_else(gpu: TestDevice) -> None:
    exchange = gpu.exchange(NONCE)
    assert failed(verify(gpu, gpu.document(exchange, chain=gpu.chain[:-1]))) == []
    for position in range(1, 4):
        chain = [one for place, one in enumerate(gpu.chain) if place != position]
        with pytest.raises(CertificateInvalid):
            verify(gpu, gpu.document(exchange, chain=chain))
    with pytest.raises(RootUntrusted):
        verify(gpu, gpu.document(exchange, chain=gpu.chain[:3]))
    with pytest.raises(CertificateInvalid):
        verify(gpu, gpu.document(exchange, chain=(gpu.chain[0], *gpu.chain[:0:-1])))
    with pytest.raises(Malformed):
        verify(gpu, gpu.document(exchange, chain=()))


def test_a_root_of_the_right_name_is_not_the_root(stranger: NvidiaAuthority, gpu: TestDevice) -> None:
    foreign = TestDevice(stranger)
    verifier = verifier_of(gpu.authority, foreign.collateral())
    with pytest.raises(RootUntrusted):
        verifier.verify(foreign.evidence(NONCE), BOUND, None, NOW)
    without = foreign.document(foreign.exchange(NONCE), chain=foreign.chain[:-1])
    with pytest.raises(CertificateInvalid):
        verifier.verify(NvidiaEvidence(devices=(without,)), BOUND, None, NOW)


def test_a_test_device_is_nothing_to_a_verifier_without_anchors(gpu: TestDevice) -> None:
    with pytest.raises(RootUntrusted):
        NvidiaVerifier(PARTIAL, gpu.collateral()).verify(gpu.evidence(NONCE), BOUND, None, NOW)


def _leaf(authority: NvidiaAuthority, **changes: Any) -> TestDevice:
    return TestDevice(authority, leaf=changes)


def test_dates_are_those_of_the_verification(authority: NvidiaAuthority) -> None:
    with pytest.raises(CertificateExpired):
        verify(_leaf(authority, end=START + timedelta(minutes=30)))
    with pytest.raises(CertificateNotYetValid):
        verify(_leaf(authority, start=START + timedelta(hours=2)))


def test_a_leaf_must_be_a_key_that_signs_data_with_one_firmware_identity(
    authority: NvidiaAuthority,
) -> None:
    sample = TestDevice(authority)
    identity = sample.extensions()[1]
    authority_too = (x509.BasicConstraints(ca=True, path_length=None), True)
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.133.5.4.1.1"), identity[0].value)  # type: ignore[attr-defined]
    critical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0")
    for extensions in (
        [identity],
        [(usage(sign_certificates=True), True), identity],
        [(usage(sign_data=True), True)],
        [(usage(sign_data=True), True), authority_too, identity],
        [(usage(sign_data=True), True), identity, (other, False)],
        [(usage(sign_data=True), True), identity, (critical, True)],
        [(usage(sign_data=True), True), (other, False)],
    ):
        with pytest.raises(CertificateInvalid):
            verify(_leaf(authority, extensions=extensions))


def test_certificates_of_other_algorithms_are_refused(authority: NvidiaAuthority) -> None:
    with pytest.raises(CertificateInvalid):
        verify(_leaf(authority, digest=hashes.SHA256()))
    device = TestDevice(authority)
    device.brom = Issuer(
        name("GH100 A01 GSP BROM"), authority.provisioner, key=ec.generate_private_key(ec.SECP256R1())
    )
    device.leaf = device.brom.certify(
        name("GH100 A01 GSP FMC LF"), device.key.public_key(), extensions=device.extensions()
    )
    with pytest.raises(CertificateInvalid):
        verify(device)


@pytest.mark.parametrize(
    ("brom", "leaf", "error"),
    [
        ("GH100 A01 GSP BROM", "GB100 A01 GSP FMC LF", CertificateInvalid),
        ("GH100 A01 GSP BROM", "LF", CertificateInvalid),
        ("NVIDIA Something CA", "GH100 A01 GSP FMC LF", CertificateInvalid),
        ("GA100 A01 GSP BROM", "GA100 A01 GSP FMC LF", UnsupportedEvidence),
    ],
)
def test_chips_come_from_certified_names(
    authority: NvidiaAuthority, brom: str, leaf: str, error: type[Exception]
) -> None:
    device = TestDevice(authority)
    device.brom = Issuer(name(brom), authority.provisioner)
    device.leaf = device.brom.certify(name(leaf), device.key.public_key(), extensions=device.extensions())
    with pytest.raises(error):
        verify(device)


def test_a_device_without_a_boot_rom_authority_of_its_own_is_refused(authority: NvidiaAuthority) -> None:
    device = TestDevice(authority)
    leaf = authority.root.certify(
        name("GH100 A01 GSP FMC LF"), device.key.public_key(), extensions=device.extensions()
    )
    with pytest.raises(CertificateInvalid):
        verify(device, device.document(device.exchange(NONCE), chain=(leaf, authority.root.certificate)))


def test_an_issuer_that_is_no_authority_issues_nothing(gpu: TestDevice) -> None:
    """A device's attestation key signs a certificate for another key."""
    forged = TestDevice(gpu.authority)
    as_issuer = Issuer(gpu.leaf.subject, key=gpu.key)
    leaf = as_issuer.certify(
        name("GH100 A01 GSP FMC LF"), forged.key.public_key(), extensions=forged.extensions()
    )
    with pytest.raises(CertificateInvalid):
        verify(forged, forged.document(forged.exchange(NONCE), chain=(leaf, *gpu.chain)))


# --- firmware identity ------------------------------------------------------------------------------


def test_firmware_that_the_key_was_not_certified_for_is_refused(authority: NvidiaAuthority) -> None:
    other = hashlib.sha384(b"other firmware").digest()
    with pytest.raises(SignatureInvalid, match="other firmware"):
        verify(TestDevice(authority, opaque={Field.FWID: other}))
    with pytest.raises(SignatureInvalid):
        verify(TestDevice(authority, opaque={Field.FWID: bytes(48)}, fwid=bytes(48)))


def test_a_device_that_states_no_firmware_identity_has_its_leafs(authority: NvidiaAuthority) -> None:
    device = TestDevice(authority, opaque={Field.FWID: None})
    assert verify(device).claims["nvidia"]["fwid"] == device.fwid.hex()


# --- document ---------------------------------------------------------------------------------------


def test_documents_that_are_none_are_refused(gpu: TestDevice) -> None:
    verifier = verifier_of(gpu.authority, gpu.collateral())
    good = gpu.document(gpu.exchange(NONCE))
    with pytest.raises(Malformed):
        verifier.verify(SampleEvidence(svn="1"), BOUND, None, NOW)
    with pytest.raises(TooLarge):
        verifier.verify(NvidiaEvidence(devices=()), BOUND, None, NOW)
    for devices in (33 * (good,),):
        with pytest.raises(TooLarge):
            verifier.verify_devices(NvidiaEvidence(devices=devices), BOUND, None, NOW)
    for entry in (
        NvidiaDevice(evidence="*", certificates=good.certificates),
        NvidiaDevice(evidence=good.evidence, certificates=("*",)),
        NvidiaDevice(evidence=good.evidence, certificates=("AAAA",)),
        NvidiaDevice(evidence="A" * (1 << 20), certificates=good.certificates),
        NvidiaDevice(evidence=good.evidence, certificates=("A" * (1 << 20),)),
        NvidiaDevice(evidence=good.evidence, certificates=good.certificates * 2),
    ):
        with pytest.raises((Malformed, TooLarge)):
            verify(gpu, entry)


def test_the_form_with_a_header_is_read_likewise(gpu: TestDevice) -> None:
    exchange = gpu.exchange(NONCE, opaque=encode_opaque(gpu.fields, typed=True))
    plain = verify(gpu).claims["nvidia"]
    assert verify(gpu, gpu.document(exchange)).claims["nvidia"] == plain


# --- settings ---------------------------------------------------------------------------------------


def test_an_architecture_that_is_not_accepted_sets_a_floor(gpu: TestDevice) -> None:
    verified = verify(gpu, settings=NvidiaSettings(architectures=frozenset({Architecture.BLACKWELL})))
    assert failed(verified) == ["nvidia.architecture"]
    assert verified.floors["hardware"] == 97


def test_a_mode_that_is_not_accepted_sets_a_floor(gpu: TestDevice) -> None:
    verified = verify(gpu, settings=NvidiaSettings(modes=frozenset({"mpt"})))
    assert failed(verified) == ["nvidia.mode"]
    assert verified.floors["configuration"] == 96


@pytest.mark.parametrize(
    "settings",
    [
        {"architectures": frozenset()},
        {"modes": frozenset()},
        {"modes": frozenset({"fast"})},
        {"mandatory_measurements": frozenset({0})},
        {"mandatory_measurements": frozenset({240})},
    ],
)
def test_settings_that_nothing_meets_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TouchstoneError):
        NvidiaSettings(**settings)
