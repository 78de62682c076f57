"""CycloneDX 1.4 to 1.6 bills of materials (JSON) as a predicate: the components and their identity.

Read: ``bomFormat``, ``specVersion``, ``metadata.component`` (what the document describes), and of
``components``, nested ones included, ``bom-ref``, ``type``, ``name``, ``version``, ``purl``,
``hashes``. Types are strict where a member is read; other members are ignored. Services are not
components.

Where the predicate type names a version, the document must be of it.

Sources: cyclonedx.org/docs/1.6/json and the schemas bom-1.4 to bom-1.6.schema.json (component,
hash-alg); in-toto attestation spec/predicates/cyclonedx.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import PredicateUnexpected
from provenance.predicates import sbom
from provenance.predicates.sbom import Component

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provenance.model import Statement

_VERSIONS: Final = ("1.4", "1.5", "1.6")
# Predicate type to the document versions that it may carry.
TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "https://cyclonedx.org/bom": _VERSIONS,
    **{f"https://cyclonedx.org/bom/v{version}": (version,) for version in _VERSIONS},
}
# hash-alg of the schemas.
_ALGORITHMS: Final[Mapping[str, str | None]] = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-384": "sha3_384",
    "SHA3-512": "sha3_512",
    "BLAKE2b-256": "blake2b_256",
    "BLAKE2b-384": "blake2b_384",
    "BLAKE2b-512": "blake2b_512",
    "BLAKE3": "blake3",
}


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Hash(_Wire):
    alg: str
    content: str


class _Component(_Wire):
    type: str
    name: str
    bom_ref: str | None = msgspec.field(name="bom-ref", default=None)
    version: str | None = None
    purl: str | None = None
    hashes: tuple[_Hash, ...] = ()
    components: tuple[_Component, ...] = ()


class _Metadata(_Wire):
    component: _Component | None = None


class _Document(_Wire):
    bom_format: str
    spec_version: str
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    components: tuple[_Component, ...] = ()


def components_of(statement: Statement) -> tuple[Component, ...]:
    """The components of a CycloneDX document, what it describes first; none for another predicate type.

    A nested component follows the one that contains it.

    Raises:
        PredicateUnexpected: the predicate is not a CycloneDX document of the type's version, or a fact
            in it has not its form.
    """
    versions = TYPES.get(statement.predicate_type)
    if versions is None:
        return ()
    try:
        document = msgspec.convert(statement.predicate, _Document)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the CycloneDX document is malformed: {str(error)[:200]}") from error
    if document.bom_format != "CycloneDX" or document.spec_version not in versions:
        raise PredicateUnexpected(f"not a CycloneDX document of version {', '.join(versions)}")
    about = document.metadata.component
    listed = [] if about is None else [(about, True)]
    if about is not None:
        listed += [(item, False) for item in _flat(about.components)]
    listed += [(item, False) for item in _flat(document.components)]
    sbom.require_unique(item.bom_ref for item, _ in listed)
    return tuple(_component(item, described) for item, described in listed)


def _flat(components: tuple[_Component, ...]) -> Iterator[_Component]:
    # The document's depth is bounded where it was parsed (common.strict_json.MAX_DEPTH).
    for item in components:
        yield item
        yield from _flat(item.components)


def _component(item: _Component, described: bool) -> Component:
    return Component(
        ref=sbom.optional_text(item.bom_ref, "a component's bom-ref"),
        name=sbom.text(item.name, "a component's name"),
        version=sbom.optional_text(item.version, "a component's version"),
        purls=() if not item.purl else (sbom.purl(item.purl),),
        digests=sbom.digests_of(((entry.alg, entry.content) for entry in item.hashes), _ALGORITHMS),
        described=described,
    )
