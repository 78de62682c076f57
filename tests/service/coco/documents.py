"""Requests of the attestation-service API, made of test firmware's or genuine evidence."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import snp_report_json
from common.encoding import b64url_encode
from testkit.snp_firmware import SnpFirmware

GENOA_TIME = datetime(2025, 6, 19, 18, 31, 36, tzinfo=UTC)
ALLOW_ALL = (
    "package policy\nimport rego.v1\n"
    'trust_claims := {"executables": 3, "hardware": 2, "configuration": 2}\n'
)


def snp_document(report: bytes, certificates: Mapping[str, bytes]) -> dict[str, Any]:
    """As guests of Confidential Containers send it."""
    return {
        "attestation_report": snp_report_json.to_json(report),
        "cert_chain": [{"cert_type": kind, "data": list(der)} for kind, der in certificates.items()],
    }


def firmware_document(
    firmware: SnpFirmware, report_data: bytes = bytes(64), **fields: Any
) -> dict[str, Any]:
    return snp_document(firmware.report(report_data, **fields), firmware.certificates())


def genoa_document(vectors: Path) -> dict[str, Any]:
    """Evidence of genuine hardware."""
    folder = vectors / "evidence" / "snp" / "genoa-vcek-v3-veraison"
    return snp_document((folder / "report.bin").read_bytes(), {"VCEK": (folder / "vcek.der").read_bytes()})


def encoded(document: Any) -> str:
    return b64url_encode(json.dumps(document).encode())


def request(document: Any, tee: str = "snp", **members: Any) -> dict[str, Any]:
    return {"tee": tee, "evidence": encoded(document)} | members


def claims_of(token: str) -> dict[str, Any]:
    """Payload, unverified: what the test asserts on."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
