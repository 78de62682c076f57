"""The examples of docs/formats.md are what the parsers accept."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from sevsnpmeasure.vcpu_types import CPU_SIGS

from provenance import statement as in_toto
from provenance.derivation import derive, rules
from provenance.derivation.snp import launch_shape
from provenance.derivation.snp.firmware import parse_descriptor
from provenance.errors import NotDerivable, PredicateUnexpected
from provenance.manifests.measurement_file import document as measurement_file
from provenance.model import DerivationRequest
from provenance.predicates import reference as reference_predicate
from tests.provenance.derivation import material

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def _examples(kind: str) -> list[str]:
    return re.findall(rf"```json {kind}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("text", _examples("derivation-request"))
def test_every_request_names_a_rule_and_a_launch_shape_that_it_reads(text: str) -> None:
    request = msgspec.json.decode(text, type=DerivationRequest)
    # Without artefacts nothing can be derived; a launch shape that is not read is refused before that.
    with pytest.raises((NotDerivable, PredicateUnexpected)):
        derive(material.admitted(material.subject("x", b"")), request, [])
    if request.rule == "snp-launch-digest":
        assert launch_shape.parse(request.launch).vcpus == (1, 2, 4)


def test_every_rule_is_documented_with_its_version_and_an_example() -> None:
    requests = [
        msgspec.json.decode(text, type=DerivationRequest) for text in _examples("derivation-request")
    ]
    for rule in rules():
        assert f"## Rule `{rule.name}` (version {rule.version})" in DOCUMENT
        assert rule.name in {request.rule for request in requests}


def test_the_firmware_descriptor_is_read() -> None:
    (text,) = _examples("firmware-descriptor")
    assert parse_descriptor(text.encode()).measures_kernel


def test_the_statement_is_read() -> None:
    (text,) = _examples("statement")
    predicate = reference_predicate.parse(in_toto.parse(text.encode()))
    assert [value.group for value in predicate.values] == ["release-7"]
    assert predicate.expires is not None


def test_every_cpu_model_family_that_is_known_is_documented() -> None:
    families = {re.sub(r"-v\d+\Z", "", model) for model in CPU_SIGS}
    assert all(f"`{family}`" in DOCUMENT for family in families)


def test_the_measurement_file_is_read() -> None:
    (text,) = _examples("measurement-file")
    _, payload = measurement_file.parse(msgspec.json.decode(text))
    assert measurement_file.manifest_of(payload).facts[0].key == "snp_launch_measurement"
