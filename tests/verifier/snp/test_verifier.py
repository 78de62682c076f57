"""Good evidence of every product, slot, version and form; claims; caching; every signed byte counts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes

from common.encoding import b64url_decode, b64url_encode
from common.errors import TouchstoneError
from testkit.snp_firmware import SnpFirmware
from tests.verifier.snp.conftest import BOUND, NOW, REPORT_DATA, failed, verifier_of, verify
from verifier.errors import SignatureInvalid
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Product, SigningKey
from verifier.snp.report import REPORT_BYTES, SIGNED_BYTES
from wire.evidence import SnpEvidence

# Claims that CoCo's snp verifier exposes, with their JSON types.
_COCO = {
    "policy_abi_major": int,
    "policy_abi_minor": int,
    "policy_smt_allowed": bool,
    "policy_migrate_ma": bool,
    "policy_debug_allowed": bool,
    "policy_single_socket": bool,
    "reported_tcb_bootloader": int,
    "reported_tcb_tee": int,
    "reported_tcb_snp": int,
    "reported_tcb_microcode": int,
    "platform_tsme_enabled": bool,
    "platform_smt_enabled": bool,
    "measurement": str,
    "chip_id": str,
}


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("kind", SigningKey)
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("auxblob", [False, True])
def test_good_evidence_of_every_shape_is_verified(
    firmwares: dict[Product, SnpFirmware],
    product: Product,
    kind: SigningKey,
    version: int,
    *,
    auxblob: bool,
) -> None:
    firmware = firmwares[product]
    evidence = firmware.evidence(REPORT_DATA, kind=kind, version=version, auxblob=auxblob)
    verified = verify(firmware, evidence, versions=frozenset({2, 3, 4, 5}), v2_product=product)
    assert (failed(verified), verified.floors) == ([], {})
    assert (verified.tee, verified.bound, verified.init_data) == ("snp", "report-data", "absent")
    assert verified.claims["snp"]["product"] == product
    assert verified.claims["report_data"] == REPORT_DATA.hex()
    identity = (
        f"snp-chip:{firmware.hardware_id.hex()}" if kind is SigningKey.VCEK else "snp-csp:CN=test-cloud"
    )
    assert verified.identity == identity
    assert len(verified.endorsements) == 4  # leaf, intermediate, root, list


def test_the_claims_have_cocos_names_and_types(milan: SnpFirmware) -> None:
    claims = verify(milan, milan.evidence(REPORT_DATA)).claims["snp"]
    assert {name: type(claims[name]) for name in _COCO} == _COCO


def test_every_tcb_is_a_claim_flat_and_whole(turin: SnpFirmware) -> None:
    claims = verify(turin, turin.evidence(REPORT_DATA)).claims["snp"]
    for name, tcb in claims["tcb"].items():
        assert tcb == {"fmc": 1, "bootloader": 3, "tee": 2, "snp": 5, "microcode": 97}
        assert {part: claims[f"{name}_tcb_{part}"] for part in tcb} == tcb


def test_claims_of_one_verification_do_not_leak_into_another(milan: SnpFirmware) -> None:
    verifier = verifier_of(milan)
    first = verifier.verify(milan.evidence(REPORT_DATA, measurement=b"a" * 48), BOUND, None, NOW)
    first.claims["snp"]["policy_debug_allowed"] = True
    second = verifier.verify(milan.evidence(REPORT_DATA, measurement=b"b" * 48), BOUND, None, NOW)
    assert second.claims["snp"]["policy_debug_allowed"] is False
    assert second.claims["snp"]["measurement"] == (b"b" * 48).hex()


def test_a_tokens_bound_is_the_earliest_expiry(milan: SnpFirmware) -> None:
    soon = NOW + timedelta(hours=1)
    verified = verify(
        milan, milan.evidence(REPORT_DATA), collateral=milan.collateral(milan.crl(next_update=soon))
    )
    assert verified.not_after == soon
    far = milan.collateral(milan.crl(next_update=NOW + timedelta(days=20 * 365)))
    assert verify(milan, milan.evidence(REPORT_DATA), collateral=far).not_after == milan.start + timedelta(
        days=7 * 365
    )


def test_the_evidence_digest_is_of_the_signed_bytes(milan: SnpFirmware) -> None:
    report = milan.report(REPORT_DATA)
    again = milan.sign(report[:SIGNED_BYTES])
    digests = {
        verify(
            milan, SnpEvidence(b64url_encode(data), milan.evidence(REPORT_DATA).certificates)
        ).evidence_digest
        for data in (report, again)
    }
    expected = hashes.Hash(hashes.SHA256())
    expected.update(report[:SIGNED_BYTES])
    assert digests == {expected.finalize().hex()}


def test_a_chain_is_verified_once_and_its_revocation_each_time(milan: SnpFirmware) -> None:
    anchor = milan.ark.fingerprint(hashes.SHA256()).hex()
    lists = {anchor: milan.crl()}

    class Changing(FixedCollateral):
        def crl(self, *_: object) -> bytes | None:
            return lists[anchor]

    verifier = verifier_of(milan, Changing())
    evidence = milan.evidence(REPORT_DATA)
    verifier.verify(evidence, BOUND, None, NOW)
    verifier.verify(milan.evidence(REPORT_DATA), BOUND, None, NOW)
    assert verifier._chain_of.cache_info().misses == 1
    lists[anchor] = milan.crl(revoked=[milan.ask])
    with pytest.raises(TouchstoneError) as caught:
        verifier.verify(evidence, BOUND, None, NOW)
    assert caught.value.code == "endorsement.revoked"


def test_a_vcek_comes_from_the_collateral_where_evidence_has_none(milan: SnpFirmware) -> None:
    anchor = milan.ark.fingerprint(hashes.SHA256()).hex()
    certificates = milan.certificates()
    leaf = certificates.pop("VCEK")
    collateral = FixedCollateral(crls={anchor: milan.crl()}, vceks={milan.hardware_id: leaf})
    evidence = milan.evidence(REPORT_DATA, certificates=certificates)
    assert not failed(verify(milan, evidence, collateral=collateral))
    with pytest.raises(TouchstoneError) as caught:
        verify(milan, evidence)
    assert caught.value.code == "endorsement.missing"


@pytest.mark.parametrize("types", [(), ("ASK", "ARK")])
def test_a_table_without_a_leaf_is_completed_from_the_collateral(
    milan: SnpFirmware, types: tuple[str, ...]
) -> None:
    certificates = milan.certificates()
    anchor = milan.ark.fingerprint(hashes.SHA256()).hex()
    collateral = FixedCollateral(
        crls={anchor: milan.crl()}, vceks={milan.hardware_id: certificates["VCEK"]}
    )
    table = {kind: certificates[kind] for kind in types}
    evidence = milan.evidence(REPORT_DATA, certificates=table, auxblob=True)
    if types:
        assert not failed(verify(milan, evidence, collateral=collateral))
        return
    # Without an ARK in it AMD's own root is meant, which did not sign this firmware's keys.
    with pytest.raises(TouchstoneError) as caught:
        verify(milan, evidence, collateral=collateral)
    assert caught.value.code == "endorsement.chain"


def test_no_flipped_bit_of_the_signed_range_survives(milan: SnpFirmware) -> None:
    report = milan.report(REPORT_DATA, version=5)
    verifier = verifier_of(milan)
    certificates = milan.evidence(REPORT_DATA).certificates
    for offset in range(SIGNED_BYTES):
        changed = bytearray(report)
        changed[offset] ^= 1 << offset * 5 % 8
        with pytest.raises(TouchstoneError):
            verifier.verify(SnpEvidence(b64url_encode(bytes(changed)), certificates), BOUND, None, NOW)


def test_no_flipped_bit_of_the_signature_survives(milan: SnpFirmware) -> None:
    report = milan.report(REPORT_DATA)
    verifier = verifier_of(milan)
    certificates = milan.evidence(REPORT_DATA).certificates
    for offset in range(SIGNED_BYTES, REPORT_BYTES, 3):
        changed = bytearray(report)
        changed[offset] ^= 1
        with pytest.raises(TouchstoneError):
            verifier.verify(SnpEvidence(b64url_encode(bytes(changed)), certificates), BOUND, None, NOW)


@pytest.mark.parametrize("value", [bytes(72), b"\xff" * 48 + bytes(24)])
@pytest.mark.parametrize("offset", [SIGNED_BYTES, SIGNED_BYTES + 72])
def test_signature_components_outside_the_group_are_refused(
    milan: SnpFirmware, offset: int, value: bytes
) -> None:
    report = milan.report(REPORT_DATA)
    changed = report[:offset] + value + report[offset + 72 :]
    with pytest.raises(SignatureInvalid):
        verify(milan, SnpEvidence(b64url_encode(changed), milan.evidence(REPORT_DATA).certificates))


def test_a_seeded_firmware_signs_the_same_report_again(milan: SnpFirmware) -> None:
    pair = [SnpFirmware(Product.MILAN, keys=milan.keys, seed=b"same").report(REPORT_DATA) for _ in range(2)]
    assert pair[0] == pair[1]
    assert milan.report(REPORT_DATA) != milan.report(REPORT_DATA)  # report ids count up


def test_a_patched_report_is_signed_again(milan: SnpFirmware) -> None:
    evidence = milan.evidence(REPORT_DATA)
    patched = milan.patch_report(b64url_decode(evidence.report), 0x090, b"m" * 48)
    verified = verify(milan, SnpEvidence(b64url_encode(patched), evidence.certificates))
    assert verified.claims["snp"]["measurement"] == (b"m" * 48).hex()
