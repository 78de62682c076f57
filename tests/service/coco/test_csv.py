"""Hygon CSV through the attestation service: settings, evidence of Confidential Containers, claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.csv_coco import coco_document
from testkit.csv_platform import CsvPlatform, ReportFields
from tests.service.coco.conftest import Kbs, make
from tests.service.coco.documents import request
from tests.service.coco.kbs import claims_of

DATA = bytes(range(64))


def _kbs(folder: Path, platform: CsvPlatform) -> Kbs:
    root = folder / "hrk.cert"
    root.write_bytes(platform.hrk)
    return make(folder, {"profile": "development", "csv": {"extra_anchors": [str(root)]}})


@pytest.mark.parametrize("version", [1, 2])
def test_evidence_of_a_guest_becomes_claims(tmp_path: Path, version: int) -> None:
    platform = CsvPlatform()
    kbs = _kbs(tmp_path, platform)
    document = coco_document(platform, version, ReportFields(report_data=DATA))
    item = {"verification_requests": [request(document, "csv")], "policy_ids": []}
    answer = kbs.http.post("/attestation", json=item)
    assert answer.status_code == 200, answer.data
    claims = claims_of(answer.text)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["csv"]
    assert claims["version"] == str(version)
    assert claims["measure"] == bytes(range(32)).hex()
    assert claims["report_data"] == DATA.hex()
    assert "serial_number" not in claims
    kbs.services.close()


def test_another_root_and_another_serial_number_are_refused(tmp_path: Path) -> None:
    platform, stranger = CsvPlatform(), CsvPlatform(b"other", vendor=b"stranger")
    kbs = _kbs(tmp_path, platform)
    foreign = coco_document(stranger, 2, ReportFields(report_data=DATA))
    odd = coco_document(platform, 2, ReportFields(report_data=DATA))
    odd["serial_number"] = list(b"../../../../etc/x")
    for document, status, code in ((foreign, 422, "endorsement.root"), (odd, 400, "input.malformed")):
        item = {"verification_requests": [request(document, "csv")], "policy_ids": []}
        answer = kbs.http.post("/attestation", json=item)
        problem = answer.json or {}
        assert (answer.status_code, problem.get("code")) == (status, code), answer.data
    kbs.services.close()
