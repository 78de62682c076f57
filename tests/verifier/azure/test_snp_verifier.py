"""Azure VMs on SEV-SNP: binding, quote, floors, init-data, and the abuse cases that concern them."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from common.binding import binding_digest
from common.errors import InputError, Malformed, TouchstoneError
from testkit.azure_vtpm import TDX, hcl_report
from testkit.snp_firmware import SnpFirmware
from tests.verifier.azure.conftest import BOUND, NONCE, NOW, SELECTION, World, failed
from verifier.az_snp_vtpm import AzSnpVtpmVerifier
from verifier.errors import (
    AttestationKeyUntrusted,
    CertificateInvalid,
    CrlMissing,
    EventLogMismatch,
    InitDataMismatch,
    PcrMismatch,
    ReportDataMismatch,
    SignatureInvalid,
    TcbMismatch,
    UnsupportedEvidence,
)
from verifier.model import InitDataClaim, RuntimeDataBinding, SessionBinding, Unbound
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Tcb
from verifier.tpm.settings import TpmSettings
from wire.evidence import SnpEvidence

TEE = "az-snp-vtpm"


def test_sound_evidence_is_verified(world):
    verified = world.verify(world.evidence())
    assert failed(verified) == []
    assert verified.floors == {}
    assert verified.bound == "report-data"
    assert verified.identity == f"snp-chip:{world.firmware.hardware_id.hex()}"
    assert verified.init_data == "absent"
    assert verified.claims["report_data"] == NONCE.hex()
    names = [check.name for check in verified.checks]
    order = [
        "azure.hcl.report_type",
        "azure.hcl.runtime_claims",
        "snp.report.signature",
        "snp.report_data",
        "azure.hcl.attestation_key",
        "tpm.quote.signature",
        "tpm.quote.extra_data",
        "tpm.pcr.selection",
        "tpm.pcr.digest",
        "snp.vmpl",
        "snp.policy.debug",
    ]
    assert [name for name in names if name in order] == order


def test_claims_have_the_texts_of_confidential_containers_and_typed_ones_beside(world):
    claims = world.verify(world.evidence()).claims[TEE]
    assert claims["policy_debug_allowed"] == "false"
    assert claims["platform_smt_enabled"] == "true"
    assert claims["reported_tcb_snp"] == "24"
    assert claims["policy_abi_major"] == "0"
    assert claims["measurement"] == "A" * 64
    assert claims["snp"]["policy_debug_allowed"] is False
    assert claims["snp"]["reported_tcb_snp"] == 24
    assert claims["tpm"]["pcr05"] == "05" * 32
    assert claims["tpm"]["safe"] is True
    assert claims["vm_configuration"] == world.vm.configuration
    assert claims["user_data"] == "00" * 64
    assert claims["hcl_fresh"] is False
    assert "chip_id" not in claims


@pytest.mark.parametrize("hash_type", [1, 2, 3])
@pytest.mark.parametrize("data_version", [1, 2])
def test_each_hash_and_version_binds(world, hash_type, data_version):
    hcl = world.vm.hcl(world.report_of(), hash_type=hash_type, data_version=data_version)
    assert failed(world.verify(world.evidence(hcl))) == []


def test_another_hash_than_the_reports_does_not_bind(world):
    claims = world.vm.claims()
    report = world.firmware.report(world.vm.report_data(claims, 1))
    with pytest.raises(AttestationKeyUntrusted):
        world.verify(world.evidence(hcl_report(report, claims, hash_type=2)))


def test_bytes_after_the_hash_do_not_bind(world):
    claims = world.vm.claims()
    data = hashlib.sha256(claims).digest() + bytes(31) + b"\x01"
    with pytest.raises(AttestationKeyUntrusted):
        world.verify(world.evidence(hcl_report(world.firmware.report(data), claims)))


def test_other_claims_than_the_hashed_ones_do_not_bind(world):
    claims = world.vm.claims()
    report = world.firmware.report(world.vm.report_data(claims))
    other = claims.replace(b'"secure-boot":true', b'"secure-boot":null')
    with pytest.raises(AttestationKeyUntrusted):
        world.verify(world.evidence(hcl_report(report, other)))


def test_a_key_of_ones_own_in_the_claims_does_not_bind(world):
    report = world.firmware.report(world.vm.report_data(world.vm.claims()))
    own = rsa.generate_private_key(65537, 2048)
    true, world.vm.__dict__["ak"] = world.vm.ak, own
    forged = world.evidence(hcl_report(report, world.vm.claims()))
    world.vm.__dict__["ak"] = true
    with pytest.raises(AttestationKeyUntrusted):
        world.verify(forged)


def test_21_a_quote_by_another_key_is_refused(world):
    quote = world.vm.quote(NONCE)
    own = rsa.generate_private_key(65537, 2048)
    with pytest.raises(SignatureInvalid):
        world.verify(world.evidence(quote=quote, signature=world.vm.sign(quote, own)))


def test_evidence_of_the_other_kind_is_refused(world):
    hcl = hcl_report(bytes(1024), world.vm.claims(), TDX)
    with pytest.raises(UnsupportedEvidence):
        world.verify(world.evidence(hcl))
    with pytest.raises(Malformed):
        world.verify(SnpEvidence(""))


# The hardware report is verified as any other


def test_a_report_of_a_stranger_is_refused(world, stranger: SnpFirmware):
    hcl = world.vm.hcl(stranger.report)
    with pytest.raises((SignatureInvalid, TcbMismatch)):
        world.verify(world.evidence(hcl))


def test_certificates_of_a_stranger_are_refused(world, stranger: SnpFirmware):
    other = World(stranger, world.vm)
    with pytest.raises((CertificateInvalid, SignatureInvalid, TouchstoneError)) as caught:
        world.verify(other.evidence())
    assert caught.value.code.startswith(("endorsement.", "evidence."))


def test_a_report_with_a_changed_measurement_is_refused(world):
    def altered(data):
        report = world.firmware.report(data)
        return report[:0x90] + b"\x01" + report[0x91:]

    with pytest.raises(SignatureInvalid):
        world.verify(world.evidence(world.vm.hcl(altered)))


def test_a_revocation_list_is_demanded(world):
    snp = SnpVerifier(SnpSettings(), FixedCollateral(), extra_anchors=(world.firmware.ark,))
    with pytest.raises(CrlMissing):
        AzSnpVtpmVerifier(snp, TpmSettings(pcr_selection=SELECTION)).verify(
            world.evidence(), BOUND, None, NOW
        )


def test_a_tcb_that_is_not_the_certificates_is_refused(world):
    newer = Tcb(bootloader=9, tee=0, snp=24, microcode=219)
    hcl = world.vm.hcl(world.report_of(reported_tcb=newer, current_tcb=newer))
    with pytest.raises(TcbMismatch):
        world.verify(world.evidence(hcl))


def test_12_a_guest_that_can_be_debugged_has_floors_that_no_policy_lifts(world):
    hcl = world.vm.hcl(world.report_of(policy=0x30000 | 1 << 19))
    verified = world.verify(world.evidence(hcl))
    assert verified.floors["configuration"] == 96
    assert verified.floors["runtime-opaque"] == 96
    assert "snp.policy.debug" in failed(verified)
    assert verified.claims[TEE]["policy_debug_allowed"] == "true"
    assert verified.claims["common"]["debug"] is True


def test_13_a_guest_with_a_migration_agent_has_a_floor(world):
    verified = world.verify(world.evidence(world.vm.hcl(world.report_of(policy=0x30000 | 1 << 18))))
    assert verified.floors["configuration"] == 96


@pytest.mark.parametrize("vmpl", [1, 2, 3])
def test_a_report_that_the_guests_kernel_asked_for_has_a_floor(world, vmpl):
    verified = world.verify(world.evidence(world.vm.hcl(world.report_of(vmpl=vmpl))))
    assert verified.floors["configuration"] == 96
    assert failed(verified) == ["snp.vmpl"]


def test_settings_of_the_hardware_hold(world):
    verified = world.verify(world.evidence(), id_key_digests=frozenset({b"\x01" * 48}), minimum_guest_svn=9)
    assert set(failed(verified)) == {"snp.id_key", "snp.guest_svn"}
    assert verified.floors["executables"] == 96


# 14, 15: binding of the quote


@pytest.mark.parametrize(
    "extra",
    [b"", NONCE[:-1], NONCE + b"\0", NONCE.ljust(64, b"\0"), bytes(32), NONCE[:31] + b"\xff"],
)
def test_14_any_other_qualifying_data_are_refused(world, extra):
    with pytest.raises(ReportDataMismatch):
        world.verify(world.evidence(extra_data=extra))


def test_a_session_binds_nonce_key_and_audience(world):
    session = SessionBinding(
        nonce=NONCE, tee_pubkey={"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "BBBB"}, audience="us"
    )
    bound = binding_digest(
        nonce=session.nonce, tee_pubkey=session.tee_pubkey, audience=session.audience, size=32
    )
    verified = world.verify(world.evidence(extra_data=bound), session)
    assert (verified.bound, verified.tee_pubkey) == ("session", session.tee_pubkey)
    with pytest.raises(ReportDataMismatch):
        world.verify(world.evidence(), session)


def test_unbound_evidence_has_no_identity(world):
    verified = world.verify(world.evidence(), Unbound())
    assert verified.floors["instance-identity"] == 97
    assert verified.bound == "unbound"
    asked_for_nothing = world.verify(world.evidence(), RuntimeDataBinding(None))
    assert asked_for_nothing.floors["instance-identity"] == 97


@pytest.mark.parametrize("size", [32, 48, 64])
def test_confidential_containers_fill_the_field_in_three_ways(world, size):
    digest = b"\x07" * 48
    extra = digest[:size].ljust(size, b"\0")
    verified = world.verify(world.evidence(extra_data=extra), RuntimeDataBinding(digest))
    assert verified.bound == "report-data"


# User data: the HCL report itself may be fresh


def test_a_report_that_was_renewed_for_the_request_is_fresh(world):
    hcl = world.vm.hcl(world.report_of(), claims=world.vm.claims(user_data=NONCE.ljust(64, b"\0")))
    verified = world.verify(world.evidence(hcl, fresh_report=True))
    assert verified.claims[TEE]["hcl_fresh"] is True


@pytest.mark.parametrize(
    "user_data",
    [b"", NONCE, NONCE[:-1], NONCE.ljust(63, b"\0"), NONCE.ljust(65, b"\0"), b"\x01" * 64, bytes(64)],
)
def test_24_user_data_of_another_length_or_content_are_not_fresh(world, user_data):
    hcl = world.vm.hcl(world.report_of(), claims=world.vm.claims(user_data=user_data))
    with pytest.raises(ReportDataMismatch, match="not made for this request"):
        world.verify(world.evidence(hcl, fresh_report=True))
    assert world.verify(world.evidence(hcl)).claims[TEE]["hcl_fresh"] is False


# 22, 23, 24: registers


def test_22_relabelled_registers_are_refused(world):
    """Registers 8 to 15, 16 and 23 are quoted and sent as 0 to 7: the golden log replayed elsewhere."""
    indexes = (8, 9, 10, 11, 12, 13, 14, 15, 16, 23)
    quote = world.vm.quote(NONCE, indexes=indexes)
    relabelled = {str(place): world.vm.registers[index].hex() for place, index in enumerate(indexes)}
    with pytest.raises(PcrMismatch):
        world.verify(world.evidence(quote=quote, pcrs={"sha256": relabelled}))
    honest = {str(index): world.vm.registers[index].hex() for index in indexes}
    with pytest.raises(PcrMismatch) as caught:
        world.verify(world.evidence(quote=quote, pcrs={"sha256": honest}))
    assert caught.value.details["check"] == "tpm.pcr.selection"


def _selections(*entries):
    return len(entries).to_bytes(4, "big") + b"".join(entries)


ALL_SHA1 = b"\x00\x04\x03\xff\xff\xff"
ALL_SHA256 = b"\x00\x0b\x03\xff\xff\xff"


@pytest.mark.parametrize(
    "selections",
    [
        pytest.param(_selections(), id="none"),
        pytest.param(_selections(ALL_SHA1), id="SHA-1"),
        pytest.param(_selections(ALL_SHA256, ALL_SHA1), id="mixed"),
        pytest.param(_selections(ALL_SHA256, ALL_SHA256), id="twice"),
        pytest.param(_selections(b"\x00\x0b\x04\xff\xff\xff\x01"), id="a bitmap of 4 bytes"),
        pytest.param(_selections(b"\x00\x0b\x03\x00\x00\x00"), id="empty"),
        pytest.param(_selections(b"\x00\x0b\x00"), id="no bitmap"),
        pytest.param(_selections(b"\x99\x99\x03\xff\xff\xff"), id="unknown"),
        pytest.param((0xFFFFFFFF).to_bytes(4, "big"), id="a count of 2^32"),
    ],
)
def test_23_other_selections_are_refused(world, selections):
    quote = world.vm.quote(NONCE, selections=selections)
    with pytest.raises((PcrMismatch, Malformed, UnsupportedEvidence)):
        world.verify(world.evidence(quote=quote))


@pytest.mark.parametrize("count", [0, 1, 8, 23])
def test_24_fewer_registers_are_refused(world, count):
    pcrs = {"sha256": {str(index): "00" * 32 for index in range(count)}}
    with pytest.raises(PcrMismatch):
        world.verify(world.evidence(pcrs=pcrs))


@pytest.mark.parametrize(
    "pcrs", [{}, {"sha256": {"24": "00" * 32}}, {"sha256": {"0": "zz"}}, {"sha1": {}}, {"md5": {"0": "00"}}]
)
def test_24_registers_that_there_are_not_are_refused(world, pcrs):
    with pytest.raises((InputError, PcrMismatch)):
        world.verify(world.evidence(pcrs=pcrs))


def test_a_changed_register_is_refused(world):
    pcrs = {str(index): value.hex() for index, value in world.vm.registers.items()}
    pcrs["4"] = "ff" * 32
    with pytest.raises(PcrMismatch):
        world.verify(world.evidence(pcrs={"sha256": pcrs}))


def test_another_selection_may_be_configured(world):
    indexes = tuple(range(8))
    quote = world.vm.quote(NONCE, indexes=indexes)
    pcrs = {"sha256": {str(index): world.vm.registers[index].hex() for index in indexes}}
    evidence = world.evidence(quote=quote, pcrs=pcrs)
    verified = world.verify(evidence, vtpm={"pcr_selection": {"sha256": indexes}})
    assert "pcr08" not in verified.claims[TEE]["tpm"]


def test_an_event_log_may_be_demanded(world):
    with pytest.raises(EventLogMismatch):
        world.verify(world.evidence(), vtpm={"require_event_log": True})


# 30: init-data


def _init_data(text: bytes, *, fitted: bool = False) -> InitDataClaim:
    return InitDataClaim(hashlib.sha256(text).digest(), text, fitted=fitted)


def test_init_data_is_bound_by_register_8(world):
    claim = _init_data(b"x")
    world.vm.bind_init_data(claim.digest)
    verified = world.verify(world.evidence(), init_data=claim)
    assert verified.init_data == "bound"
    assert verified.claims["init_data"] == claim.digest.hex()
    assert verified.floors == {}


def test_30_init_data_that_register_8_does_not_hold_are_no_claims(world):
    verified = world.verify(world.evidence(), init_data=_init_data(b"x"))
    assert verified.init_data == "unsupported"
    assert "init_data" not in verified.claims
    assert verified.floors["configuration"] == 36


def test_30_unbound_init_data_do_not_lower_the_floor_of_debug(world):
    hcl = world.vm.hcl(world.report_of(policy=0x30000 | 1 << 19))
    verified = world.verify(world.evidence(hcl), init_data=_init_data(b"x"))
    assert verified.floors["configuration"] == 96


def test_init_data_that_a_guest_of_confidential_containers_sends_must_be_bound(world):
    with pytest.raises(InitDataMismatch):
        world.verify(world.evidence(), init_data=_init_data(b"x", fitted=True))


# Any change


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_flipped_bit_of_the_report_is_refused_or_changes_no_claim(shared_world, data):
    world, hcl, honest = shared_world
    at = data.draw(st.integers(0, len(hcl) * 8 - 1))
    changed = bytearray(hcl)
    changed[at // 8] ^= 1 << at % 8
    try:
        verified = world.verify(world.evidence(bytes(changed)))
    except TouchstoneError:
        return
    assert at // 8 < 32, "a bit outside the header, which nothing covers, was accepted"
    assert verified.claims == honest.claims


@pytest.fixture(scope="module")
def shared_world(milan: SnpFirmware, shared_vm):
    world = World(milan, shared_vm)
    hcl = world.vm.hcl(world.report_of())
    return world, hcl, world.verify(world.evidence(hcl))


@pytest.mark.parametrize("member", ["hcl_report", "quote", "signature"])
@pytest.mark.parametrize("text", ["", "A", "!!!!", "QUJD", "A" * 200_000])
def test_members_that_are_none_are_refused(world, member, text):
    with pytest.raises(TouchstoneError):
        world.verify(msgspec.structs.replace(world.evidence(), **{member: text}))


def test_a_quote_that_is_cut_or_longer_is_refused(world):
    quote = world.vm.quote(NONCE)
    for data in (quote[:-1], quote + b"\0", quote[:20], struct.pack(">I", 0) + quote[4:]):
        with pytest.raises(TouchstoneError):
            world.verify(world.evidence(quote=data))


def test_without_certificates_the_store_is_asked(world):
    evidence = world.evidence(certificates=())
    with pytest.raises(TouchstoneError) as caught:
        world.verify(evidence)
    assert caught.value.code == "endorsement.missing"
