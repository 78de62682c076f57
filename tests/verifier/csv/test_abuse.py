"""Abuse cases of the specification that concern CSV, by their numbers (docs/abuse-cases.md)."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from common.encoding import b64url_decode, b64url_encode
from common.errors import Malformed, TouchstoneError
from policy.claims import apply_floors, status
from testkit.csv_platform import POLICY, SERIAL_NUMBER, CsvPlatform, ReportFields
from tests.verifier.csv.conftest import NOW
from verifier.csv.endorsements import FixedEndorsements
from verifier.csv.evidence import CsvEvidence
from verifier.csv.settings import CsvSettings
from verifier.csv.verifier import CsvVerifier
from verifier.errors import CertificateInvalid, ReportDataMismatch, RootUntrusted, SignatureInvalid
from verifier.model import InitDataClaim, ReportDataBinding, SessionBinding

DATA = bytes(range(64))
KEY = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}
# What a policy says that affirms whatever it sees.
LENIENT = {"hardware": 2, "executables": 3, "configuration": 2, "runtime-opaque": 2, "instance-identity": 2}


def _evidence(platform: CsvPlatform, version: int = 2, **fields: object) -> CsvEvidence:
    said = msgspec.structs.replace(ReportFields(report_data=DATA), **fields)
    return platform.evidence(version, said)


def _replaced(evidence: CsvEvidence, offset: int, new: bytes) -> CsvEvidence:
    report = bytearray(b64url_decode(evidence.report))
    report[offset : offset + len(new)] = new
    return msgspec.structs.replace(evidence, report=b64url_encode(bytes(report)))


@pytest.mark.parametrize("version", [1, 2])
def test_case_8_a_cek_of_another_chip_vouches_for_nothing(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    other = CsvPlatform(b"another chip")
    evidence = msgspec.structs.replace(_evidence(platform, version), hsk_cek=b64url_encode(other.hsk_cek))
    with pytest.raises(CertificateInvalid):
        verifier.verify(evidence, ReportDataBinding(DATA), None, NOW)


@pytest.mark.parametrize("version", [1, 2])
def test_case_9_a_root_of_ones_own_is_not_trusted(
    verifier: CsvVerifier, stranger: CsvPlatform, version: int
) -> None:
    with pytest.raises(RootUntrusted):
        verifier.verify(_evidence(stranger, version), ReportDataBinding(DATA), None, NOW)


def test_case_9_a_pek_of_ones_own_in_the_report_is_not_trusted(
    verifier: CsvVerifier, platform: CsvPlatform, stranger: CsvPlatform
) -> None:
    """The report verifies under the PEK in it; the chain does not reach that PEK."""
    evidence = msgspec.structs.replace(_evidence(stranger, 2), hsk_cek=b64url_encode(platform.hsk_cek))
    with pytest.raises(CertificateInvalid):
        verifier.verify(evidence, ReportDataBinding(DATA), None, NOW)


def test_case_11_what_no_version_has_is_refused(verifier: CsvVerifier, platform: CsvPlatform) -> None:
    odd = msgspec.structs.replace(_evidence(platform, 2), version=3)
    with pytest.raises(Malformed):
        verifier.verify(odd, ReportDataBinding(DATA), None, NOW)
    with pytest.raises(Malformed):
        verifier.verify(_replaced(_evidence(platform, 2), 4090, b"\1"), ReportDataBinding(DATA), None, NOW)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        CsvSettings(),
        CsvSettings(permit_key_sharing=True, permit_send=True, permit_asid_reuse=True, require_es=False),
    ],
)
def test_case_12_debug_is_a_floor_that_no_setting_and_no_policy_lifts(
    platform: CsvPlatform, settings: CsvSettings, version: int
) -> None:
    lenient = CsvVerifier(settings, FixedEndorsements(), extra_anchors=[platform.hrk])
    evidence = _evidence(platform, version, policy=POLICY & ~1)
    verified = lenient.verify(evidence, ReportDataBinding(DATA), None, NOW)
    vector = apply_floors(LENIENT, verified.floors)
    assert (vector["configuration"], vector["runtime-opaque"]) == (96, 96)
    assert status(vector) == "contraindicated"


def test_case_13_a_guest_that_may_be_sent_elsewhere_is_denied_by_default(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    evidence = _evidence(platform, policy=POLICY & ~8)
    verified = verifier.verify(evidence, ReportDataBinding(DATA), None, NOW)
    assert status(apply_floors(LENIENT, verified.floors)) == "contraindicated"


@pytest.mark.parametrize("wanted", [b"", DATA[:-1], DATA + b"\0"])
def test_case_14_expectations_of_another_length_are_refused(
    verifier: CsvVerifier, platform: CsvPlatform, wanted: bytes
) -> None:
    with pytest.raises(Malformed):
        verifier.verify(_evidence(platform), ReportDataBinding(wanted), None, NOW)


@pytest.mark.parametrize("held", [bytes(64), DATA[:32] + bytes(32), bytes(32) + DATA[32:]])
def test_case_14_half_of_the_report_data_is_not_enough(
    verifier: CsvVerifier, platform: CsvPlatform, held: bytes
) -> None:
    with pytest.raises(ReportDataMismatch):
        verifier.verify(_evidence(platform, report_data=held), ReportDataBinding(DATA), None, NOW)


def test_case_16_evidence_for_another_key_or_audience_is_refused(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    from verifier.binding import expected_report_data

    ours = SessionBinding(nonce=b"n" * 32, tee_pubkey=KEY, audience="us")
    wanted = expected_report_data(ours, None, 64)
    assert wanted is not None
    evidence = _evidence(platform, report_data=wanted)
    assert verifier.verify(evidence, ours, None, NOW).tee_pubkey == KEY
    others = (
        msgspec.structs.replace(ours, tee_pubkey=KEY | {"x": "B" * 42 + "A"}),
        msgspec.structs.replace(ours, audience="them"),
        msgspec.structs.replace(ours, nonce=b"m" * 32),
    )
    for other in others:
        with pytest.raises(ReportDataMismatch):
            verifier.verify(evidence, other, None, NOW)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "serial",
    [
        b"../../../../etc/x",
        b"a&b=c",
        b"A\0B",
        b"",
        b"ABC\n",
        b"a/b",
        b"\xc3\xa9",
        b"A" * 63 + b"\x7f",
        b"\0A",
    ],
)
def test_case_29_a_serial_number_of_another_form_is_looked_up_nowhere(
    platform: CsvPlatform, version: int, serial: bytes
) -> None:
    class Watched:
        asked: list[str]

        def __init__(self) -> None:
            self.asked = []

        def hsk_cek(self, serial_number: str, now: object) -> None:
            self.asked.append(serial_number)

    store = Watched()
    watched = CsvVerifier(CsvSettings(), store, extra_anchors=[platform.hrk])
    offset = (0x150 if version == 1 else 0x490) + 2084
    evidence = _replaced(platform.evidence(version, endorsed=False), offset, serial.ljust(64, b"\0"))
    with pytest.raises(Malformed):
        watched.verify(evidence, ReportDataBinding(bytes(64)), None, NOW)
    assert store.asked == []


@pytest.mark.parametrize("version", [1, 2])
def test_case_29_a_serial_number_proves_nothing(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    """It is not signed: another one changes neither identity nor claims."""
    offset = (0x150 if version == 1 else 0x490) + 2084
    good = _evidence(platform, version)
    renamed = _replaced(good, offset, b"SOMEBODY-ELSE".ljust(64, b"\0"))
    first, second = (
        verifier.verify(evidence, ReportDataBinding(DATA), None, NOW) for evidence in (good, renamed)
    )
    assert (first.identity, first.claims) == (second.identity, second.claims)
    assert SERIAL_NUMBER not in str(first.claims)


@pytest.mark.parametrize("fitted", [False, True])
def test_case_30_init_data_is_dropped_and_said_to_be_unsupported(
    verifier: CsvVerifier, platform: CsvPlatform, fitted: bool
) -> None:
    claim = InitDataClaim(digest=hashlib.sha256(b"policy").digest(), data=b"policy", fitted=fitted)
    verified = verifier.verify(_evidence(platform), ReportDataBinding(DATA), claim, NOW)
    assert verified.init_data == "unsupported"
    assert claim.digest.hex() not in str(verified.claims)
    assert apply_floors(LENIENT, verified.floors)["configuration"] == 36
    assert "csv.init_data" in {check.name for check in verified.checks}


@pytest.mark.parametrize("version", [1, 2])
def test_a_signature_of_zeros_or_of_another_report_is_none(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    offset = 0xC0 if version == 1 else 0x400
    good, other = _evidence(platform, version), _evidence(platform, version, vm_id=b"other VM 16 byte")
    signature = b64url_decode(other.report)[offset : offset + 144]
    for new in (bytes(144), b"\xff" * 144, signature):
        with pytest.raises(SignatureInvalid):
            verifier.verify(_replaced(good, offset, new), ReportDataBinding(DATA), None, NOW)


def test_a_number_above_its_32_bytes_is_no_second_spelling(
    verifier: CsvVerifier, platform: CsvPlatform
) -> None:
    for offset in (0x400 + 32, 0x400 + 71, 0x400 + 72 + 32):
        with pytest.raises(SignatureInvalid):
            verifier.verify(
                _replaced(_evidence(platform), offset, b"\1"), ReportDataBinding(DATA), None, NOW
            )
    for offset in (0x490 + 0x14 + 32, 0x490 + 0x14 + 72 + 40):
        with pytest.raises(TouchstoneError):
            verifier.verify(
                _replaced(_evidence(platform), offset, b"\1"), ReportDataBinding(DATA), None, NOW
            )
