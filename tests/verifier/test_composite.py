"""A machine with devices: one request, one token, everything bound to one another."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.binding import binding_digest, device_digest, devices_digest
from common.encoding import b64url_encode
from common.errors import InputError, Malformed, TouchstoneError
from kms.session import session_of
from policy import shipped
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from rvps.static import StaticReferenceLookup
from service.inspection import _values
from testkit.nvidia_authority import NvidiaAuthority
from testkit.nvidia_device import TestDevice, system
from testkit.snp_firmware import SnpFirmware
from tests.verifier.nvidia.conftest import verifier_of
from tests.verifier.snp.conftest import NOW
from tests.verifier.snp.conftest import verifier_of as snp_verifier_of
from verifier import composite
from verifier.appraisal import Appraiser
from verifier.challenges import SpentChallenge
from verifier.ear import EarSigner, decode_unverified
from verifier.errors import NonceUnknown, ReportDataMismatch, UnsupportedEvidence
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaEvidence
from verifier.result import Appraisal
from verifier.tees import EVIDENCE
from wire.rcar import AppraisalRequest

NONCE = bytes(range(32))
AUDIENCE = "https://kbs.example"
JWK = {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"}
MEASUREMENT = bytes([5] * 48)
GOOD = {"snp_launch_measurement": [MEASUREMENT.hex()]}


class Challenges:
    """A nonce that is good once."""

    def __init__(self) -> None:
        self.pcr_selection: dict[str, tuple[int, ...]] = {}
        self.spent = False

    def spend(self, nonce: str, tee: str, now: Any) -> SpentChallenge:
        if self.spent or nonce != b64url_encode(NONCE):
            raise NonceUnknown("spent")
        self.spent = True
        return SpentChallenge(nonce=NONCE, tee=tee, credential_secret=None)


class Policies:
    def __init__(self) -> None:
        self._compiled = RegorusEngine().compile(shipped.load(PolicyKind.APPRAISAL, "default"))

    def active(self, kind: PolicyKind, name: str) -> Any:
        return self._compiled


POLICIES = Policies()
SIGNER = EarSigner(ec.generate_private_key(ec.SECP256R1()), issuer="i", developer="d", build="b")


class Machine:
    """A guest of the test firmware with devices of the test authority, and their appraiser."""

    def __init__(self, firmware: SnpFirmware, devices: list[TestDevice]) -> None:
        self.firmware = firmware
        self.devices = devices

    def appraiser(self, references: dict[str, list[Any]] | None = None) -> Appraiser:
        authority = self.devices[0].authority
        rims: dict[str, bytes] = {}
        for device in self.devices:
            rims |= device.manifests()
        responses = tuple(
            one for device in self.devices for one in device.status(at=NOW, lifetime=timedelta(days=1))
        )
        collateral = FixedCollateral(ocsp=(*responses, *authority.rim_status(NOW)), rims=rims)
        known = GOOD if references is None else references
        return Appraiser(
            verifiers={
                "snp": (snp_verifier_of(self.firmware), 64),
                "nvidia": (verifier_of(authority, collateral), 32),
            },
            policies=POLICIES,
            references=StaticReferenceLookup(_values(known, "snp", NOW)),
            audience=AUDIENCE,
            challenges=Challenges(),  # type: ignore[arg-type]
            signer=SIGNER,
        )

    def text(self, nonce: bytes | None = None, devices: list[TestDevice] | None = None) -> str:
        wanted = nonce or device_digest(nonce=NONCE, tee_pubkey=JWK, audience=AUDIENCE)
        entries = tuple(one.document(one.exchange(wanted)) for one in devices or self.devices)
        return f"[{msgspec.json.encode(NvidiaEvidence(entries)).decode()}]"

    def request(self, devices: str | None, *, says: str | None = "", **changes: Any) -> AppraisalRequest:
        """The machine says ``devices`` in its binding, unless it is to say something else."""
        said = devices if says == "" else says
        report_data = binding_digest(
            nonce=NONCE,
            tee_pubkey=JWK,
            audience=AUDIENCE,
            devices_digest=b"" if said is None else devices_digest(said),
            size=64,
        )
        evidence = self.firmware.evidence(
            report_data, **({"measurement": MEASUREMENT} | changes.pop("fields", {}))
        )
        made: dict[str, Any] = {
            "evidence": evidence,
            "nonce": b64url_encode(NONCE),
            "tee_pubkey": JWK,
            "devices": devices,
        }
        return AppraisalRequest(**(made | changes))

    def appraise(
        self, request: AppraisalRequest, references: dict[str, list[Any]] | None = None
    ) -> Appraisal:
        return self.appraiser(references).appraise(request, NOW)


@pytest.fixture(scope="module")
def authority() -> NvidiaAuthority:
    return NvidiaAuthority()


@pytest.fixture(scope="module")
def machine(milan: SnpFirmware, authority: NvidiaAuthority) -> Machine:
    return Machine(
        milan, [TestDevice(authority), TestDevice(authority, "GB100"), TestDevice(authority, "LS_10")]
    )


def test_machine_and_devices_make_one_affirming_token(machine: Machine) -> None:
    result = machine.appraise(machine.request(machine.text(), explain=True))
    claims = decode_unverified(result.token)
    assert result.worst == "affirming"
    assert list(claims["submods"]) == ["cpu0", "gpu0", "gpu1", "switch0"]
    assert {one["ear.status"] for one in claims["submods"].values()} == {"affirming"}
    assert claims["eat_nonce"] == b64url_encode(NONCE)
    devices = claims["touchstone"]["devices"]
    assert [devices[name]["identity"] for name in ("gpu0", "gpu1", "switch0")] == [
        f"nvidia-{kind}:{device.serial:x}"
        for kind, device in zip(("gpu", "gpu", "switch"), machine.devices, strict=True)
    ]
    assert claims["touchstone"]["bound"] == "session"
    assert set(machine_endorsements(result)) <= set(claims["touchstone"]["endorsements"])
    assert session_of(claims).status == "affirming"
    for device in result.devices.values():
        assert device.explanation is not None
        assert device.evidence.bound == "session"


def machine_endorsements(result: Appraisal) -> list[str]:
    return [one for device in result.devices.values() for one in device.evidence.endorsements]


def test_the_token_ends_with_the_first_thing_that_it_rests_on(machine: Machine) -> None:
    appraiser = machine.appraiser()
    appraiser._lifetime = timedelta(days=30)
    result = appraiser.appraise(machine.request(machine.text()), NOW)
    assert decode_unverified(result.token)["exp"] == int((NOW + timedelta(days=1)).timestamp())


def test_without_devices_nothing_changes(machine: Machine) -> None:
    result = machine.appraise(machine.request(None))
    claims = decode_unverified(result.token)
    assert list(claims["submods"]) == ["cpu0"]
    assert "devices" not in claims["touchstone"]
    assert result.worst == result.status == "affirming"


def test_names_follow_the_order_of_the_documents(machine: Machine) -> None:
    turned = machine.devices[::-1]
    separate = ",".join(machine.text(devices=[one])[1:-1] for one in turned)
    result = machine.appraise(machine.request(f"[{separate}]"))
    assert {name: one.evidence.identity for name, one in result.devices.items()} == {
        "switch0": f"nvidia-switch:{machine.devices[2].serial:x}",
        "gpu0": f"nvidia-gpu:{machine.devices[1].serial:x}",
        "gpu1": f"nvidia-gpu:{machine.devices[0].serial:x}",
    }


def test_a_whole_system_has_a_submodule_of_its_own(milan: SnpFirmware, authority: NvidiaAuthority) -> None:
    whole = Machine(milan, system(authority))
    result = whole.appraise(whole.request(whole.text()))
    names = [*(f"gpu{n}" for n in range(8)), *(f"switch{n}" for n in range(4)), "ppcie0"]
    assert list(result.devices) == names
    assert result.worst == "affirming"


# --- bound to one another ---------------------------------------------------------------------------


def test_devices_that_the_machine_does_not_speak_for_are_refused(
    machine: Machine, authority: NvidiaAuthority
) -> None:
    """Relay: genuine devices elsewhere, asked for this session, of which the machine knows nothing."""
    elsewhere = machine.text(devices=[TestDevice(authority)])
    for says in (None, machine.text(), "[]"):
        with pytest.raises(ReportDataMismatch):
            machine.appraise(machine.request(elsewhere, says=says))


def test_devices_cannot_be_left_out_or_their_text_written_otherwise(machine: Machine) -> None:
    text = machine.text()
    for sent in (None, text + " ", json.dumps(json.loads(text), indent=1)):
        with pytest.raises(ReportDataMismatch):
            machine.appraise(machine.request(sent, says=text))


def test_devices_of_another_session_are_refused(machine: Machine) -> None:
    for wrong in (
        device_digest(nonce=bytes(32), tee_pubkey=JWK, audience=AUDIENCE),
        device_digest(nonce=NONCE, tee_pubkey=JWK | {"x": "eQ"}, audience=AUDIENCE),
        device_digest(nonce=NONCE, tee_pubkey=JWK, audience="https://other"),
        binding_digest(nonce=NONCE, tee_pubkey=JWK, audience=AUDIENCE, size=32),
        NONCE,
    ):
        with pytest.raises(ReportDataMismatch):
            machine.appraise(machine.request(machine.text(nonce=wrong)))


def test_one_session_is_appraised_once(machine: Machine) -> None:
    """Abuse case 15: the same evidence twice."""
    appraiser, request = machine.appraiser(), machine.request(machine.text())
    assert appraiser.appraise(request, NOW).worst == "affirming"
    with pytest.raises(NonceUnknown):
        appraiser.appraise(request, NOW)


def test_a_relying_partys_own_report_data_needs_that_of_the_devices(machine: Machine) -> None:
    report_data, device_data = bytes([1] * 64), bytes([2] * 32)
    evidence = machine.firmware.evidence(report_data, measurement=MEASUREMENT)
    request = AppraisalRequest(
        evidence=evidence, report_data=report_data.hex(), devices=machine.text(device_data)
    )
    with pytest.raises(Malformed):
        machine.appraise(request)
    good = msgspec.structs.replace(request, device_report_data=device_data.hex())
    result = machine.appraise(good)
    assert {one.evidence.bound for one in result.every} == {"report-data"}
    for wrong in (bytes(32), device_data[:31], report_data):
        with pytest.raises(TouchstoneError):
            machine.appraise(msgspec.structs.replace(request, device_report_data=wrong.hex()))


def test_what_does_not_go_together_is_refused(machine: Machine) -> None:
    with pytest.raises(Malformed):
        machine.appraise(machine.request(machine.text(), device_report_data="00" * 32))
    with pytest.raises(Malformed):
        machine.appraise(machine.request(None, device_report_data="00" * 32))


# --- one verdict ------------------------------------------------------------------------------------


def test_devices_of_a_machine_that_is_not_affirming_are_not_recognised(machine: Machine) -> None:
    result = machine.appraise(machine.request(machine.text()), {})
    assert result.status != "affirming"
    for device in result.devices.values():
        assert device.trust_vector["instance-identity"] == 97
        assert device.status == "contraindicated"
        assert device.evidence.checks[-1].name == "composite.machine"


def test_one_bad_device_makes_the_whole_bad(
    machine: Machine, authority: NvidiaAuthority, milan: SnpFirmware
) -> None:
    odd = TestDevice(authority, measurements={1: bytes([8] * 48), 4: bytes([9] * 48)})
    mixed = Machine(milan, [*machine.devices, odd])
    mixed.appraiser()
    appraiser = machine.appraiser()  # whose manifests know nothing of the odd one's measurements
    text = mixed.text()
    authority_status = odd.status(at=NOW, lifetime=timedelta(days=1))
    collateral = appraiser._verifiers["nvidia"][0]._collateral  # type: ignore[attr-defined]
    collateral._ocsp += authority_status
    result = appraiser.appraise(machine.request(text), NOW)
    assert result.status == "affirming"
    assert result.devices["gpu2"].status == result.worst == "contraindicated"
    claims = decode_unverified(result.token)
    assert session_of(claims).status == "contraindicated"
    compiled = RegorusEngine().compile(shipped.load(PolicyKind.RELEASE, "default"))
    resource = {"kind": "resource", "id": "a/b/c"}
    refused = compiled.evaluate(msgspec.json.encode({"ear": claims, "resource": resource}))
    assert refused["data.policy.allow"] is False
    del claims["submods"]["gpu2"]
    allowed = compiled.evaluate(msgspec.json.encode({"ear": claims, "resource": resource}))
    assert allowed["data.policy.allow"] is True


def test_a_device_alone_binds_no_session(machine: Machine) -> None:
    wanted = device_digest(nonce=NONCE, tee_pubkey=JWK, audience=AUDIENCE)
    device = machine.devices[0]
    alone = machine.request(None, evidence=device.evidence(wanted))
    with pytest.raises(UnsupportedEvidence):
        machine.appraise(alone)
    with pytest.raises(UnsupportedEvidence):
        machine.appraise(machine.request(machine.text(), evidence=device.evidence(wanted)))
    offered = AppraisalRequest(evidence=device.evidence(NONCE), report_data=NONCE.hex())
    assert machine.appraise(offered).evidence.bound == "report-data"


def test_a_machine_is_no_device(machine: Machine) -> None:
    second = msgspec.json.encode([machine.firmware.evidence(bytes(64))]).decode()
    with pytest.raises(UnsupportedEvidence):
        machine.appraise(machine.request(second))


def test_one_device_that_does_not_hold_ends_it(machine: Machine) -> None:
    document = json.loads(machine.text())
    evidence = document[0]["devices"][1]["evidence"]
    document[0]["devices"][1]["evidence"] = (
        evidence[:-2] + ("A" if evidence[-2] != "A" else "B") + evidence[-1]
    )
    with pytest.raises(TouchstoneError):
        machine.appraise(machine.request(json.dumps(document)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[]",
        "[1]",
        '[{"tee":"nvidia"}]',
        '[{"tee":"other","devices":[]}]',
        "[" * 100,
        "[]" * 2,
    ],
)
def test_texts_that_are_no_documents_are_refused(machine: Machine, text: str) -> None:
    with pytest.raises(InputError):
        machine.appraise(machine.request(text))


def test_documents_are_bounded(machine: Machine) -> None:
    one = machine.text()[1:-1]
    with pytest.raises(Malformed):
        composite.documents(f"[{','.join([one] * 17)}]", EVIDENCE)
    with pytest.raises(InputError):
        composite.documents(" " * (9 << 20), EVIDENCE)


def test_digests_of_machine_and_device_are_of_domains_of_their_own() -> None:
    session = {"nonce": NONCE, "tee_pubkey": JWK, "audience": AUDIENCE}
    digests = {
        binding_digest(**session, size=32),
        binding_digest(**session, devices_digest=devices_digest(""), size=32),
        binding_digest(**session, init_data_digest=devices_digest(""), size=32),
        device_digest(**session),
    }
    assert len(digests) == 4
