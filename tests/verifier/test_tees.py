"""Every TEE's folder gives a complete record, and what is generated from the records is up to date."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints, is_typeddict

import msgspec
import pytest

from provenance.predicates.reference import TEES as TEES_OF_STATEMENTS
from service import tees_doc
from verifier.tee import Tee, TeeSection
from verifier.tees import EVIDENCE, TEES
from wire.evidence import EvidenceDocument

_ROOT = Path(__file__).parents[2]
_ALL = pytest.mark.parametrize("tee", TEES.values(), ids=lambda tee: tee.name)


def test_the_page_of_all_tees_is_as_generated() -> None:
    assert (_ROOT / "docs/tees.md").read_text("utf-8") == tees_doc.render()


@_ALL
def test_a_record_is_complete(tee: Tee) -> None:
    assert issubclass(tee.evidence, EvidenceDocument)
    assert tee.evidence.__struct_config__.tag == tee.name
    assert issubclass(tee.section, TeeSection)
    assert is_typeddict(tee.claims)
    assert get_type_hints(tee.claims)
    assert tee.checks
    assert tee.unchecked, "no verifier checks everything"


@_ALL
def test_reference_names_are_held_against_claims_that_there_are(tee: Tee) -> None:
    known = {name for name, _ in tees_doc._claims(tee.claims)}
    objects = {name for name, kind in tees_doc._claims(tee.claims) if kind.startswith("object")}
    for claim in tee.reference_names.values():
        assert claim in known or any(claim.startswith(f"{name}.") for name in objects), claim


def test_reference_names_belong_to_one_tee() -> None:
    names = [name for tee in TEES.values() for name in tee.reference_names]
    assert len(names) == len(set(names))


@_ALL
def test_a_tee_that_may_be_enabled_in_production_has_a_part_of_the_default_policy(tee: Tee) -> None:
    if tee.section().enabled:
        assert (_ROOT / f"policy/shipped/appraisal/{tee.name}.rego").is_file()


@_ALL
def test_reference_values_may_be_stated_for_it(tee: Tee) -> None:
    assert tee.name in TEES_OF_STATEMENTS or not tee.section().enabled


@_ALL
def test_no_raw_format_is_taken_for_another(tee: Tee) -> None:
    for data in (b"", b"\0", b"\0" * 4096, b"\xff" * 1184, b"{}"):
        found = [other.name for other in TEES.values() if other.recognise(data) is not None]
        assert len(found) <= 1


def test_documents_are_told_apart_by_their_tag() -> None:
    decoded = msgspec.json.decode(b'{"tee":"snp","report":"AA"}', type=EVIDENCE)
    assert isinstance(decoded, TEES["snp"].evidence)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"tee":"none"}', type=EVIDENCE)
