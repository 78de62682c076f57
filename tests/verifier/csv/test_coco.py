"""Evidence as Confidential Containers sends it: bytes rebuilt from JSON, nothing else accepted."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64_encode, b64url_decode
from common.errors import Malformed, TooLarge
from testkit.csv_coco import coco_document
from testkit.csv_platform import SERIAL_NUMBER, CsvPlatform
from tests.verifier.csv.conftest import NOW
from verifier.csv.coco import CsvCocoForm
from verifier.csv.coco_json import CSV_CERTIFICATE, to_bytes
from verifier.csv.verifier import CsvVerifier
from verifier.model import Unbound

_FORM = CsvCocoForm()


@pytest.fixture(scope="module")
def document(platform: CsvPlatform) -> dict[str, Any]:
    return coco_document(platform, 2)


@pytest.mark.parametrize("version", [1, 2])
def test_the_bytes_are_rebuilt_and_verify(
    verifier: CsvVerifier, platform: CsvPlatform, version: int
) -> None:
    evidence = _FORM.evidence_of(coco_document(platform, version))
    assert evidence.version == version
    assert b64url_decode(evidence.hsk_cek or "") == platform.hsk_cek
    assert b64url_decode(evidence.pek or "") == platform.pek
    verified = verifier.verify(evidence, Unbound(), None, NOW)
    claims = _FORM.claims_of(verified)
    assert claims["csv"]["report_data"] == claims["report_data"]
    assert "serial_number" not in claims["csv"]
    assert SERIAL_NUMBER not in json.dumps(claims)


def test_version_1_may_come_in_the_extended_form(platform: CsvPlatform) -> None:
    document = coco_document(platform, 1)
    document["attestation_report"]["magic"] = list(b"ATTESTATION_EXT\0")
    assert _FORM.evidence_of(document).version == 1


def test_real_evidence_is_rebuilt_to_the_report_in_it(vectors: Path) -> None:
    path = vectors / "evidence" / "csv" / "trustee-evidence-v1" / "evidence.json"
    document = json.loads(path.read_bytes())
    evidence = _FORM.evidence_of(document)
    report = b64url_decode(evidence.report)
    assert report[0x150 : 0x150 + 2084] == b64url_decode(evidence.pek or "")
    assert evidence.serial_number == "KPA64911240507"
    assert evidence.hsk_cek is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["attestation_report", "magic"], [1] * 16),
        (["attestation_report", "magic"], [0] * 15),
        (["attestation_report", "flags"], 2),
        (["attestation_report", "flags"], "1"),
        (["attestation_report", "data"], [0] * 4095),
        (["attestation_report", "data"], [256] * 4096),
        (["attestation_report", "data"], [-1] * 4096),
        (["attestation_report", "data"], [True] * 4096),
        (["attestation_report", "data"], ["0"] * 4096),
        (["attestation_report", "data"], [0.0] * 4096),
        (["attestation_report", "data"], "AAAA"),
        (["attestation_report", "more"], 1),
        (["cert_chain", "pek", "body", "ver"], 1 << 32),
        (["cert_chain", "pek", "body", "ver"], -1),
        (["cert_chain", "pek", "body", "ver"], True),
        (["cert_chain", "pek", "body", "more"], 1),
        (["cert_chain", "pek", "body", "data", "user_id"], []),
        (["cert_chain", "pek", "sigs"], []),
        (["cert_chain", "pek", "sigs"], {}),
        (["cert_chain", "pek"], []),
        (["cert_chain", "hsk_cek", "hsk"], {}),
        (["cert_chain", "hsk_cek", "hsk", "signature", "r"], [0] * 71),
        (["cert_chain", "hsk_cek", "cek"], None),
        (["cert_chain"], None),
        (["serial_number"], [65] * 65),
        (["serial_number"], []),
        (["serial_number"], [0] * 64),
        (["serial_number"], [300]),
        (["serial_number"], list(b"../../../../etc/x")),
        (["serial_number"], list(b"a&b=c")),
        (["serial_number"], list(b"A\0B")),
        (["serial_number"], list(b"ABC\n")),
        (["cc_eventlog"], 5),
        (["cc_eventlog"], "***"),
        (["cc_eventlog"], "AA=="[:3]),
    ],
)
def test_anything_else_is_malformed(document: dict[str, Any], path: list[str], value: object) -> None:
    changed = copy.deepcopy(document)
    parent = changed
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    with pytest.raises(Malformed):
        _FORM.evidence_of(changed)


def test_an_event_log_has_a_limit(document: dict[str, Any]) -> None:
    with pytest.raises(TooLarge):
        _FORM.evidence_of(document | {"cc_eventlog": "A" * 6_000_000})
    assert _FORM.evidence_of(document | {"cc_eventlog": b64_encode(b"log")}).event_log == "bG9n"


@pytest.mark.parametrize("value", [None, [], "x", 1, {}])
def test_other_documents_are_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        _FORM.evidence_of(value)
    with pytest.raises(Malformed):
        to_bytes(value, CSV_CERTIFICATE, "x")
