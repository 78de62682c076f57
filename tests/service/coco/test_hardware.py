"""Evidence of real forms through the KBS: SEV-SNP of the test firmware, a TPM, and the genuine vectors."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guest_agent.attesters.vtpm import Vtpm
from guest_agent.coco.tpm import TpmCocoAttester
from testkit.snp_firmware import SnpFirmware
from testkit.swtpm import SwTpm
from tests.components import require_swtpm
from tests.service.coco.conftest import DEVELOPMENT, SECRET, Kbs, make
from tests.service.coco.documents import firmware_document, request
from tests.service.coco.kbs import Answer, Guest, claims_of
from tests.service.harness import ContractClient
from tests.service.world import GOOD, OTHER, Publisher, World, firmware_settings

PATH = "resource/default/test/dummy"
AFFIRMING = """package policy
default allow := false
allow if input.submods.cpu0["ear.status"] == "affirming"
"""
INIT_DATA = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n\"aa.toml\" = '''a = 1'''\n"


@pytest.fixture
def snp(tmp_path: Path, firmware: SnpFirmware) -> Iterator[Kbs]:
    """In production manner: verified reference values alone, no sample TEE."""
    kbs = make(tmp_path, firmware_settings(firmware, tmp_path))
    assert kbs.admin.call("POST", PATH, SECRET).status == 200
    assert kbs.admin.resource_policy(AFFIRMING).status == 200
    yield kbs
    kbs.services.close()


def world(kbs: Kbs, firmware: SnpFirmware) -> World:
    application = kbs.http.application
    made = World(kbs.services, ContractClient(application, kbs.admin.token), Publisher(), firmware)
    made.trust_publisher()
    return made


def publish(made: World, firmware: SnpFirmware, measurement: bytes = GOOD) -> dict[str, Any]:
    tcb = firmware.tcb
    platform = {
        "snp_bootloader": tcb.bootloader,
        "snp_microcode": tcb.microcode,
        "snp_snp_svn": tcb.snp,
        "snp_tee_svn": tcb.tee,
    }
    values = [{"name": "snp_launch_measurement", "value": measurement.hex(), "tee": "snp", "group": "r1"}]
    values += [
        {"name": name, "value": value, "tee": "snp", "group": "r1"} for name, value in platform.items()
    ]
    body = {
        "envelope": base64.urlsafe_b64encode(made.publisher.envelope_of(values)).rstrip(b"=").decode(),
        "derivation": {"rule": "reference-values"},
    }
    answer = made.client.post("/v1/attestations", body)
    assert answer.status == 201, answer.body
    return dict(answer.json)


def attest(kbs: Kbs, firmware: SnpFirmware, **fields: Any) -> tuple[Guest, Answer]:
    guest = kbs.guest("snp")
    init_data = fields.pop("init_data", None)

    def evidence(digest: bytes) -> dict[str, Any]:
        return firmware_document(firmware, digest.ljust(64, b"\0"), **({"measurement": GOOD} | fields))

    return guest, guest.attest(evidence=evidence, init_data=init_data)


def submodule(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return dict(claims_of(answer.json["token"])["submods"]["cpu0"])


def refused(answer: Answer) -> None:
    assert (answer.status, answer.variant) == (401, "AttestationError")


def test_snp_with_verified_reference_values(snp: Kbs, firmware: SnpFirmware) -> None:
    attestation = publish(world(snp, firmware), firmware)["attestation"]
    guest, answer = attest(snp, firmware)
    cpu = submodule(answer)
    assert cpu["ear.trustworthiness-vector"]["executables"] == 3
    assert cpu["ear.trustworthiness-vector"]["hardware"] == 2
    claims = claims_of(guest.token)
    assert attestation in json.dumps(claims["touchstone"])
    assert claims["touchstone"]["bound"] == "session"
    assert claims["eat_nonce"] == guest.nonce
    assert claims["cnf"]["jwk"] == guest.jwk
    assert cpu["ear.status"] == "affirming"
    assert guest.open(guest.call("GET", PATH).json) == SECRET


def test_snp_without_a_value_for_its_measurement(snp: Kbs, firmware: SnpFirmware) -> None:
    publish(world(snp, firmware), firmware)
    guest, answer = attest(snp, firmware, measurement=OTHER)
    assert submodule(answer)["ear.trustworthiness-vector"]["executables"] == 33
    assert guest.call("GET", PATH).variant == "PolicyDeny"


def test_a_retracted_attestation_ends_what_rested_on_it(snp: Kbs, firmware: SnpFirmware) -> None:
    made = world(snp, firmware)
    attestation = publish(made, firmware)["attestation"]
    snp.admin.resource_policy("package policy\nallow := true\n")
    guest, answer = attest(snp, firmware)
    assert submodule(answer)["ear.status"] in {"affirming", "warning"}
    assert guest.call("GET", PATH).status == 200
    assert made.client.post(f"/v1/attestations/{attestation}/retract", {"reason": "x"}).status < 300
    for sent in ({}, {"Authorization": f"Bearer {guest.token}", "Cookie": "a=b"}):
        got = guest.call("GET", PATH, **sent)
        assert (got.status, got.variant) == (401, "TokenVerifierError"), got.body
    guest, answer = attest(snp, firmware)
    assert submodule(answer)["ear.status"] == "contraindicated"
    assert guest.call("GET", PATH).variant == "PolicyDeny"


def test_declared_values_do_not_count_unless_the_setting_says_so(snp: Kbs, firmware: SnpFirmware) -> None:
    refused_message = snp.admin.reference_values({"snp_launch_measurement": [GOOD.hex()]})
    assert (refused_message.status, refused_message.variant) == (400, "RvpsError")
    _, answer = attest(snp, firmware)
    assert submodule(answer)["ear.status"] == "contraindicated"


def test_debug_is_a_floor(snp: Kbs, firmware: SnpFirmware) -> None:
    publish(world(snp, firmware), firmware)
    trusting = 'package policy\ntrust_claims := {"executables": 3, "hardware": 2, "configuration": 2}\n'
    snp.admin.attestation_policy("default_cpu", trusting)
    snp.admin.resource_policy("package policy\nallow := true\n")
    guest, answer = attest(snp, firmware, policy=0x30000 | 1 << 19)
    if answer.status == 200:
        assert submodule(answer)["ear.status"] == "contraindicated"
        assert guest.call("GET", PATH).variant == "PolicyDeny"
    else:
        refused(answer)


def test_init_data_in_host_data(snp: Kbs, firmware: SnpFirmware) -> None:
    """The digest is fitted to the field: 48 bytes of SHA-384 to 32."""
    host_data = hashlib.sha384(INIT_DATA.encode()).digest()[:32]
    _, answer = attest(snp, firmware, host_data=host_data, init_data=INIT_DATA)
    evidence = submodule(answer)["ear.veraison.annotated-evidence"]
    assert evidence["init_data"] == host_data.hex()
    assert evidence["init_data_claims"]["aa.toml"] == {"a": 1}


@pytest.mark.parametrize("text", [INIT_DATA + "\n", INIT_DATA.replace("384", "256"), "[data]\n"])
def test_case_30_init_data_that_the_tee_does_not_bind(snp: Kbs, firmware: SnpFirmware, text: str) -> None:
    host_data = hashlib.sha384(INIT_DATA.encode()).digest()[:32]
    _, answer = attest(snp, firmware, host_data=host_data, init_data=text)
    refused(answer)


def test_case_30_init_data_of_the_sample_tee_is_never_bound(bare: Kbs) -> None:
    answer = bare.guest().attest(init_data=INIT_DATA)
    assert claims_of(answer.json["token"])["touchstone"]["init_data"] == "unsupported"


def test_evidence_of_another_tee_than_the_sessions(snp: Kbs, firmware: SnpFirmware) -> None:
    guest = snp.guest("tpm")
    refused(guest.attest(evidence=lambda digest: firmware_document(firmware, digest.ljust(64, b"\0"))))


def test_the_sample_tee_is_refused_in_production(snp: Kbs) -> None:
    refused(snp.guest("sample").attest())


def test_a_native_result_is_no_passport_and_a_passport_no_native_result(
    snp: Kbs, firmware: SnpFirmware
) -> None:
    made = world(snp, firmware)
    made.publish(GOOD)
    snp.admin.resource_policy("package policy\nallow := true\n")
    native = made.guest().appraise().json["token"]
    answer = Guest(snp.http).call("GET", PATH, Authorization=f"Bearer {native}")
    assert (answer.status, answer.variant) == (401, "TokenVerifierError")
    guest, _ = attest(snp, firmware)
    made.store_secret("/v1/resources/default/test/other", b"other")
    release = made.guest().release(guest.token, "/v1/resources/default/test/other")
    assert release.status in {401, 422}, release.body


# TPM


def test_a_genuine_tpm_quote(vectors: Path, tmp_path: Path) -> None:
    folder = vectors / "evidence" / "tpm" / "trustee-swtpm-evidence"
    document = json.loads((folder / "evidence.json").read_bytes())
    key = hashlib.sha256(base64.b64decode(document["ak_public"])).hexdigest()
    selection = {"sha256": list(range(24))}
    item = {"verification_requests": [request(document, "tpm")], "policy_ids": []}
    trusting = make(
        tmp_path / "a",
        {"profile": "development", "tpm": {"ak_spki_sha256": [key], "pcr_selection": selection}},
    )
    answer = trusting.http.post("/attestation", json=item)
    assert answer.status_code == 200, answer.data
    cpu = claims_of(answer.text)["submods"]["cpu0"]
    assert "tpm" in cpu["ear.veraison.annotated-evidence"]
    trusting.services.close()
    other = make(tmp_path / "b", {"profile": "development", "tpm": {"pcr_selection": selection}})
    answer = other.http.post("/attestation", json=item)
    assert answer.status_code == 422
    assert answer.json["code"] == "evidence.attestation_key"
    other.services.close()


@pytest.mark.xdist_group("swtpm")
def test_a_tpm_through_the_whole_handshake(tmp_path: Path) -> None:
    require_swtpm()
    with SwTpm() as tpm:
        tpm.measured_boot()
        vtpm = Vtpm(tcti=tpm.tcti)
        attester = TpmCocoAttester(vtpm)
        key = hashlib.sha256(vtpm.public_key()).hexdigest()
        settings = {
            "profile": "development",
            "coco": DEVELOPMENT["coco"],
            "tpm": {"ak_spki_sha256": [key], "pcr_selection": {"sha256": list(range(24))}},
        }
        kbs = make(tmp_path, settings)
        kbs.admin.call("POST", PATH, SECRET)
        kbs.admin.resource_policy("package policy\nallow := true\n")
        trusting = 'package policy\ntrust_claims := {"executables": 3, "hardware": 2, "configuration": 2}\n'
        kbs.admin.attestation_policy("default_cpu", trusting)
        guest = kbs.guest("tpm")
        answer = guest.attest(evidence=attester.evidence)
        assert answer.status == 200, answer.body
        assert guest.open(guest.call("GET", PATH).json) == SECRET
        replayed = attester.evidence(bytes(48))
        refused(kbs.guest("tpm").attest(evidence=replayed))
        kbs.services.close()
