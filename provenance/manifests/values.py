"""The normal form of a manifest: facts, each one value of one measurement of one environment.

It is the predicate of the Statement that a manifest's reader gives, and the only thing that the rule
``manifest-values`` reads. docs/formats.md specifies it.

Invariants: every fact belongs to a group (one CoMID triple, one SWID tag, one measurement file); a
digest is of SHA-256 or stronger; what the manifest says and this form cannot carry is named in
``unsupported``, never dropped in silence.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.errors import ManifestMalformed, PredicateUnexpected
from provenance.model import Statement, Subject
from provenance.statement import STATEMENT_V1

if TYPE_CHECKING:
    from collections.abc import Iterable

CORIM_TYPE: Final = "urn:touchstone:manifest:corim:v1"
SWID_TYPE: Final = "urn:touchstone:manifest:swid:v1"
MEASUREMENT_FILE_TYPE: Final = "urn:touchstone:manifest:measurement-file:v1"
# Format names, as trust roots list them, to the predicate type of what is read.
FORMATS: Final = {"corim": CORIM_TYPE, "swid": SWID_TYPE, "measurement-file": MEASUREMENT_FILE_TYPE}
SUBJECT_NAME: Final = "manifest"
MAX_FACTS: Final = 8192
MAX_TEXT: Final = 2048
# Bytes that a digest of each accepted algorithm has; FIPS 180-4 and FIPS 202. Names as in the IANA
# Named Information Hash Algorithm Registry.
DIGEST_BYTES: Final = {
    "sha-256": 32,
    "sha-384": 48,
    "sha-512": 64,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
}


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One value.

    Attributes:
        group: name of the group, unique in the manifest.
        key: the measurement, spelled by its format (``uint:641``, ``text:kernel``, ``file:/boot/x``).
        field: what is said of it: ``digest.sha-384``, ``svn``, ``min-svn``, ``raw-value`` ...
        value: text, integer or boolean; bytes and digests as lower-case hex.
        environment: what the measurement is of (``class-id``, ``vendor``, ``model`` ...).
        endorsed: an endorsed value, not a reference value: it says what is so, not what to look for.
    """

    group: str
    key: str
    field: str
    value: str | int | bool
    environment: dict[str, str] = {}
    endorsed: bool = False


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The predicate.

    Attributes:
        about: what the manifest says of itself (id, version, issuer); for people.
        facts: at least one.
        unsupported: names of things in the manifest that no fact carries.
        expires: end of validity, RFC 3339, if bounded.
    """

    about: dict[str, str]
    facts: tuple[Fact, ...]
    unsupported: tuple[str, ...] = ()
    expires: str | None = None


def statement_of(predicate_type: str, content: bytes, manifest: Manifest) -> Statement:
    """The Statement that stands for a verified manifest.

    Args:
        predicate_type: one of ``FORMATS``' values.
        content: the bytes that were signed; their SHA-256 is the subject.
        manifest: the normal form.

    Raises:
        ManifestMalformed: no fact, too many, or a text that is empty, too long or not printable.
    """
    if not 1 <= len(manifest.facts) <= MAX_FACTS:
        raise ManifestMalformed(
            f"the manifest gives {len(manifest.facts)} values that are read here, 1 to {MAX_FACTS} may be"
            + (f"; not supported: {', '.join(manifest.unsupported)}" if manifest.unsupported else "")
        )
    predicate: dict[str, Any] = msgspec.to_builtins(manifest)
    for text in _texts(predicate):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise ManifestMalformed("a text of the manifest is too long, or not printable")
    digest = hashlib.sha256(content).hexdigest()
    return Statement(
        type=STATEMENT_V1,
        subjects=(Subject(name=SUBJECT_NAME, digest={"sha256": digest}),),
        predicate_type=predicate_type,
        predicate=predicate,
    )


def manifest_of(statement: Statement) -> Manifest:
    """The normal form that a Statement of a manifest carries.

    Raises:
        PredicateUnexpected: another predicate type, or not of the form.
    """
    if statement.predicate_type not in FORMATS.values():
        raise PredicateUnexpected("the statement does not carry a manifest")
    try:
        return msgspec.convert(statement.predicate, type=Manifest, strict=True)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the manifest cannot be read: {str(error)[:200]}") from error


def regrouped(fact: Fact, group: str) -> Fact:
    """The fact in another group."""
    return msgspec.structs.replace(fact, group=group)


def digest_field(algorithm: str, digest: bytes, *, what: str) -> str:
    """The field of a digest.

    Raises:
        ManifestMalformed: an algorithm that is not accepted, or the wrong length.
    """
    length = DIGEST_BYTES.get(algorithm)
    if length is None:
        raise ManifestMalformed(f"{what}: the digest algorithm is weak or not known")
    if len(digest) != length:
        raise ManifestMalformed(f"{what}: a {algorithm} digest has {len(digest)} bytes, not {length}")
    return f"digest.{algorithm}"


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
