"""The outer document of a measurement file, and its payload. docs/formats.md specifies both.

Outer: ``format`` (``urn:touchstone:measurement-file:v1``), ``payload`` (base64 of the file's bytes) and one
of ``bundle`` (a Sigstore bundle with a message signature over these bytes) and ``signature`` (``sig``,
optional ``keyid``); neither for a file that is not signed.

Payload, by its shape: a release manifest (``schemaVersion`` 1, ``measurements``: name to ``algorithm`` and
``value``), or reference values as CoCo's RVPS takes them (name to a scalar or a list of scalars).

Source of the payloads: confidential-containers/trustee, rvps, extractor ``sample``; openanolis/trustee,
release manifest.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common import strict_json
from common.encoding import b64_decode, hex_decode
from common.errors import InputError
from provenance.errors import ManifestMalformed, StatementUnsigned
from provenance.manifests.values import MAX_FACTS, Fact, Manifest, digest_field

FORMAT: Final = "urn:touchstone:measurement-file:v1"
GROUP: Final = "file"
_RELEASE: Final = frozenset({"schemaVersion", "measurements"})
_RELEASE_VERSION: Final = 1
_RELEASE_ALGORITHMS: Final = {"sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"}
_MAX_NAME: Final = 256
_MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A detached signature: base64 over the payload's bytes, in the key's own encoding (ECDSA: DER)."""

    sig: str
    keyid: str | None = None


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outer document."""

    format: str
    payload: str
    bundle: dict[str, Any] | None = None
    signature: Signature | None = None


def parse(document: dict[str, Any]) -> tuple[Outer, bytes]:
    """The outer document, and the payload's bytes.

    Raises:
        ManifestMalformed: not of the form, or both a bundle and a signature.
    """
    try:
        outer = msgspec.convert(document, type=Outer, strict=True)
        payload = b64_decode(outer.payload, what="payload")
    except (msgspec.ValidationError, InputError) as error:
        raise ManifestMalformed(f"the measurement file cannot be read: {str(error)[:200]}") from error
    if outer.format != FORMAT:
        raise ManifestMalformed(f"the measurement file's format is not {FORMAT}")
    if outer.bundle is not None and outer.signature is not None:
        raise ManifestMalformed(
            "the measurement file has a bundle and a signature: which counts is not said"
        )
    return outer, payload


def signature_bytes(signature: Signature) -> bytes:
    """The signature, decoded.

    Raises:
        ManifestMalformed: not canonical base64.
        StatementUnsigned: empty.
    """
    try:
        data = b64_decode(signature.sig, what="sig")
    except InputError as error:
        raise ManifestMalformed(error.message) from error
    if not data:
        raise StatementUnsigned("the measurement file's signature is empty")
    return data


def manifest_of(payload: bytes) -> Manifest:
    """The normal form: one group, keys are the names.

    Raises:
        ManifestMalformed: not strict JSON, of neither shape, or a value that is no scalar.
    """
    try:
        document = strict_json.loads(payload, what="the measurement file's payload")
    except InputError as error:
        raise ManifestMalformed(error.message) from error
    if not isinstance(document, dict) or not document:
        raise ManifestMalformed("the measurement file's payload is not an object with members")
    if set(document) == _RELEASE:
        facts, kind = _release(document), "release-manifest"
    else:
        facts, kind = _values(document), "reference-values"
    return Manifest(about={"payload": kind}, facts=tuple(facts))


def _release(document: dict[str, Any]) -> list[Fact]:
    measurements = document["measurements"]
    if document["schemaVersion"] is not True and document["schemaVersion"] == _RELEASE_VERSION:
        if isinstance(measurements, dict) and 1 <= len(measurements) <= MAX_FACTS:
            return [_measurement(name, item) for name, item in measurements.items()]
        raise ManifestMalformed("the release manifest has no measurements, or too many")
    raise ManifestMalformed("the release manifest's schemaVersion is not 1")


def _measurement(name: str, item: object) -> Fact:
    if not isinstance(item, dict) or set(item) != {"algorithm", "value"}:
        raise ManifestMalformed("a measurement is not an algorithm and a value")
    algorithm, value = item["algorithm"], item["value"]
    if not isinstance(algorithm, str) or not isinstance(value, str):
        raise ManifestMalformed("a measurement's algorithm or value is not text")
    try:
        digest = hex_decode(value, what="a measurement")
    except InputError as error:
        raise ManifestMalformed(error.message) from error
    field = digest_field(_RELEASE_ALGORITHMS.get(algorithm, ""), digest, what="a measurement")
    return Fact(group=GROUP, key=_key(name), field=field, value=value)


def _values(document: dict[str, Any]) -> list[Fact]:
    facts: list[Fact] = []
    for name, value in document.items():
        items = value if isinstance(value, list) else [value]
        if not items:
            raise ManifestMalformed("a reference value is an empty list")
        facts += [Fact(group=GROUP, key=_key(name), field="value", value=_scalar(item)) for item in items]
        if len(facts) > MAX_FACTS:
            raise ManifestMalformed(f"the measurement file states more than {MAX_FACTS} values")
    return facts


def _scalar(value: object) -> str | int | bool:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= _MAX_SAFE_INTEGER):
        return value
    raise ManifestMalformed(
        "a reference value is not a non-empty text, an integer below 2**53, or a boolean"
    )


def _key(name: str) -> str:
    if not 1 <= len(name) <= _MAX_NAME:
        raise ManifestMalformed("a measurement's name is empty or too long")
    return name
