"""Third-party vectors of TDX and SGX, and their mutations: result, error class and claims."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.checks import Checks
from common.encoding import b64url_encode
from common.errors import TouchstoneError
from service.conformance.case_files import CaseFiles
from service.conformance.intel import KINDS
from service.conformance.outcome import Outcome
from service.conformance.runner import cases_of, run
from verifier.errors import CollateralRolledBack, EventLogMismatch
from verifier.intel.endorsements import FixedEndorsements
from verifier.intel.second_opinion import Opinion, sorted_out
from verifier.intel.settings import PlatformSettings
from verifier.intel.verify import QuoteChecker
from verifier.model import Unbound
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier


def _outcomes(manifest: Path) -> list[Outcome]:
    return [outcome for kind in KINDS for outcome in run(manifest, only=kind) if outcome.type == kind]


def test_every_case_agrees_in_result_error_and_claims(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "manifest.json")
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert Counter(outcome.got for outcome in outcomes).keys() == {"pass", "fail"}


def test_every_mutation_is_refused_for_its_reason(vectors: Path) -> None:
    outcomes = _outcomes(vectors / "evidence" / "mutations.json")
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.agree or outcome.got != "fail"] == []


@pytest.mark.parametrize("name", ["manifest.json", "mutations.json"])
def test_dcap_qvl_makes_the_same_of_every_vectors_cryptography(vectors: Path, name: str) -> None:
    """What ours authenticates it confirms, what ours refuses it refuses: policies and levels set apart."""
    library = pytest.importorskip("dcap_qvl")
    manifest = vectors / "evidence" / name
    compared: Counter[Opinion] = Counter()
    for case in cases_of(manifest):
        if case["tee"] not in KINDS or "collateral" not in case["files"]:
            continue
        files = CaseFiles(case, manifest.parent)
        quote, collateral = files.read("evidence"), files.read("collateral")
        now = datetime.fromisoformat(files.case["verification_time"])
        try:
            theirs = library.QuoteCollateralV3.from_json(collateral.decode())
            library.verify(quote, theirs, int(now.timestamp()))
            opinion = Opinion.CONFIRMED
        except ValueError as error:
            opinion = sorted_out(str(error)).opinion
        ours = _authenticates(case["tee"], quote, collateral, now)
        assert ours == (opinion is Opinion.CONFIRMED), case["id"]
        compared[opinion] += 1
    assert compared[Opinion.CONFIRMED]
    assert not compared[Opinion.NONE]
    assert (name == "manifest.json") or compared[Opinion.REFUSED]


def _authenticates(tee: str, quote: bytes, collateral: bytes, now: datetime) -> bool:
    try:
        endorsements = FixedEndorsements.from_json(collateral)
        QuoteChecker(tee, frozenset({3, 4, 5}), PlatformSettings(), endorsements).authenticate(
            quote, now, Checks()
        )
    except TouchstoneError:
        return False
    return True


def _case(vectors: Path, name: str) -> tuple[bytes, FixedEndorsements]:
    folder = vectors / "evidence" / "tdx" / name
    collateral = FixedEndorsements.from_json((folder / "collateral.json").read_bytes())
    return (folder / "quote.dat").read_bytes(), collateral


def test_a_log_that_does_not_replay_is_refused(vectors: Path) -> None:
    """Beside trustee's quote lies the log of another boot."""
    quote, collateral = _case(vectors, "v4-spr-debug-trustee")
    log = (vectors / "evidence" / "tdx" / "v4-spr-debug-trustee" / "ccel_data.dat").read_bytes()
    evidence = TdxEvidence(quote=b64url_encode(quote), event_log=b64url_encode(log))
    with pytest.raises(EventLogMismatch):
        TdxVerifier(TdxSettings(), collateral).verify(
            evidence, Unbound(), None, datetime(2023, 6, 28, tzinfo=UTC)
        )


def test_a_log_that_replays_gives_claims(vectors: Path) -> None:
    quote, collateral = _case(vectors, "v4-cos113-gotdxguest")
    log = (vectors / "evidence" / "tdx" / "v4-cos113-gotdxguest" / "ccel_data.dat").read_bytes()
    evidence = TdxEvidence(quote=b64url_encode(quote), event_log=b64url_encode(log))
    verified = TdxVerifier(TdxSettings(), collateral).verify(
        evidence, Unbound(), None, datetime(2025, 6, 11, 20, tzinfo=UTC)
    )
    assert verified.claims["tdx"]["uefi_event_logs"]
    assert verified.claims["tdx"]["event_log"]["events"] > 0
    assert verified.floors == {"instance-identity": 97}


def test_one_quote_under_the_collateral_of_two_years(vectors: Path) -> None:
    """What was up to date in 2025 is not supported by, or out of date under, later evaluations."""
    quote, collateral = _case(vectors, "v4-emr-dcapqvl")
    checks = Checks()
    now = datetime(2025, 7, 5, tzinfo=UTC)
    checked = TdxVerifier(TdxSettings(), collateral).check_quote(quote, now, checks)
    assert checked.checked.tcb.status == "UpToDate"
    assert checked.checked.identity.startswith("intel-ppid:")
    collateral.note_evaluation("tdx", bytes.fromhex("b0c06f000000"), 18)
    with pytest.raises(CollateralRolledBack):
        TdxVerifier(TdxSettings(), collateral).check_quote(quote, now, Checks())
