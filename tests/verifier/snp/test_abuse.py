"""Abuse cases 7 to 16 and 24: forged, mixed and malformed evidence is refused, each by its code."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import Malformed, TooLarge, TouchstoneError
from testkit.snp_firmware import SnpFirmware, der_integer, evidence_of
from tests.verifier.snp.conftest import (
    BOUND,
    NOW,
    REPORT_DATA,
    failed,
    settings_of,
    verifier_of,
    verify,
)
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    ChipIdMismatch,
    CrlExpired,
    CrlInvalid,
    CrlMissing,
    EndorsementMissing,
    InitDataMismatch,
    ReportDataMismatch,
    RootUntrusted,
    SignatureInvalid,
    TcbMismatch,
    UnsupportedEvidence,
)
from verifier.model import InitDataClaim, ReportDataBinding, SessionBinding, Unbound
from verifier.snp import BINDING_SIZE, SnpVerifier
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Product, SigningKey, Tcb
from verifier.snp.report import POLICY_DEBUG, POLICY_MIGRATE_MA
from wire.evidence import SnpCertificate, SnpEvidence, TpmEvidence

VCEK, VLEK = SigningKey.VCEK, SigningKey.VLEK


class TestSignerConfusion:
    """Abuse case 7."""

    def test_a_report_by_the_vlek_that_says_vcek_is_refused(self, milan: SnpFirmware) -> None:
        report = milan.report(REPORT_DATA, kind=VLEK, key_info=0, chip_id=milan.hardware_id)
        both = milan.certificates(VCEK) | {"VLEK": milan.certificates(VLEK)["VLEK"]}
        with pytest.raises(SignatureInvalid):
            verify(milan, evidence_of(report, both))

    def test_a_report_by_the_vcek_that_says_vlek_is_refused(self, milan: SnpFirmware) -> None:
        report = milan.report(REPORT_DATA, kind=VCEK, key_info=1 << 2)
        with pytest.raises(SignatureInvalid):
            verify(milan, evidence_of(report, milan.certificates(VLEK)))

    @pytest.mark.parametrize("kind", [VCEK, VLEK])
    def test_the_other_slots_chain_does_not_serve(self, milan: SnpFirmware, kind: SigningKey) -> None:
        other = VLEK if kind is VCEK else VCEK
        with pytest.raises(EndorsementMissing):
            verify(milan, milan.evidence(REPORT_DATA, kind=kind, certificates=milan.certificates(other)))

    @pytest.mark.parametrize("kind", [VCEK, VLEK])
    def test_a_leaf_of_the_other_kind_under_the_right_label_is_refused(
        self, milan: SnpFirmware, kind: SigningKey
    ) -> None:
        other = VLEK if kind is VCEK else VCEK
        mislabelled = {
            str(kind): milan.certificates(other)[str(other)],
            "ASK": milan.certificates(other)["ASK"],
        }
        with pytest.raises((CertificateInvalid, EndorsementMissing)):
            verify(
                milan,
                milan.evidence(REPORT_DATA, kind=kind, certificates=milan.certificates(kind) | mislabelled),
            )

    def test_a_leaf_issued_by_the_other_slots_intermediate_is_refused(self, milan: SnpFirmware) -> None:
        certificates = milan.certificates(VCEK) | {"ASK": milan.asvk.public_bytes(Encoding.DER)}
        with pytest.raises(CertificateInvalid, match="in the place of SEV-Milan"):
            verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))

    @pytest.mark.parametrize("signing_key", range(2, 8))
    def test_a_reserved_or_absent_signer_is_refused(self, milan: SnpFirmware, signing_key: int) -> None:
        with pytest.raises(UnsupportedEvidence, match="neither a VCEK nor a VLEK"):
            verify(milan, milan.evidence(REPORT_DATA, key_info=signing_key << 2))

    def test_a_masked_chip_key_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(milan, milan.evidence(REPORT_DATA, key_info=1 << 1))


class TestForeignChip:
    """Abuse case 8; the malformed extensions are in test_certificates."""

    def test_a_vcek_of_another_chip_is_refused(self, milan: SnpFirmware) -> None:
        other = SnpFirmware(Product.MILAN, keys=milan.keys, seed=b"another chip")
        with pytest.raises(SignatureInvalid):
            verify(
                milan,
                milan.evidence(REPORT_DATA, certificates=milan.certificates() | {"VCEK": other.leaf()}),
            )

    def test_a_chip_id_that_is_not_the_certificates_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(ChipIdMismatch):
            verify(milan, milan.evidence(REPORT_DATA, chip_id=bytes(range(64))))

    def test_bytes_after_the_short_id_of_turin_are_refused(self, turin: SnpFirmware) -> None:
        with pytest.raises(ChipIdMismatch):
            verify(turin, turin.evidence(REPORT_DATA, chip_id=turin.hardware_id.ljust(63, b"\0") + b"\1"))

    def test_a_masked_chip_id_never_affirms_the_instance(self, milan: SnpFirmware) -> None:
        evidence = milan.evidence(REPORT_DATA, chip_id=bytes(64))
        denied = verify(milan, evidence)
        assert "snp.chip_id" in failed(denied)
        assert denied.floors["instance-identity"] == 97
        permitted = verify(milan, evidence, permit_masked_chip_id=True)
        assert not failed(permitted)
        assert permitted.floors["instance-identity"] == 0
        assert permitted.identity is None

    def test_a_certificate_for_another_tcb_is_refused(self, milan: SnpFirmware) -> None:
        certificates = milan.certificates(tcb=Tcb(4, 0, 23, 219))
        with pytest.raises(TcbMismatch):
            verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))

    def test_a_reported_tcb_above_the_current_one_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(TcbMismatch):
            verify(milan, milan.evidence(REPORT_DATA, current_tcb=Tcb(4, 0, 24, 218)))

    def test_tcbs_are_compared_by_component_not_as_a_number(self, milan: SnpFirmware) -> None:
        # A higher microcode does not make up for an older SNP firmware.
        with pytest.raises(TcbMismatch):
            verify(milan, milan.evidence(REPORT_DATA, current_tcb=Tcb(4, 0, 23, 255)))


class TestForeignRoot:
    """Abuse case 9."""

    def test_a_root_with_the_right_name_and_another_key_is_refused(
        self, milan: SnpFirmware, stranger: SnpFirmware
    ) -> None:
        with pytest.raises(RootUntrusted) as caught:
            verify(milan, stranger.evidence(REPORT_DATA))
        assert caught.value.checks[-1].code == "endorsement.root"

    def test_test_firmware_is_not_trusted_by_default(self, milan: SnpFirmware) -> None:
        verifier = SnpVerifier(settings_of(milan), milan.collateral())
        with pytest.raises(RootUntrusted):
            verifier.verify(milan.evidence(REPORT_DATA), BOUND, None, NOW)

    def test_leaving_the_root_out_means_amds_own(self, milan: SnpFirmware) -> None:
        certificates = milan.certificates()
        del certificates["ARK"]
        with pytest.raises(CertificateInvalid, match="SEV-Milan"):
            verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))

    def test_an_intermediate_by_another_products_root_is_refused(
        self, milan: SnpFirmware, genoa: SnpFirmware
    ) -> None:
        crossed = milan.authority(
            "SEV-Milan", milan.keys.ask, milan.keys.ark, serial=7, issuer_name="ARK-Genoa"
        )
        for certificate in (crossed, genoa.ask):
            certificates = milan.certificates() | {"ASK": certificate.public_bytes(Encoding.DER)}
            with pytest.raises(CertificateInvalid):
                verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))

    def test_an_extra_anchor_serves_its_own_product_only(
        self, milan: SnpFirmware, genoa: SnpFirmware
    ) -> None:
        with pytest.raises(RootUntrusted):
            verify(milan, genoa.evidence(REPORT_DATA))

    def test_an_intermediate_that_is_no_authority_is_refused(self, milan: SnpFirmware) -> None:
        powerless = milan.authority("SEV-Milan", milan.keys.ask, milan.keys.ark, serial=7, ca=False)
        certificates = milan.certificates() | {"ASK": powerless.public_bytes(Encoding.DER)}
        with pytest.raises(CertificateInvalid, match="authority"):
            verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))

    def test_a_leaf_below_the_root_itself_is_refused(self, milan: SnpFirmware) -> None:
        certificates = milan.certificates() | {"ASK": milan.ark.public_bytes(Encoding.DER)}
        with pytest.raises(CertificateInvalid):
            verify(milan, milan.evidence(REPORT_DATA, certificates=certificates))


class TestDatesAndRevocation:
    """Abuse case 10: each of them has its own code."""

    @pytest.mark.parametrize("kind", [VCEK, VLEK])
    def test_an_expired_leaf_is_refused(self, milan: SnpFirmware, kind: SigningKey) -> None:
        later = NOW + timedelta(days=8 * 365)
        crl = milan.crl(this_update=later)
        with pytest.raises(CertificateExpired):
            verify(
                milan, milan.evidence(REPORT_DATA, kind=kind), now=later, collateral=milan.collateral(crl)
            )

    def test_a_leaf_of_tomorrow_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(CertificateNotYetValid):
            verify(milan, milan.evidence(REPORT_DATA), now=milan.start - timedelta(seconds=1))

    def test_dates_are_judged_anew_for_a_cached_chain(self, milan: SnpFirmware) -> None:
        crl = milan.crl(next_update=NOW + timedelta(days=9 * 365))
        verifier = verifier_of(milan, milan.collateral(crl))
        evidence = milan.evidence(REPORT_DATA)
        assert verifier.verify(evidence, BOUND, None, NOW).not_after is not None
        with pytest.raises(CertificateExpired):
            verifier.verify(evidence, BOUND, None, NOW + timedelta(days=8 * 365))

    @pytest.mark.parametrize("kind", [VCEK, VLEK])
    def test_a_revoked_intermediate_is_refused(self, milan: SnpFirmware, kind: SigningKey) -> None:
        crl = milan.crl(revoked=[milan.ask if kind is VCEK else milan.asvk])
        with pytest.raises(CertificateRevoked):
            verify(milan, milan.evidence(REPORT_DATA, kind=kind), collateral=milan.collateral(crl))

    def test_a_revoked_root_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(CertificateRevoked):
            verify(
                milan,
                milan.evidence(REPORT_DATA),
                collateral=milan.collateral(milan.crl(revoked=[milan.ark])),
            )

    def test_revoking_one_slot_leaves_the_other(self, milan: SnpFirmware) -> None:
        crl = milan.crl(revoked=[milan.asvk])
        assert not failed(verify(milan, milan.evidence(REPORT_DATA), collateral=milan.collateral(crl)))

    def test_without_a_list_evidence_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(CrlMissing):
            verify(milan, milan.evidence(REPORT_DATA), collateral=FixedCollateral())

    def test_without_a_list_only_an_explicit_setting_lets_it_pass(self, milan: SnpFirmware) -> None:
        verified = verify(
            milan, milan.evidence(REPORT_DATA), collateral=FixedCollateral(), revocation="if-present"
        )
        record = next(check for check in verified.checks if check.name == "snp.crl")
        assert record.verdict == "not-evaluated"

    def test_an_expired_list_is_refused_also_where_none_is_required(self, milan: SnpFirmware) -> None:
        crl = milan.crl(next_update=NOW - timedelta(seconds=1))
        for revocation in ("require", "if-present"):
            with pytest.raises(CrlExpired):
                verify(
                    milan,
                    milan.evidence(REPORT_DATA),
                    collateral=milan.collateral(crl),
                    revocation=revocation,
                )

    def test_a_list_of_tomorrow_is_refused(self, milan: SnpFirmware) -> None:
        crl = milan.crl(this_update=NOW + timedelta(days=1))
        with pytest.raises(CrlInvalid):
            verify(milan, milan.evidence(REPORT_DATA), collateral=milan.collateral(crl))

    def test_a_list_signed_by_the_intermediate_is_refused(self, milan: SnpFirmware) -> None:
        for crl in (
            milan.crl(key=milan.keys.ask),
            milan.crl(key=milan.keys.ask, issuer_name="SEV-Milan"),
            milan.crl(issuer_name="ARK-Genoa"),
        ):
            with pytest.raises(CrlInvalid):
                verify(milan, milan.evidence(REPORT_DATA), collateral=milan.collateral(crl))

    def test_rubbish_in_place_of_a_list_is_refused(self, milan: SnpFirmware) -> None:
        for crl in (b"x", b"-----BEGIN X509 CRL-----\n", milan.crl()[:-1], milan.crl() + b"\0"):
            with pytest.raises(CrlInvalid):
                verify(milan, milan.evidence(REPORT_DATA), collateral=milan.collateral(crl))


class TestFormat:
    """Abuse cases 11 and 24."""

    def test_version_2_is_refused_unless_a_product_is_pinned(self, milan: SnpFirmware) -> None:
        evidence = milan.evidence(REPORT_DATA, version=2)
        with pytest.raises(UnsupportedEvidence):
            verify(milan, evidence)
        assert not failed(verify(milan, evidence, versions=frozenset({2}), v2_product=Product.MILAN))

    def test_a_version_2_report_of_another_product_than_the_pinned_is_refused(
        self, milan: SnpFirmware
    ) -> None:
        with pytest.raises(RootUntrusted):
            verify(
                milan,
                milan.evidence(REPORT_DATA, version=2),
                versions=frozenset({2}),
                v2_product=Product.GENOA,
            )

    @pytest.mark.parametrize("version", [0, 1, 6, 0xFFFFFFFF])
    def test_an_unknown_version_is_refused(self, milan: SnpFirmware, version: int) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(milan, milan.evidence(REPORT_DATA, version=version, cpuid=(0x19, 1, 1)))

    def test_the_cpuid_of_another_product_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises((RootUntrusted, CertificateInvalid)):
            verify(milan, milan.evidence(REPORT_DATA, cpuid=(0x19, 0x11, 1)))

    @pytest.mark.parametrize("cpuid", [(0x17, 1, 0), (0x19, 0x20, 0), (0x19, 0xB0, 0), (0x1A, 0x50, 0)])
    def test_a_cpuid_without_a_pinned_root_is_refused(
        self, milan: SnpFirmware, cpuid: tuple[int, int, int]
    ) -> None:
        with pytest.raises(UnsupportedEvidence, match="CPUID"):
            verify(milan, milan.evidence(REPORT_DATA, cpuid=cpuid))

    def test_a_product_that_is_not_accepted_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(milan, milan.evidence(REPORT_DATA), products=frozenset({Product.TURIN}))

    def test_another_signature_algorithm_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(UnsupportedEvidence):
            verify(milan, milan.evidence(REPORT_DATA, signature_algorithm=2))

    def test_a_report_of_another_tee_is_refused(self, milan: SnpFirmware) -> None:
        with pytest.raises(Malformed):
            verifier_of(milan).verify(TpmEvidence("", "", "", {}), BOUND, None, NOW)

    @pytest.mark.parametrize(
        "text", ["", "AA", "*" * 1579, "A" * 1578, "A" * 3000, "A" * 10_000_000], ids=len
    )
    def test_a_report_of_another_size_or_alphabet_is_refused(self, milan: SnpFirmware, text: str) -> None:
        with pytest.raises(Malformed):
            verify(milan, SnpEvidence(report=text))

    def test_more_than_64_kib_of_certificates_is_refused(self, milan: SnpFirmware) -> None:
        entry = SnpCertificate("VCEK", "A" * 100_000)
        with pytest.raises(TooLarge):
            verify(milan, SnpEvidence(milan.evidence(REPORT_DATA).report, (entry,)))

    def test_a_repeated_or_unknown_certificate_type_is_refused(self, milan: SnpFirmware) -> None:
        evidence = milan.evidence(REPORT_DATA)
        first = evidence.certificates[0]
        for extra in (first, SnpCertificate("CRL", first.data)):
            with pytest.raises(Malformed):
                verify(milan, SnpEvidence(evidence.report, (*evidence.certificates, extra)))

    def test_list_and_table_together_are_refused(self, milan: SnpFirmware) -> None:
        evidence = milan.evidence(REPORT_DATA)
        table = milan.evidence(REPORT_DATA, auxblob=True).auxblob
        with pytest.raises(Malformed):
            verify(milan, SnpEvidence(evidence.report, evidence.certificates, table))


class TestDebugAndMigration:
    """Abuse cases 12 and 13: floors of the engine, which no policy can improve."""

    def test_a_debug_guest_is_contraindicated(self, milan: SnpFirmware) -> None:
        verified = verify(milan, milan.evidence(REPORT_DATA, policy=0x30000 | POLICY_DEBUG))
        assert verified.floors == {"configuration": 96, "runtime-opaque": 96}
        record = next(check for check in verified.checks if check.name == "snp.policy.debug")
        assert (record.verdict, record.code) == ("fail", "evidence.debug")
        assert verified.claims["snp"]["policy_debug_allowed"] is True

    def test_a_migration_agent_is_contraindicated_unless_permitted(self, milan: SnpFirmware) -> None:
        evidence = milan.evidence(REPORT_DATA, policy=0x30000 | POLICY_MIGRATE_MA)
        assert verify(milan, evidence).floors == {"configuration": 96}
        assert verify(milan, evidence, permit_migration=True).floors == {}


class TestBinding:
    """Abuse cases 14 to 16, as far as the verifier decides them."""

    @pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
    def test_an_expectation_of_another_length_is_refused(self, milan: SnpFirmware, size: int) -> None:
        with pytest.raises(Malformed):
            verify(milan, milan.evidence(REPORT_DATA), expected=ReportDataBinding((REPORT_DATA * 2)[:size]))

    def test_an_expectation_of_zeros_is_refused_also_where_it_is_met(self, milan: SnpFirmware) -> None:
        with pytest.raises(Malformed, match="zeros"):
            verify(milan, milan.evidence(bytes(64)), expected=ReportDataBinding(bytes(64)))

    @pytest.mark.parametrize("position", [0, 31, 32, 63])
    def test_one_different_byte_anywhere_is_refused(self, milan: SnpFirmware, position: int) -> None:
        other = bytearray(REPORT_DATA)
        other[position] ^= 1
        with pytest.raises(ReportDataMismatch):
            verify(milan, milan.evidence(bytes(other)))

    def test_no_expectation_never_affirms_the_instance(self, milan: SnpFirmware) -> None:
        verified = verify(milan, milan.evidence(REPORT_DATA), expected=Unbound())
        assert verified.bound == "unbound"
        assert verified.floors["instance-identity"] == 97

    def test_evidence_for_another_key_nonce_or_audience_is_refused(self, milan: SnpFirmware) -> None:
        from common.binding import binding_digest

        jwk = {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"}
        right: dict[str, Any] = {"nonce": b"n" * 32, "tee_pubkey": jwk, "audience": "ours"}
        evidence = milan.evidence(binding_digest(**right, size=BINDING_SIZE))
        verified = verify(milan, evidence, expected=SessionBinding(**right))
        assert (verified.bound, verified.tee_pubkey) == ("session", jwk)
        for change in (
            {"nonce": b"m" * 32},
            {"tee_pubkey": jwk | {"x": "eQ"}},
            {"audience": "theirs"},
        ):
            with pytest.raises(ReportDataMismatch):
                verify(milan, evidence, expected=SessionBinding(**(right | change)))

    def test_init_data_that_the_report_does_not_hold_is_refused(self, milan: SnpFirmware) -> None:
        digest = bytes(range(32))
        verifier = verifier_of(milan)
        evidence = milan.evidence(REPORT_DATA, host_data=digest)
        verified = verifier.verify(evidence, BOUND, InitDataClaim(digest, b"data"), NOW)
        assert (verified.init_data, verified.claims["init_data"]) == ("bound", digest.hex())
        absent = verifier.verify(evidence, BOUND, None, NOW)
        assert (absent.init_data, "init_data" in absent.claims) == ("absent", False)
        for other in (bytes(32), digest[:31], digest + b"\0" * 16, b""):
            with pytest.raises(InitDataMismatch):
                verifier.verify(evidence, BOUND, InitDataClaim(other, b"data"), NOW)


def test_every_refusal_carries_the_checks_made_before(milan: SnpFirmware) -> None:
    with pytest.raises(TouchstoneError) as caught:
        verify(milan, milan.evidence(REPORT_DATA, chip_id=bytes(range(64))))
    names = [check.name for check in caught.value.checks]
    assert names[0] == "snp.report.structure"
    assert names[-1] == "snp.chip_id"
    assert "snp.report.signature" in names


def test_an_extra_anchor_that_is_no_root_is_refused_at_start(milan: SnpFirmware) -> None:
    from common.errors import InvalidSetting

    for certificate in (milan.ask, milan.authority("ARK-Milan", milan.keys.ask, milan.keys.ark, serial=1)):
        with pytest.raises(InvalidSetting):
            SnpVerifier(settings_of(milan), milan.collateral(), extra_anchors=(certificate,))


def test_a_leaf_with_a_superfluous_component_is_refused(milan: SnpFirmware) -> None:
    leaf = milan.leaf(extensions={"3.9": der_integer(1)})
    with pytest.raises(CertificateInvalid, match="FMC"):
        verify(milan, milan.evidence(REPORT_DATA, certificates=milan.certificates() | {"VCEK": leaf}))
