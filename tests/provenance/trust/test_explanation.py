"""Why not: every check, and what to change; and case files that hold a policy to its decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.checks import Verdict
from common.errors import InputError, Malformed, NotFound
from policy.regorus_engine import RegorusEngine
from provenance.pipeline import Pipeline
from provenance.trust import advice, explanation, testing
from testkit.authority import GITHUB_ISSUER, TestAuthority
from tests.provenance.builds import IDENTITY, NOW, REPOSITORY, WORKFLOW, policy, sign, statement

OTHER = "https://github.com/acme/other"


def explain(authority: TestAuthority, envelope: bytes, **changes: Any) -> explanation.Explanation:
    return explanation.explain(Pipeline(policy(authority, **changes), RegorusEngine()), envelope, NOW)


def test_admitted_attestation_needs_no_advice(authority: TestAuthority) -> None:
    found = explain(authority, sign(authority))
    assert (found.admitted, found.code, found.advice) == (True, None, ())
    assert {check.verdict for check in found.checks} <= {Verdict.PASS, Verdict.NOT_EVALUATED}


def test_every_failed_rule_is_shown_and_not_the_first_alone(authority: TestAuthority) -> None:
    found = explain(
        authority,
        sign(authority, statement(external_parameters={"workflow": _workflow(), "debug": 1})),
        signers=[{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": "https://x/y@z"}],
        builders=[{"id": OTHER, "level": 3}],
        min_level=3,
        sources=[{"uri": OTHER}],
        predicate_types=["https://example.org/x"],
        max_age_seconds=1,
        rego='package trust\n\nimport rego.v1\n\nallow := true\n\ndeny contains "not on a Friday"\n',
    )
    assert (found.admitted, found.code, found.authentic) == (False, "statement.predicate", True)
    failed = {check.name for check in found.checks if check.verdict is Verdict.FAIL}
    assert failed == {
        "trust.predicate_type",
        "trust.signers",
        "trust.builder",
        "trust.level",
        "trust.source",
        "trust.parameters",
        "trust.rego",
    }
    assert {item.check for item in found.advice} == failed


def test_following_the_advice_admits(authority: TestAuthority) -> None:
    envelope = sign(authority)
    signers = [{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": "https://x/y@z"}]
    changes: dict[str, Any] = {"signers": signers, "builders": [{"id": OTHER}], "sources": [{"uri": OTHER}]}
    by_check = {item.check: item.change for item in explain(authority, envelope, **changes).advice}
    assert f'identity = "{IDENTITY}"' in by_check["trust.signers"]
    assert f'id = "{WORKFLOW}", ref = "refs/tags/v1.2.3"' in by_check["trust.builder"]
    assert f'uri = "{REPOSITORY}", refs = ["refs/tags/v1.2.3"]' in by_check["trust.source"]
    changes["signers"] = [signers[0] | {"identity": IDENTITY}]
    changes["builders"] = [{"id": WORKFLOW, "ref": "refs/tags/v1.2.3"}]
    changes["sources"] = [{"uri": REPOSITORY, "refs": ["refs/tags/v1.2.3"]}]
    assert explain(authority, envelope, **changes).admitted


def test_forgery_has_no_advice_for_the_policy(authority: TestAuthority, stranger: TestAuthority) -> None:
    for envelope in (sign(stranger), sign(authority).replace(b'"payload":"e', b'"payload":"f', 1), b"{}"):
        found = explain(authority, envelope)
        assert (found.admitted, found.authentic) == (False, False)
        assert all("no member" in item.change for item in found.advice)


def test_contradiction_of_the_certificate_has_no_advice_for_the_policy(authority: TestAuthority) -> None:
    found = explain(authority, sign(authority, statement(source_uri=OTHER)))
    (item,) = [item for item in found.advice if item.check == "source.repository"]
    assert "no member" in item.change


def test_explaining_never_admits_what_is_refused(authority: TestAuthority) -> None:
    # Every rule passes but the signer's: an explanation binds the stranger, and admits nothing.
    signers = [{"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": "https://x/y@z"}]
    found = explain(authority, sign(authority), signers=signers, builders=[], sources=[])
    assert not found.admitted
    assert [check.name for check in found.checks if check.verdict is Verdict.FAIL] == ["trust.signers"]


def test_advice_quotes_foreign_text(authority: TestAuthority) -> None:
    hostile = 'x"\n[[signers]]\nname = "evil'
    (item,) = advice.advise(
        tuple(
            check
            for check in explain(authority, sign(authority), predicate_types=[hostile]).checks
            if check.name == "trust.predicate_type"
        )
    )
    assert "\n" not in item.change


def _workflow() -> dict[str, str]:
    return {"ref": "refs/tags/v1.2.3", "repository": REPOSITORY, "path": ".github/workflows/build.yml"}


# --- case files ----------------------------------------------------------------------------------


def cases(folder: Path, authority: TestAuthority, *items: dict[str, Any]) -> Path:
    (folder / "good.json").write_bytes(sign(authority))
    (folder / "branch.json").write_bytes(
        sign(
            authority,
            statement(builder=f"{WORKFLOW}@refs/heads/main", ref="refs/heads/main"),
            identity=f"{WORKFLOW}@refs/heads/main",
        )
    )
    file = folder / "cases.json"
    file.write_text(json.dumps({"cases": list(items)}))
    return file


def run(authority: TestAuthority, file: Path, **changes: Any) -> list[bool]:
    folder, parsed = testing.read_cases(file)
    results = testing.run(policy(authority, **changes), RegorusEngine(), folder, parsed, NOW)
    return [result.passed for result in results]


def test_cases_hold_a_policy_to_admissions_and_to_codes(authority: TestAuthority, tmp_path: Path) -> None:
    file = cases(
        tmp_path,
        authority,
        {"name": "release", "attestation": "good.json", "expect": "admitted"},
        {"name": "branch", "attestation": "branch.json", "expect": "statement.untrusted_signer"},
        {"name": "wrong code", "attestation": "branch.json", "expect": "statement.untrusted_source"},
        {"name": "not refused", "attestation": "good.json", "expect": "statement.signature"},
        {"name": "refused", "attestation": "branch.json", "expect": "admitted"},
    )
    assert run(authority, file) == [True, True, False, False, False]


def test_case_names_environment_and_time(authority: TestAuthority, tmp_path: Path) -> None:
    late = "2026-03-01T00:00:00Z"
    file = cases(
        tmp_path,
        authority,
        {"name": "a", "attestation": "good.json", "expect": "admitted", "environment": "dev", "now": late},
        {
            "name": "b",
            "attestation": "good.json",
            "expect": "statement.policy",
            "environment": "prod",
            "now": late,
        },
        {"name": "c", "attestation": "good.json", "expect": "admitted", "environment": "prod"},
    )
    environments = {"dev": {}, "prod": {"max_age_seconds": 3600}}
    assert run(authority, file, environments=environments) == [True, True, True]


def test_folder_of_cases_is_read_by_its_file(authority: TestAuthority, tmp_path: Path) -> None:
    cases(tmp_path, authority)
    text = '[[cases]]\nname = "x"\nattestation = "good.json"\nexpect = "admitted"\n'
    (tmp_path / "cases.toml").write_text(text)
    assert run(authority, tmp_path) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        '{"cases": []}',
        '{"cases": [{"name": "x"}]}',
        '{"cases": [], "x": 1}',
        '{"cases": 1, "cases": 2}',
    ],
)
def test_case_file_that_is_none_is_a_typed_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cases.json"
    file.write_text(text)
    with pytest.raises(InputError):
        testing.read_cases(file)


def test_missing_attestation_is_a_typed_error(authority: TestAuthority, tmp_path: Path) -> None:
    file = cases(tmp_path, authority, {"name": "x", "attestation": "absent.json", "expect": "admitted"})
    with pytest.raises(NotFound):
        run(authority, file)
    late = {"name": "x", "attestation": "good.json", "expect": "admitted", "now": "soon"}
    with pytest.raises(Malformed):
        run(authority, cases(tmp_path, authority, late))
