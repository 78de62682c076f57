"""Bills of materials: the identity of components, strictly, in one form for SPDX and CycloneDX."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.errors import PredicateUnexpected
from provenance.model import Statement, Subject
from provenance.predicates import cyclonedx, spdx
from provenance.predicates.components import TYPES, components_of
from provenance.predicates.sbom import Component

SPDX, CYCLONEDX = "https://spdx.dev/Document", "https://cyclonedx.org/bom"
SHA256, SHA1 = "ab" * 32, "cd" * 20
PURL = "pkg:deb/debian/openssl@3.0.11?arch=amd64"
SPDX_DOCUMENT: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "image",
    "packages": [
        {
            "SPDXID": "SPDXRef-openssl",
            "name": "openssl",
            "versionInfo": "3.0.11",
            "downloadLocation": "NOASSERTION",
            "checksums": [
                {"algorithm": "SHA256", "checksumValue": SHA256},
                {"algorithm": "SHA1", "checksumValue": SHA1},
                {"algorithm": "ADLER32", "checksumValue": "00000001"},
            ],
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": PURL},
                {
                    "referenceCategory": "SECURITY",
                    "referenceType": "cpe23Type",
                    "referenceLocator": "cpe:2.3:a",
                },
            ],
        },
        {"SPDXID": "SPDXRef-image", "name": "image", "downloadLocation": "NOASSERTION"},
    ],
    "relationships": [
        {
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": "SPDXRef-image",
        }
    ],
}
CYCLONEDX_DOCUMENT: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": {"component": {"type": "container", "name": "image", "bom-ref": "root"}},
    "components": [
        {
            "type": "library",
            "bom-ref": "openssl-1",
            "name": "openssl",
            "version": "3.0.11",
            "purl": PURL,
            "hashes": [{"alg": "SHA-256", "content": SHA256.upper()}, {"alg": "SHA-1", "content": SHA1}],
            "components": [{"type": "file", "name": "libcrypto.so"}],
        }
    ],
}
DOCUMENTS = {SPDX: SPDX_DOCUMENT, CYCLONEDX: CYCLONEDX_DOCUMENT}
FOUND = {"sha256": SHA256, "sha1": SHA1}


def statement(predicate_type: str, predicate: dict[str, Any]) -> Statement:
    subject = Subject(name="image", digest={"sha256": SHA256})
    return Statement("https://in-toto.io/Statement/v1", (subject,), predicate_type, predicate)


def _changed(predicate_type: str, path: tuple[Any, ...], value: Any) -> Statement:
    document = copy.deepcopy(DOCUMENTS[predicate_type])
    where: Any = document
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return statement(predicate_type, document)


def test_an_spdx_document_gives_its_packages() -> None:
    assert components_of(statement(SPDX, SPDX_DOCUMENT)) == (
        Component("SPDXRef-openssl", "openssl", "3.0.11", (PURL,), FOUND, described=False),
        Component("SPDXRef-image", "image", None, (), {}, described=True),
    )


def test_a_cyclonedx_document_gives_its_components_with_nested_ones() -> None:
    assert components_of(statement(CYCLONEDX, CYCLONEDX_DOCUMENT)) == (
        Component("root", "image", None, (), {}, described=True),
        Component("openssl-1", "openssl", "3.0.11", (PURL,), FOUND, described=False),
        Component(None, "libcrypto.so", None, (), {}, described=False),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"documentDescribes": ["SPDXRef-image"]},
        {
            "relationships": [
                {
                    "spdxElementId": "SPDXRef-image",
                    "relationshipType": "DESCRIBED_BY",
                    "relatedSpdxElement": "SPDXRef-DOCUMENT",
                }
            ]
        },
    ],
)
def test_what_an_spdx_document_describes_may_be_said_otherwise(changes: dict[str, Any]) -> None:
    document = {key: value for key, value in SPDX_DOCUMENT.items() if key != "relationships"} | changes
    assert [item.described for item in components_of(statement(SPDX, document))] == [False, True]


@pytest.mark.parametrize("predicate_type", TYPES)
def test_a_versioned_type_takes_only_its_own_version(predicate_type: str) -> None:
    base, _, version = predicate_type.rpartition("/v")
    for other in ("SPDX-2.2", "SPDX-2.3", "SPDX-2.1", "1.4", "1.5", "1.6", "1.3", "1.7"):
        is_spdx = predicate_type.startswith(SPDX)
        member = "spdxVersion" if is_spdx else "specVersion"
        document = DOCUMENTS[SPDX if is_spdx else CYCLONEDX] | {member: other}
        fits = other.removeprefix("SPDX-") == version if base else other not in ("SPDX-2.1", "1.3", "1.7")
        if fits and other.startswith("SPDX") == is_spdx:
            assert components_of(statement(predicate_type, document))
        else:
            with pytest.raises(PredicateUnexpected):
                components_of(statement(predicate_type, document))


def test_another_predicate_type_has_no_components() -> None:
    other = statement("https://slsa.dev/provenance/v1", SPDX_DOCUMENT)
    assert components_of(other) == spdx.components_of(other) == cyclonedx.components_of(other) == ()


@pytest.mark.parametrize(
    ("predicate_type", "path", "value"),
    [
        (SPDX, ("SPDXID",), "SPDXRef-other"),
        (SPDX, ("packages",), {}),
        (SPDX, ("packages", 0, "SPDXID"), "openssl"),
        (SPDX, ("packages", 0, "SPDXID"), "SPDXRef-image"),
        (SPDX, ("packages", 0, "SPDXID"), "SPDXRef-DOCUMENT"),
        (SPDX, ("packages", 0, "name"), ""),
        (SPDX, ("packages", 0, "name"), "a\nb"),
        (SPDX, ("packages", 0, "versionInfo"), 3),
        (SPDX, ("packages", 0, "checksums", 0, "algorithm"), "sha256"),
        (SPDX, ("packages", 0, "checksums", 0, "checksumValue"), "zz" * 32),
        (SPDX, ("packages", 0, "checksums", 0, "checksumValue"), "ab" * 20),
        (SPDX, ("packages", 0, "checksums", 1), {"algorithm": "SHA256", "checksumValue": "ff" * 32}),
        (SPDX, ("packages", 0, "externalRefs", 0, "referenceLocator"), "http://example.com"),
        (SPDX, ("packages", 0, "externalRefs", 0, "referenceLocator"), "pkg:deb/a b"),
        (CYCLONEDX, ("bomFormat",), "SPDX"),
        (CYCLONEDX, ("metadata",), []),
        (CYCLONEDX, ("components", 0, "name"), None),
        (CYCLONEDX, ("components", 0, "bom-ref"), "root"),
        (CYCLONEDX, ("components", 0, "components", 0, "bom-ref"), "openssl-1"),
        (CYCLONEDX, ("components", 0, "purl"), "openssl@3"),
        (CYCLONEDX, ("components", 0, "hashes", 0, "alg"), "SHA256"),
        (CYCLONEDX, ("components", 0, "hashes", 0, "content"), SHA256 + "00"),
        (CYCLONEDX, ("components", 0, "hashes", 1), {"alg": "SHA-256", "content": "ff" * 32}),
        (CYCLONEDX, ("components", 0, "name"), "x" * 5000),
    ],
)
def test_a_fact_that_has_not_its_form_is_refused(
    predicate_type: str, path: tuple[Any, ...], value: Any
) -> None:
    with pytest.raises(PredicateUnexpected):
        components_of(_changed(predicate_type, path, value))


def test_the_number_of_components_is_bounded() -> None:
    many = [{"type": "file", "name": "x"}] * 20_000
    with pytest.raises(PredicateUnexpected):
        components_of(_changed(CYCLONEDX, ("components",), many))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([SPDX, CYCLONEDX]), _JSON, st.data())
def test_only_our_errors_come_out_of_a_foreign_document(kind: str, value: Any, data: st.DataObject) -> None:
    document = copy.deepcopy(DOCUMENTS[kind])
    where: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
        if not isinstance(where[key], (dict, list)) or not where[key] or data.draw(st.booleans()):
            where[key] = value
            break
        where = where[key]
    try:
        components_of(statement(kind, document))
    except TouchstoneError:
        pass
