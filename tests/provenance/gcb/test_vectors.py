"""Google's own documents, as the public verifier's suite holds them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from provenance import trust
from provenance.errors import ImageSummaryMismatch, StatementSignatureInvalid, TextMismatch
from provenance.pipeline import Pipeline
from service.conformance.provenance import run_case
from tests.provenance.gcb.cloud_build import BUILDER, V01, V1

NOW = datetime(2026, 1, 2, tzinfo=UTC)
# The builds' registry location differs from the key's, so a limit must be on the key's.
LOCATIONS = {"v0.2": "global", "v0.3": "us-west2"}


def cases(vectors: Path, kind: str) -> list[dict[str, Any]]:
    manifest = json.loads((vectors / "provenance" / "manifest.json").read_text())
    return [case for case in manifest if case["type"] == kind]


@pytest.mark.parametrize(
    ("kind", "count", "passing"),
    [("google-cloud-build-provenance(DSSE, Google KMS key)", 87, 9), ("slsa-vsa-dsse-key", 4, 1)],
)
def test_every_case_agrees_with_the_public_verifier(
    vectors: Path, kind: str, count: int, passing: int
) -> None:
    outcomes = [run_case(case, vectors / "provenance", NOW) for case in cases(vectors, kind)]
    assert [item.id for item in outcomes if item.agree is not True] == []
    assert (len(outcomes), sum(item.got == "pass" for item in outcomes)) == (count, passing)


def policy(**root: Any) -> trust.TrustPolicy:
    document = {
        "version": 1,
        "name": "google",
        "predicate_types": [V01, V1],
        "roots": [{"name": "google", "kind": "google-cloud-build", **root}],
        "signers": [{"name": "google", "root": "google"}],
        "builders": [{"id": BUILDER}],
        "sources": [{"uri": "https://github.com/laurentsimon/gcb-tests"}],
    }
    return trust.parse(json.dumps(document).encode())


@pytest.mark.parametrize(("version", "location"), LOCATIONS.items())
def test_the_key_is_of_the_location_that_signed(vectors: Path, version: str, location: str) -> None:
    folder = vectors / "provenance" / "gcb" / version
    document = (folder / "gcloud-container-multiple-signatures-2ndvalid.json").read_bytes()
    assert Pipeline(policy(locations=[location])).admit(document, NOW).builder == f"{BUILDER}@{version}"
    with pytest.raises(Exception, match="not the trust policy's") as refused:
        Pipeline(policy(locations=["us-east1"])).admit(document, NOW)
    assert getattr(refused.value, "code", None) == "statement.untrusted_signer"


def test_refusals_of_googles_documents_have_the_code_of_what_was_altered(vectors: Path) -> None:
    folder = vectors / "provenance" / "gcb" / "v0.3"
    for name, error in (
        ("mismatch-payload-digest", StatementSignatureInvalid),
        ("mismatch-text-digest", TextMismatch),
        ("mismatch-text-steps", TextMismatch),
        ("mismatch-metadata-kind", ImageSummaryMismatch),
        ("mismatch-metadata-urisha256", ImageSummaryMismatch),
    ):
        with pytest.raises(error):
            Pipeline(policy()).admit((folder / f"gcloud-container-{name}.json").read_bytes(), NOW)
