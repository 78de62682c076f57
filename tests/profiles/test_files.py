"""The files of every profile: accepted without a warning, complete, and as the document says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import PolicyError
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from policy.testing import parse_cases, run
from provenance import trust
from provenance.derivation import rules
from service import settings
from service.cli import cli
from service.profile import insecure_switches
from service.publishing import read_requests
from tests.profiles.world import NAMES, PROFILES, toml
from verifier.snp.section import snp_settings
from verifier.snp.settings import AMD_SB_3019

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "profiles.md"
FILES = {"appraisal.rego", "cases.toml", "settings.toml", "trust.toml"}
_EVERY = pytest.mark.parametrize("profile", NAMES)
# Of each profile: the names that its derivation requests give values of.
DERIVED = {
    "kata-csv": {"csv_measure"},
    "kata-snp": {"snp_launch_measurement", "snp_host_data"},
    "kata-tdx": {"mr_td", "rtmr_0", "rtmr_1", "rtmr_2", "tdx_mr_config_id"},
    "sgx-gramine": {"sgx_mr_enclave", "sgx_mr_signer", "sgx_isv_prod_id", "sgx_isv_svn"},
    "sgx-inclavare": {
        "sgx_mr_enclave", "sgx_mr_signer", "sgx_isv_prod_id", "sgx_isv_svn", "sgx_config_id",
    },
    "sgx-occlum": {
        "sgx_mr_enclave", "sgx_mr_signer", "sgx_isv_prod_id", "sgx_isv_svn", "sgx_isv_family_id",
        "sgx_isv_ext_prod_id",
    },
}  # fmt: skip


def _text(profile: str, name: str) -> str:
    return (PROFILES / profile / name).read_text(encoding="utf-8")


def test_there_are_these_profiles_and_no_others() -> None:
    assert sorted(path.name for path in PROFILES.iterdir()) == sorted(NAMES)


@_EVERY
def test_every_file_is_there(profile: str) -> None:
    names = {path.name for path in (PROFILES / profile).iterdir()}
    assert names >= FILES
    extra = names - FILES
    assert extra
    assert all(re.fullmatch(r"derive-[a-z-]+\.json", name) for name in extra)


@_EVERY
@pytest.mark.parametrize(("name", "kind"), [("appraisal.rego", "appraisal"), ("trust.toml", "trust")])
def test_policies_are_accepted_without_a_warning(profile: str, name: str, kind: str) -> None:
    result = CliRunner().invoke(cli, ["policy", "check", str(PROFILES / profile / name), "--kind", kind])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output.lower()


@_EVERY
def test_the_cases_pass_and_say_what_is_refused(profile: str) -> None:
    folder = PROFILES / profile
    policy, cases = str(folder / "appraisal.rego"), folder / "cases.toml"
    result = CliRunner().invoke(cli, ["policy", "test", policy, "--cases", str(cases)])
    assert result.exit_code == 0, result.output
    assert "0 failed" in result.output
    assert len(toml(profile, "cases.toml")["cases"]) >= 9


@_EVERY
def test_every_condition_of_a_policy_is_held_by_a_case(profile: str) -> None:
    engine, lines = RegorusEngine(), _text(profile, "appraisal.rego").split("\n")
    cases = parse_cases((PROFILES / profile / "cases.toml").read_bytes())
    tried = 0
    for number, line in enumerate(lines):
        # Conditions and members of sets; members of trust_claims are text.
        if not line.startswith("\t") or line.startswith('\t"'):
            continue
        without = "\n".join(lines[:number] + lines[number + 1 :])
        try:
            policy = engine.compile(PolicySource(PolicyKind.APPRAISAL, without))
        except PolicyError:
            continue  # the end of something that spans several lines
        tried += 1
        passed = [result.name for result in run(policy, cases) if result.passed]
        assert len(passed) < len(cases), f"line {number + 1} can be left out: {line.strip()}"
    assert tried >= 14


@_EVERY
def test_a_policy_asks_for_what_the_profile_derives_and_nothing_else(profile: str) -> None:
    source = PolicySource(PolicyKind.APPRAISAL, _text(profile, "appraisal.rego"))
    assert RegorusEngine().compile(source).reference_names == DERIVED[profile]


@_EVERY
def test_derivations_are_by_known_rules_and_of_one_group(profile: str) -> None:
    known = {rule.name for rule in rules()}
    requests = [
        request
        for path in sorted((PROFILES / profile).glob("derive-*.json"))
        for request in read_requests(path)
    ]
    assert {request.rule for request in requests} <= known
    assert len({request.group for request in requests}) == 1
    assert requests[0].group is not None


@_EVERY
def test_the_trust_policy_names_signer_builder_source_and_level(profile: str) -> None:
    document = trust.load_file(PROFILES / profile / "trust.toml").document
    assert document.name == profile
    assert len(document.predicate_types) == 1
    assert document.min_level == 2
    assert document.max_age_seconds is not None
    assert not document.allow_self_hosted
    (source,) = document.sources
    (builder,) = document.builders
    (signer,) = document.signers
    assert builder.id == f"{source.uri}/.github/workflows/release.yml"
    assert signer.identity == f"{builder.id}@refs/tags/*"


@_EVERY
def test_settings_are_those_of_a_production_server_without_an_insecure_switch(profile: str) -> None:
    made = settings.build(toml(profile, "settings.toml"))
    assert made.profile == "production"
    assert made.policy.appraisal == profile
    assert list(insecure_switches(made)) == []


def test_the_floors_of_snp_are_those_of_the_bulletin() -> None:
    made = settings.build(toml("kata-snp", "settings.toml"))
    assert snp_settings(made.tee_section("snp")).tcb_floors == AMD_SB_3019  # type: ignore[arg-type]


@_EVERY
def test_the_document_names_every_reference_value(profile: str) -> None:
    _, _, section = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {profile}\n")
    section = section.partition("\n## ")[0]
    assert section
    for name in DERIVED[profile]:
        assert f"`{name}`" in section
    for path in (PROFILES / profile).glob("derive-*.json"):
        assert path.name in section
