"""CoMID: the reference and endorsed triples of a concise module identifier, as facts.

Each triple is a group: its measurements are of one environment and belong together. Other triples
(identity, attestation key, dependency, membership, CoSWID, conditional endorsements) state no reference
value that stands by itself; they are named in ``unsupported`` and nothing of them is read.

Source: draft-ietf-rats-corim-11 section 5 and appendix A.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from cbor2 import CBORTag

from provenance.errors import ManifestMalformed
from provenance.manifests.corim import cbor, identifiers, measurements
from provenance.manifests.values import MAX_FACTS, Fact

_LANGUAGE, _IDENTITY, _ENTITIES, _LINKED, _TRIPLES = range(5)
_REFERENCE, _ENDORSED = 0, 1
_OTHER_TRIPLES: Final = {
    2: "identity-triples",
    3: "attest-key-triples",
    4: "dependency-triples",
    5: "membership-triples",
    6: "coswid-triples",
    8: "conditional-endorsement-series-triples",
    10: "conditional-endorsement-triples",
}
# Tags in triples that are not read, beside those of measurements: 1 (time) and 32 (URI) of entities.
_TAGS: Final = identifiers.TAGS | frozenset({1, 32})
_PAIR: Final = 2
_MAX_VERSION: Final = (1 << 64) - 1
TagId = tuple[str, int]


class Comid(msgspec.Struct, frozen=True):
    """One CoMID.

    Attributes:
        id: tag id (``uuid:...`` or ``text:...``) and tag version.
        facts: of its triples, each group named ``<number of the triple>``.
        unsupported: names of triples that are not read.
    """

    id: TagId
    facts: tuple[Fact, ...]
    unsupported: tuple[str, ...]


def parse(data: bytes, *, scalars: bool = False) -> Comid:
    """Read a ``concise-mid-tag``; ``scalars`` as in ``measurements.read``.

    Raises:
        ManifestMalformed: not one, or it says what cannot be read.
    """
    tag = cbor.decode(data, what="a CoMID", tags=_TAGS)
    known = {_LANGUAGE, _IDENTITY, _ENTITIES, _LINKED, _TRIPLES}
    if not isinstance(tag, dict) or not {_IDENTITY, _TRIPLES} <= set(tag) <= known:
        raise ManifestMalformed("a CoMID lacks its identity or triples, or has a member that is not read")
    triples = tag[_TRIPLES]
    if not isinstance(triples, dict) or not triples:
        raise ManifestMalformed("a CoMID has no triples")
    facts: list[Fact] = []
    unsupported = []
    for label, records in triples.items():
        if label in (_REFERENCE, _ENDORSED):
            facts += _triples(records, endorsed=label == _ENDORSED, scalars=scalars)
        elif label in _OTHER_TRIPLES:
            unsupported.append(_OTHER_TRIPLES[label])
        else:
            raise ManifestMalformed(f"a CoMID has triples {str(label)[:32]!a}, which are not known")
    if _LINKED in tag:
        unsupported.append("linked-tags")
    return Comid(tag_id(tag[_IDENTITY]), tuple(facts), tuple(unsupported))


def tag_id(identity: object) -> TagId:
    """Id and version of a ``tag-identity-map``; the version is 0 where none is stated.

    Raises:
        ManifestMalformed: not one.
    """
    if not isinstance(identity, dict) or not {0} <= set(identity) <= {0, 1}:
        raise ManifestMalformed("a tag's identity is not a tag-identity-map")
    version = identity.get(1, 0)
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= _MAX_VERSION:
        raise ManifestMalformed("a tag's version is not an unsigned integer")
    return id_text(identity[0]), version


def id_text(value: object) -> str:
    """Spelling of a tag or CoRIM id: ``text:...``, or ``uuid:...``.

    Raises:
        ManifestMalformed: neither.
    """
    if isinstance(value, str) and value:
        return f"text:{value}"
    if isinstance(value, CBORTag) and value.tag == identifiers.UUID:
        value = value.value
    return f"uuid:{identifiers.uuid_text(value)}"


def environment(value: object) -> dict[str, str]:
    """An ``environment-map`` as text by member.

    Members: ``class-id``, ``vendor``, ``model``, ``layer``, ``index``, ``instance``, ``group``.

    Raises:
        ManifestMalformed: empty, or a member that is not read.
    """
    if not isinstance(value, dict) or not value or not set(value) <= {0, 1, 2}:
        raise ManifestMalformed("an environment is not an environment-map")
    found: dict[str, str] = _class(value[0]) if 0 in value else {}
    if 1 in value:
        found["instance"] = _identifier(value[1], "an instance")
    if 2 in value:  # noqa: PLR2004 (label of group, appendix A)
        found["group"] = _identifier(value[2], "a group")
    return found


def _class(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not value or not set(value) <= set(range(5)):
        raise ManifestMalformed("a class is not a class-map")
    found: dict[str, str] = {}
    for label, item in sorted(value.items()):
        name = ("class-id", "vendor", "model", "layer", "index")[label]
        if name == "class-id":
            found[name] = _identifier(item, "a class id")
        elif name in ("vendor", "model"):
            found[name] = identifiers.text(item, name)
        elif isinstance(item, int) and not isinstance(item, bool) and item >= 0:
            found[name] = str(item)
        else:
            raise ManifestMalformed(f"a class's {name} is not an unsigned integer")
    return found


def _identifier(value: Any, what: str) -> str:
    if isinstance(value, CBORTag):
        if value.tag == identifiers.OID:
            return f"oid:{identifiers.oid(value.value)}"
        if value.tag == identifiers.UUID:
            return f"uuid:{identifiers.uuid_text(value.value)}"
        if value.tag == identifiers.UEID:
            return f"ueid:{identifiers.octets(value.value, what).hex()}"
        if value.tag == identifiers.BYTES:
            return f"bytes:{identifiers.octets(value.value, what).hex()}"
    raise ManifestMalformed(f"{what} is of a type that is not read")


def _triples(records: object, *, endorsed: bool, scalars: bool) -> list[Fact]:
    if not isinstance(records, list) or not records:
        raise ManifestMalformed("triples are not a list")
    facts: list[Fact] = []
    for number, record in enumerate(records):
        if not isinstance(record, list) or len(record) != _PAIR:
            raise ManifestMalformed("a triple is not a pair of environment and measurements")
        of, claims = environment(record[0]), record[1]
        if not isinstance(claims, list) or not claims:
            raise ManifestMalformed("a triple has no measurements")
        group = f"endorsed-{number}" if endorsed else str(number)
        for claim in claims:
            key, fields = measurements.read(claim, scalars=scalars)
            facts += [
                Fact(group=group, key=key, field=field, value=value, environment=of, endorsed=endorsed)
                for field, value in fields
            ]
        if len(facts) > MAX_FACTS:
            raise ManifestMalformed(f"a CoMID states more than {MAX_FACTS} values")
    return facts
