"""measurement-map: what one measurement of a CoMID says, as (key, field, value).

Each member of ``measurement-values-map`` gives a field; a member that is not read here is refused, since
a value that was left out could be the one that distinguishes. Digests are of SHA-256 or stronger; a
truncated one beside a strong one is left out, one alone is refused.

Source: draft-ietf-rats-corim-11 section 5.1.4 and appendix A (measurement-map, measurement-values-map).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cbor2 import CBORTag

from provenance.errors import ManifestMalformed
from provenance.manifests import values
from provenance.manifests.corim.identifiers import (
    BYTES,
    INT_RANGE,
    MASKED,
    MIN_SVN,
    OID,
    SVN,
    UUID,
    octets,
    oid,
    text,
    uuid_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MKEY, _MVAL, _AUTHORIZED_BY = 0, 1, 2
# Of Touchstone's profile: a text or boolean. Negative labels are for private use (section 11.9).
SCALAR: Final = -70_001
_RAW_VALUE, _RAW_MASK, _NAME = 4, 5, 11
# IANA Named Information Hash Algorithm Registry; 2 to 6 are SHA-256 truncated.
_HASHES: Final = {1: "sha-256", 7: "sha-384", 8: "sha-512", 10: "sha3-256", 11: "sha3-384", 12: "sha3-512"}
_WEAK: Final = frozenset({2, 3, 4, 5, 6, 9, "sha-256-128", "sha-256-120", "sha-256-96", "sha-256-64"})
_FLAGS: Final = (
    "is-configured",
    "is-secure",
    "is-recovery",
    "is-debug",
    "is-replay-protected",
    "is-integrity-protected",
    "is-runtime-meas",
    "is-immutable",
    "is-tcb",
    "is-confidentiality-protected",
    "is-runtime-updatable",
)
_MAX_UINT64: Final = (1 << 64) - 1
# RFC 7493 section 2.2: a larger integer is given as text, in decimal.
_MAX_SAFE_INTEGER: Final = 2**53 - 1
_PAIR: Final = 2

Field = tuple[str, str | int | bool]


def read(measurement: object, *, scalars: bool = False) -> tuple[str, tuple[Field, ...]]:
    """Key and fields of a ``measurement-map``.

    Args:
        measurement: decoded.
        scalars: the CoRIM has Touchstone's profile: ``SCALAR`` is read.

    Raises:
        ManifestMalformed: not of the form, or says what cannot be read here.
    """
    if not isinstance(measurement, dict) or not {_MVAL} <= set(measurement) <= {
        _MKEY,
        _MVAL,
        _AUTHORIZED_BY,
    }:
        raise ManifestMalformed("a measurement is not a measurement-map")
    if _AUTHORIZED_BY in measurement:
        raise ManifestMalformed(
            "a measurement with authorized-by is not supported: nothing could hold it to"
        )
    mval = measurement[_MVAL]
    if not isinstance(mval, dict) or not mval:
        raise ManifestMalformed("a measurement has no values")
    fields: list[Field] = []
    for label, value in _with_mask(mval).items():
        member = _scalar if scalars and label == SCALAR else _MEMBERS.get(label)
        if member is None:
            raise ManifestMalformed(f"a measurement has the value {str(label)[:32]!a}, which is not read")
        fields += member(value)
    # Arm's profiles state one measured element several times, told apart by its name.
    name = mval.get(_NAME)
    key = key_of(measurement.get(_MKEY))
    return (key if name is None else f"{key}/{name}"), tuple(fields)


def key_of(mkey: object) -> str:
    """Spelling of a measured element: ``uint:1``, ``text:x``, ``oid:1.2``, ``uuid:...``; ``none`` without.

    Raises:
        ManifestMalformed: another type.
    """
    if mkey is None:
        return "none"
    if isinstance(mkey, int) and not isinstance(mkey, bool) and 0 <= mkey <= _MAX_UINT64:
        return f"uint:{mkey}"
    if isinstance(mkey, str) and mkey:
        return f"text:{mkey}"
    if isinstance(mkey, CBORTag) and mkey.tag == OID:
        return f"oid:{oid(mkey.value)}"
    if isinstance(mkey, CBORTag) and mkey.tag == UUID:
        return f"uuid:{uuid_text(mkey.value)}"
    raise ManifestMalformed("a measurement's key is not an integer, text, OID or UUID")


def _version(value: object) -> Iterator[Field]:
    if not isinstance(value, dict) or not {0} <= set(value) <= {0, 1}:
        raise ManifestMalformed("a version is not a version-map")
    yield "version", text(value[0], "a version")


def _svn(value: object) -> Iterator[Field]:
    name = "svn"
    if isinstance(value, CBORTag):
        if value.tag not in (SVN, MIN_SVN):
            raise ManifestMalformed("a security version has another tag")
        name, value = ("min-svn" if value.tag == MIN_SVN else "svn"), value.value
    yield name, _integer(value, "a security version", least=0)


def digests(value: object, prefix: str = "digest") -> Iterator[Field]:
    """Fields of a ``digests-type``: one for each algorithm.

    Raises:
        ManifestMalformed: none that is strong, or two different ones of one algorithm.
    """
    if not isinstance(value, list) or not value:
        raise ManifestMalformed("digests are not a list")
    found: dict[str, str] = {}
    for item in value:
        if (
            not isinstance(item, list)
            or len(item) != _PAIR
            or isinstance(item[0], (bool, list, dict, CBORTag))
        ):
            raise ManifestMalformed("a digest is not a pair of algorithm and value")
        algorithm, digest = item
        if algorithm in _WEAK:
            continue
        name = algorithm if isinstance(algorithm, str) else _HASHES.get(algorithm, "")
        field = values.digest_field(name, octets(digest, "a digest"), what="a measurement")
        if found.setdefault(field, digest.hex()) != digest.hex():
            raise ManifestMalformed("a measurement has two digests of one algorithm")
    if not found:
        raise ManifestMalformed("a measurement has only weak digests")
    for field, digest in found.items():
        yield prefix + field.removeprefix("digest"), digest


def _flags(value: object) -> Iterator[Field]:
    if not isinstance(value, dict) or not value:
        raise ManifestMalformed("flags are not a map")
    for label, flag in value.items():
        if not isinstance(label, int) or not 0 <= label < len(_FLAGS) or not isinstance(flag, bool):
            raise ManifestMalformed("a flag is not known, or not a boolean")
        yield f"flag.{_FLAGS[label]}", flag


def _raw(value: object) -> Iterator[Field]:
    if isinstance(value, CBORTag) and value.tag == BYTES:
        yield "raw-value", octets(value.value, "a raw value").hex()
        return
    if not isinstance(value, CBORTag) or value.tag != MASKED:
        raise ManifestMalformed("a raw value is neither tagged bytes nor tagged bytes with a mask")
    pair = value.value
    if not isinstance(pair, list) or len(pair) != _PAIR:
        raise ManifestMalformed("a masked raw value is not a pair")
    raw = octets(pair[0], "a raw value")
    mask = octets(pair[1], "a mask", len(raw))
    # Bits that the mask leaves out decide nothing; the field says that this is not the value as it stands.
    kept = bytes(a & b for a, b in zip(raw, mask, strict=True)).hex()
    if set(mask) == {0xFF}:
        yield "raw-value", kept
    else:
        yield "masked-value", f"{kept}/{mask.hex()}"


def _scalar(value: object) -> Iterator[Field]:
    if not isinstance(value, (str, bool)) or value == "":
        raise ManifestMalformed("a scalar is neither text nor a boolean")
    yield "scalar", value


def _with_mask(mval: dict[Any, Any]) -> dict[Any, Any]:
    """The deprecated mask beside a raw value, as the tagged pair that replaced it."""
    if _RAW_MASK not in mval:
        return mval
    raw = mval.get(_RAW_VALUE)
    if not isinstance(raw, CBORTag) or raw.tag != BYTES:
        raise ManifestMalformed("a mask stands without the raw value that it masks")
    rest = {label: value for label, value in mval.items() if label != _RAW_MASK}
    return rest | {_RAW_VALUE: CBORTag(MASKED, [raw.value, mval[_RAW_MASK]])}


def _signers(value: object) -> Iterator[Field]:
    if not isinstance(value, list) or not value:
        raise ManifestMalformed("keys are not a list")
    for item in value:
        if not isinstance(item, CBORTag) or item.tag != BYTES:
            raise ManifestMalformed(
                "a measurement names a key other than by an identifier, which is not read"
            )
        yield "key-id", octets(item.value, "a key's identifier").hex()


def _registers(value: object) -> Iterator[Field]:
    if not isinstance(value, dict) or not value:
        raise ManifestMalformed("integrity registers are not a map")
    for label, items in value.items():
        yield from digests(items, f"register.{label}.digest")


def _range(value: object) -> Iterator[Field]:
    if not isinstance(value, CBORTag):
        yield "integer", _integer(value, "an integer")
        return
    pair = value.value
    if value.tag != INT_RANGE or not isinstance(pair, list) or len(pair) != _PAIR:
        raise ManifestMalformed("a range is not a pair")
    for name, bound in zip(("min-integer", "max-integer"), pair, strict=True):
        if bound is not None:
            yield name, _integer(bound, "a bound")


def _integer(value: object, what: str, least: int | None = None) -> int | str:
    if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
        raise ManifestMalformed(f"{what} is not an integer of its range")
    return value if abs(value) <= _MAX_SAFE_INTEGER else str(value)


def _texts(name: str) -> Callable[[Any], Iterator[Field]]:
    def read_text(value: object) -> Iterator[Field]:
        yield name, text(value, name)

    return read_text


def _bytes(name: str, *lengths: int) -> Callable[[Any], Iterator[Field]]:
    def read_bytes(value: object) -> Iterator[Field]:
        if lengths and (not isinstance(value, bytes) or len(value) not in lengths):
            raise ManifestMalformed(f"{name} is not a byte string of the right length")
        yield name, octets(value, name).hex()

    return read_bytes


def _uuid(value: object) -> Iterator[Field]:
    yield "uuid", uuid_text(value)


# Labels of measurement-values-map (appendix A). 5 is joined with 4 before.
_MEMBERS: Final[dict[Any, Callable[[Any], Iterator[Field]]]] = {
    0: _version,
    1: _svn,
    2: digests,
    3: _flags,
    _RAW_VALUE: _raw,
    6: _bytes("mac-addr", 6, 8),
    7: _bytes("ip-addr", 4, 16),
    8: _texts("serial-number"),
    9: _bytes("ueid", *range(7, 34)),
    10: _uuid,
    _NAME: _texts("name"),
    13: _signers,
    14: _registers,
    15: _range,
}
