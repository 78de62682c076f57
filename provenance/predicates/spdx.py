"""SPDX 2.2 and 2.3 documents (JSON) as a predicate: the packages and their identity.

Read: ``spdxVersion``, ``SPDXID``, of ``packages`` ``SPDXID``, ``name``, ``versionInfo``, ``checksums``
and the package URLs among ``externalRefs``; ``documentDescribes`` and DESCRIBES relationships of the
document. Types are strict where a member is read; other members are ignored. Files and snippets are not
components here.

Where the predicate type names a version, the document must be of it.

Sources: spdx.github.io/spdx-spec/v2.3, clauses 6, 7 and 11, and v2.2.2; schemas/spdx-schema.json of either;
in-toto attestation spec/predicates/spdx2.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import PredicateUnexpected
from provenance.predicates import sbom
from provenance.predicates.sbom import Component

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.model import Statement

# Predicate type to the document versions that it may carry.
TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "https://spdx.dev/Document": ("SPDX-2.2", "SPDX-2.3"),
    "https://spdx.dev/Document/v2.2": ("SPDX-2.2",),
    "https://spdx.dev/Document/v2.3": ("SPDX-2.3",),
}
_DOCUMENT_REF: Final = "SPDXRef-DOCUMENT"  # clause 6.3
_REF: Final = re.compile(r"SPDXRef-[A-Za-z0-9.-]+\Z")  # clause 7.2
# Clause 7.10, checksum algorithms.
_ALGORITHMS: Final[Mapping[str, str | None]] = {
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
    "BLAKE2b-256": "blake2b_256",
    "BLAKE2b-384": "blake2b_384",
    "BLAKE2b-512": "blake2b_512",
    "BLAKE3": "blake3",
    "MD2": None,
    "MD4": None,
    "MD6": None,
    "ADLER32": None,
}


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Checksum(_Wire):
    algorithm: str
    checksum_value: str


class _ExternalRef(_Wire):
    reference_type: str
    reference_locator: str


class _Package(_Wire):
    name: str
    spdxid: str = msgspec.field(name="SPDXID")
    version_info: str | None = None
    checksums: tuple[_Checksum, ...] = ()
    external_refs: tuple[_ExternalRef, ...] = ()


class _Relationship(_Wire):
    spdx_element_id: str
    relationship_type: str
    related_spdx_element: str


class _Document(_Wire):
    spdx_version: str
    spdxid: str = msgspec.field(name="SPDXID")
    packages: tuple[_Package, ...] = ()
    document_describes: tuple[str, ...] = ()
    relationships: tuple[_Relationship, ...] = ()


def components_of(statement: Statement) -> tuple[Component, ...]:
    """The packages of an SPDX document, in its order; none for another predicate type.

    Raises:
        PredicateUnexpected: the predicate is not an SPDX document of the type's version, or a fact in
            it has not its form.
    """
    versions = TYPES.get(statement.predicate_type)
    if versions is None:
        return ()
    try:
        document = msgspec.convert(statement.predicate, _Document)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the SPDX document is malformed: {str(error)[:200]}") from error
    if document.spdx_version not in versions:
        raise PredicateUnexpected(f"spdxVersion is not one of {', '.join(versions)}")
    if document.spdxid != _DOCUMENT_REF:
        raise PredicateUnexpected(f"the document's SPDXID is not {_DOCUMENT_REF}")
    sbom.require_unique(package.spdxid for package in document.packages)
    described = _described(document)
    return tuple(_component(package, described) for package in document.packages)


def _component(package: _Package, described: frozenset[str]) -> Component:
    if not _REF.match(package.spdxid) or package.spdxid == _DOCUMENT_REF:
        raise PredicateUnexpected("a package's SPDXID is not SPDXRef- and letters, digits, dots or hyphens")
    return Component(
        ref=sbom.text(package.spdxid, "a package's SPDXID"),
        name=sbom.text(package.name, "a package's name"),
        version=sbom.optional_text(package.version_info, "a package's version"),
        purls=tuple(
            sbom.purl(item.reference_locator)
            for item in package.external_refs
            if item.reference_type == "purl"  # annex F.3.5
        ),
        digests=sbom.digests_of(
            ((item.algorithm, item.checksum_value) for item in package.checksums), _ALGORITHMS
        ),
        described=package.spdxid in described,
    )


def _described(document: _Document) -> frozenset[str]:
    # Clause 11.1: DESCRIBES, or its inverse; documentDescribes is the JSON form's shorthand.
    by_relation = [
        item.related_spdx_element
        for item in document.relationships
        if item.relationship_type == "DESCRIBES" and item.spdx_element_id == _DOCUMENT_REF
    ]
    by_inverse = [
        item.spdx_element_id
        for item in document.relationships
        if item.relationship_type == "DESCRIBED_BY" and item.related_spdx_element == _DOCUMENT_REF
    ]
    return frozenset((*document.document_describes, *by_relation, *by_inverse))
