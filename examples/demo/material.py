"""Real input where it is at hand, made on the spot otherwise; each step says which.

Third-party vectors are read from ``TOUCHSTONE_VECTORS`` or ``../shared/vectors`` and never stored here.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from common.encoding import b64url_encode
from wire.evidence import SnpCertificate, SnpEvidence

ROOT = Path(__file__).resolve().parent.parent.parent


class SnpCase(msgspec.Struct):
    """One real SNP report with its certificates and the instant at which it is judged."""

    id: str
    evidence: SnpEvidence
    at: datetime
    report_data: str
    measurement: str


def vectors() -> Path | None:
    """The folder of third-party vectors, if there is one."""
    folder = Path(os.environ.get("TOUCHSTONE_VECTORS", ROOT.parent / "shared" / "vectors"))
    return folder if (folder / "evidence" / "manifest.json").is_file() else None


def snp_case(folder: Path, name: str) -> SnpCase:
    """A case of the evidence manifest by its id."""
    manifest: dict[str, Any] = json.loads((folder / "evidence" / "manifest.json").read_bytes())
    case = next(entry for entry in manifest["cases"] if entry["id"] == name)
    files = {role: (folder / "evidence" / path).read_bytes() for role, path in case["files"].items()}
    claims = case["expect"]["claims"]
    leaf = "VLEK" if claims["signing_key"] == "VLEK" else "VCEK"
    return SnpCase(
        id=name,
        evidence=SnpEvidence(
            report=b64url_encode(files["evidence"]),
            certificates=(SnpCertificate(type=leaf, data=b64url_encode(files["leaf"])),),
        ),
        at=datetime.fromisoformat(case["verification_time"]),
        report_data=claims["report_data"],
        measurement=claims["measurement"],
    )
