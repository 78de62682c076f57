"""What an unsigned reference-value message says: names and values, by the reference service's own rules.

* ``sample``: a JSON object of name to any JSON.
* ``swid``: a SWID tag or RIM, ``{manufacturer}.{edition}.measurement_{index}`` to the list of its SHA-384
  hashes in hex; spaces and ``-`` become ``_``; hashes of zeros only are left out.
* ``corim``: a CoRIM without a signature; ``vendor/model/element/name/digests`` to the list of digests in
  hex, ``.../raw_bytes`` to the bytes in hex. Parts that are not stated are left out of the path. Of the
  triples the reference ones are read.

Documents are held to the strict parsers of ``provenance.manifests`` before they are taken apart: a
duplicate key, an entity, a document outside its validity refuses. Where one document states a name twice,
all of what it states is taken.

Nothing here proves anything: whether such values count is for the caller (``coco.reference_values``).

Source: coco-wire sections 3.1 and 3.2; draft-ietf-rats-corim-11 appendix A (labels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cbor2 import CBORTag

from coco.errors import MessageMalformed
from common import strict_json
from provenance.manifests.corim import cbor, concise, identifiers
from provenance.manifests.swid import signature, tag, xml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

MAX_NAMES: Final = 4096
_SHA384: Final = "digest.sha-384"
_MEASUREMENT: Final = "measurement:"
# Heads of the tags that wrappers put before a CoRIM: 500, 502.
_WRAPPERS: Final = (b"\xd9\x01\xf4", b"\xd9\x01\xf6")
_UNSIGNED: Final = b"\xd9\x01\xf5"  # tag 501
_SIGNED_TAG: Final = 18
_SIGNED_HEAD: Final = 0xD2
_COMID_TAG: Final = 506
_TAGS: Final = identifiers.TAGS | {1, 18, 32, 500, 501, 502, 505, _COMID_TAG, 508}
_VENDOR, _MODEL = 1, 2
_DIGESTS, _RAW_VALUE, _SERIAL, _NAME = 2, 4, 8, 11
_TRIPLES, _REFERENCE = 4, 0

Values = dict[str, Any]


def sample(payload: bytes, now: datetime) -> Values:
    """Of a ``sample`` message.

    Raises:
        InputError: not a JSON object.
    """
    del now
    document = strict_json.loads(payload, what="sample payload")
    if not isinstance(document, dict):
        raise MessageMalformed("the sample payload is not a JSON object")
    return document


def swid(payload: bytes, now: datetime) -> Values:
    """Of a ``swid`` message; a signature in it is left out, as its message type says.

    Raises:
        StatementError: not a SWID tag.
        MessageMalformed: it names no manufacturer or edition, which its names are made of.
    """
    del now
    manifest = tag.parse(xml.parse(payload), signature.SIGNATURE)
    found: dict[str, list[str]] = {}
    for fact in manifest.facts:
        if not fact.key.startswith(_MEASUREMENT) or fact.field != _SHA384:
            continue
        manufacturer, edition = fact.environment.get("vendor"), fact.environment.get("edition")
        if not manufacturer or not edition:
            raise MessageMalformed("Could not find manufacturer or edition information.")
        index = fact.key.removeprefix(_MEASUREMENT)
        name = f"{manufacturer.replace(' ', '_')}.{edition}.measurement_{index}".replace("-", "_")
        _add(found.setdefault(name, []), str(fact.value))
    return dict(found)


def corim(payload: bytes, now: datetime) -> Values:
    """Of a ``corim`` message without a signature.

    Raises:
        StatementError: not a CoRIM, or not valid now.
    """
    data = unwrapped(payload)
    if not data.startswith(_UNSIGNED):
        data = _UNSIGNED + data
    value = cbor.decode(data, what="the CoRIM", tags=_TAGS).value
    if not isinstance(value, dict) or not isinstance(value.get(1), list):
        raise MessageMalformed("the CoRIM has no tags")
    if 4 in value:  # noqa: PLR2004 (label of the validity)
        concise.period_of(value[4]).require(now, "the CoRIM")
    found: dict[str, list[str]] = {}
    singles: set[str] = set()
    for item in value[1]:
        if isinstance(item, CBORTag) and item.tag == _COMID_TAG and isinstance(item.value, bytes):
            _comid(item.value, found, singles)
    return {
        name: values[0] if name in singles and len(values) == 1 else values
        for name, values in found.items()
    }


def is_signed_corim(payload: bytes) -> bool:
    """Whether it means to be a signed CoRIM: COSE_Sign1 with its tag."""
    return unwrapped(payload)[:1] == bytes([_SIGNED_HEAD])


def unwrapped(payload: bytes) -> bytes:
    """A CoRIM without the outer tags 500 and 502."""
    while payload.startswith(_WRAPPERS):
        payload = payload[len(_WRAPPERS[0]) :]
    return payload


def _comid(data: bytes, found: dict[str, list[str]], singles: set[str]) -> None:
    comid = cbor.decode(data, what="a CoMID", tags=_TAGS)
    triples = comid.get(_TRIPLES) if isinstance(comid, dict) else None
    records = triples.get(_REFERENCE, []) if isinstance(triples, dict) else None
    if not isinstance(records, list):
        raise MessageMalformed("a CoMID has no triples")
    for record in records:
        environment, claims = _pair(record)
        path = _class_path(environment)
        for claim in claims:
            for part, values, single in _claim(claim):
                name = "/".join([*path, *part])
                for value in values:
                    _add(found.setdefault(name, []), value)
                if single:
                    singles.add(name)
        if len(found) > MAX_NAMES:
            raise MessageMalformed(f"the CoRIM states more than {MAX_NAMES} names")


def _pair(record: object) -> tuple[dict[Any, Any], list[Any]]:
    match record:
        case [dict() as environment, list() as claims]:
            return environment, claims
    raise MessageMalformed("a triple is not a pair of environment and measurements")


def _class_path(environment: dict[Any, Any]) -> list[str]:
    members = environment.get(0)
    if not isinstance(members, dict):
        return []
    return [text for text in (members.get(_VENDOR), members.get(_MODEL)) if isinstance(text, str)]


def _claim(claim: object) -> Iterator[tuple[list[str], list[str], bool]]:
    """End of the path, values, and whether it is one value by itself."""
    values = claim.get(1) if isinstance(claim, dict) else None
    if not isinstance(claim, dict) or not isinstance(values, dict):
        raise MessageMalformed("a measurement is not a measurement-map")
    path = [*_element(claim.get(0))]
    path += [text for text in (values.get(_NAME), values.get(_SERIAL)) if isinstance(text, str)]
    digests = values.get(_DIGESTS)
    if digests is not None:
        yield [*path, "digests"], [_digest(item) for item in _listed(digests)], False
    raw = values.get(_RAW_VALUE)
    if isinstance(raw, CBORTag) and raw.tag == identifiers.BYTES and isinstance(raw.value, bytes):
        yield [*path, "raw_bytes"], [raw.value.hex()], True


def _element(key: object) -> list[str]:
    if isinstance(key, str):
        return [key]
    if isinstance(key, int) and not isinstance(key, bool):
        return [f"claim{key}"]
    if isinstance(key, CBORTag) and key.tag == identifiers.UUID:
        return [identifiers.uuid_text(key.value)]
    return []


def _listed(digests: object) -> list[Any]:
    if not isinstance(digests, list) or not digests:
        raise MessageMalformed("digests are not a list")
    return digests


def _digest(item: object) -> str:
    match item:
        case [_, bytes() as value]:
            return value.hex()
    raise MessageMalformed("a digest is not a pair of algorithm and value")


def _add(values: list[str], value: str) -> None:
    if value not in values:
        values.append(value)


EXTRACTORS: Final[Mapping[str, Callable[[bytes, datetime], Values]]] = {
    "sample": sample,
    "swid": swid,
    "corim": corim,
}
