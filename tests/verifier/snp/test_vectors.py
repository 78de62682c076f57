"""Third-party vectors: real hardware of three products, their mutations, and the canary on serial 0."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from cryptography import x509

from service.conformance.outcome import Outcome
from service.conformance.runner import run
from testkit.snp_firmware import SnpFirmware


def _outcomes(manifest: Path) -> list[Outcome]:
    return [outcome for outcome in run(manifest, only="snp") if outcome.type in ("snp", "snp-synthetic")]


def test_every_case_agrees_in_result_error_and_claims(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "manifest.json")
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert Counter(outcome.got for outcome in outcomes).keys() == {"pass", "fail"}


def test_every_mutation_is_refused_for_its_reason(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "mutations.json")
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.agree or outcome.got != "fail"] == []


def test_the_library_still_reads_real_leaves_with_serial_number_0(vectors: Path) -> None:
    """Canary: when this fails, the bound on ``cryptography`` was lifted too far (docs/limitations.md)."""
    leaves = sorted((vectors / "evidence" / "snp").glob("*/v[cl]ek.der"))
    assert leaves
    for path in leaves:
        assert x509.load_der_x509_certificate(path.read_bytes()).serial_number == 0


def test_the_library_still_reads_a_made_leaf_with_serial_number_0(milan: SnpFirmware) -> None:
    """The same canary where there are no vectors."""
    with pytest.warns(Warning, match="serial number which wasn't positive"):
        assert x509.load_der_x509_certificate(milan.leaf()).serial_number == 0
