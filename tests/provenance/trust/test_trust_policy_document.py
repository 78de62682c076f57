"""docs/trust-policy.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from common.errors import StatementError, registry
from provenance import trust
from provenance.keys import ALGORITHMS
from provenance.predicates.slsa import BuildFacts
from provenance.trust.model import TrustDocument

DOCUMENT = (Path(__file__).parents[3] / "docs" / "trust-policy.md").read_text()


def test_every_refusal_code_of_statements_is_documented() -> None:
    codes = {code for code, kind in registry().items() if issubclass(kind, StatementError)}
    assert codes == {code for code in codes if f"| `{code}` |" in DOCUMENT}
    documented = set(re.findall(r"`(statement\.[a-z_]+)`", DOCUMENT))
    assert documented <= codes


def test_every_member_algorithm_and_fact_is_documented() -> None:
    names = {*TrustDocument.__struct_fields__, *ALGORITHMS, *BuildFacts.__struct_fields__}
    assert {name for name in names if f"`{name}`" not in DOCUMENT} == set()


def test_the_example_is_a_policy(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    path = tmp_path / "trust.toml"
    path.write_text(example)
    assert trust.load_file(path).name == "release-images"
