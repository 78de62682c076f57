"""``verifier.verify`` as others use it: bytes in, verified evidence or a typed error out."""

from __future__ import annotations

import msgspec
import pytest

import verifier
from common.errors import Malformed
from testkit.snp_firmware import SnpFirmware, evidence_of
from tests.verifier.snp.conftest import NOW
from verifier.errors import ReportDataMismatch, SignatureInvalid
from verifier.tee import Inspection

DATA = bytes(range(64))


@pytest.fixture(scope="module")
def firmware() -> SnpFirmware:
    return SnpFirmware()


def test_a_document_is_verified_from_its_bytes_alone(firmware: SnpFirmware) -> None:
    document = msgspec.json.encode(firmware.evidence(DATA))
    given = Inspection(now=NOW, report_data=DATA, anchors=(firmware.ark,))
    verified = verifier.verify(document, given)
    assert (verified.tee, verified.bound) == ("snp", "report-data")
    assert verified.claims["common"]["debug"] is False
    assert verified.checks == verifier.verify(firmware.evidence(DATA), given).checks


def test_another_expectation_is_refused(firmware: SnpFirmware) -> None:
    given = Inspection(now=NOW, report_data=bytes([1]) * 64, anchors=(firmware.ark,))
    with pytest.raises(ReportDataMismatch) as caught:
        verifier.verify(firmware.evidence(DATA), given)
    assert caught.value.checks[-1].name == "snp.report_data"


def test_an_altered_report_is_refused(firmware: SnpFirmware) -> None:
    altered = bytearray(firmware.report(DATA))
    altered[0x90] ^= 1
    evidence = evidence_of(bytes(altered), firmware.certificates())
    with pytest.raises(SignatureInvalid):
        verifier.verify(evidence, Inspection(now=NOW, anchors=(firmware.ark,)))


def test_what_is_no_evidence_is_malformed(firmware: SnpFirmware) -> None:
    with pytest.raises(Malformed):
        verifier.verify(b"nothing of the kind", Inspection(now=NOW))
