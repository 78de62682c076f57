"""docs/trust-policy.md says what the code does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from common.errors import StatementError, registry
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine
from provenance import trust
from provenance.keys import ALGORITHMS
from provenance.predicates.slsa import BuildFacts
from provenance.trust import testing
from provenance.trust.model import EXCEPTABLE, Environment, TrustDocument
from testkit.authority import TestKey

DOCUMENT = (Path(__file__).parents[3] / "docs" / "trust-policy.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)


def test_every_refusal_code_of_statements_is_documented() -> None:
    codes = {code for code, kind in registry().items() if issubclass(kind, StatementError)}
    assert codes == {code for code in codes if f"| `{code}` |" in DOCUMENT}
    documented = set(re.findall(r"`(statement\.[a-z_]+)`", DOCUMENT))
    assert documented <= codes


def test_every_member_algorithm_and_fact_is_documented() -> None:
    names = {*TrustDocument.__struct_fields__, *ALGORITHMS, *BuildFacts.__struct_fields__}
    assert {name for name in names if f"`{name}`" not in DOCUMENT} == set()


def test_the_example_is_a_policy(tmp_path: Path) -> None:
    example = EXAMPLES[0]
    path = tmp_path / "trust.toml"
    path.write_text(example)
    assert trust.load_file(path).name == "release-images"


@pytest.mark.parametrize("fragment", [text for text in EXAMPLES[1:] if "[[cases]]" not in text])
def test_the_fragments_are_parts_of_a_policy(fragment: str) -> None:
    document = tomllib.loads(EXAMPLES[0]) | tomllib.loads(fragment)
    document["roots"].append(TestKey().root("rebuilder-key"))
    document["builders"] = [{"id": "https://builder.example/v1", "level": 3}]
    assert trust.parse(json.dumps(document).encode()).document


@pytest.mark.parametrize("rego", re.findall(r"```rego\n(.*?)```", DOCUMENT, re.DOTALL))
def test_the_rego_is_accepted(rego: str) -> None:
    RegorusEngine().compile(PolicySource(PolicyKind.TRUST, rego))


def test_the_cases_are_cases(tmp_path: Path) -> None:
    (cases,) = (text for text in EXAMPLES if "[[cases]]" in text)
    (tmp_path / "cases.toml").write_text(cases)
    assert len(testing.read_cases(tmp_path)[1]) == 2


def test_every_rule_that_an_exception_can_lift_is_documented() -> None:
    section = DOCUMENT[DOCUMENT.index("## Exceptions") : DOCUMENT.index("## Signed policies")]
    assert set(re.findall(r"`(trust\.[a-z_]+)`", section)) - {"trust.exception"} == set(EXCEPTABLE)


def test_every_member_of_an_environment_is_documented() -> None:
    section = DOCUMENT[DOCUMENT.index("## Environments") : DOCUMENT.index("## Exceptions")]
    assert {name for name in Environment.__struct_fields__ if f"`{name}`" not in section} == set()
