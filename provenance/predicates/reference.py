"""Our own measurement predicate, ``urn:touchstone:reference-values:v1``, strictly parsed.

No upstream predicate says "these measurements are good", so this one does. docs/formats.md specifies it;
``provenance.predicates.reference_statement`` makes statements with it.

Invariants: no unknown member, no member with a default that decides, one spelling of each value.

Source: in-toto attestation framework, spec/v1/predicate.md.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.encoding import hex_decode, identifier
from common.errors import InputError
from provenance.errors import PredicateUnexpected
from provenance.instants import rfc3339
from provenance.statement import STATEMENT_V1

if TYPE_CHECKING:
    from provenance.model import Statement

PREDICATE_TYPE: Final = "urn:touchstone:reference-values:v1"
TEES: Final = (
    "az-snp-vtpm", "az-tdx-vtpm", "cca", "csv", "nitro", "nvidia", "se", "sev", "sgx", "snp", "tdx", "tpm",
)  # fmt: skip
MAX_VALUES: Final = 4096
MAX_SOURCES: Final = 256
MAX_TEXT: Final = 2048
_SHA256_BYTES: Final = 32
_MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2
# Reference names whose values are digests of one length, in bytes.
_DIGEST_BYTES: Final = {
    "snp_launch_measurement": 48,
    "snp_id_key_digest": 48,
    "snp_author_key_digest": 48,
    "sgx_mr_enclave": 32,
    "sgx_mr_signer": 32,
    "csv_measure": 32,
}


class StatedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One value, as the predicate states it.

    Attributes:
        name: reference name, an identifier.
        value: text, integer or boolean; digests as lower-case hex.
        tee: one of ``TEES``.
        group: release that the value belongs to, an identifier.
        scalar: a minimum rather than a member of a set.
        inputs: what of the derivation's inputs is this value's own.
    """

    name: str
    value: str | int | bool
    tee: str
    group: str
    scalar: bool = False
    inputs: dict[str, Any] = {}


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """An attestation that the values were derived from.

    Attributes:
        attestation: SHA-256 of its envelope, lower-case hex.
        builder: SLSA builder id.
        source_uri: source repository.
        source_revision: commit digest.
    """

    attestation: str
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None


class ReferenceValues(msgspec.Struct, frozen=True):
    """The predicate.

    Attributes:
        values: at least one.
        derived_from: at least one attestation.
        rule: derivation rule and version.
        inputs: what all values have in common: artefact role to SHA-256, tool, launch shape.
        issued_at: when the statement was made.
        expires: end of validity of every value, if bounded; later than ``issued_at``.
    """

    values: tuple[StatedValue, ...]
    derived_from: tuple[Source, ...]
    rule: str
    inputs: dict[str, Any]
    issued_at: datetime
    expires: datetime | None = None


class _Predicate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    values: tuple[StatedValue, ...]
    derived_from: tuple[Source, ...]
    rule: str
    inputs: dict[str, Any]
    issued_at: str
    # Absent and null are not the same: null is refused, so that there is one spelling.
    expires: str | msgspec.UnsetType = msgspec.UNSET


def parse(statement: Statement) -> ReferenceValues:
    """Read the predicate of a statement.

    Raises:
        PredicateUnexpected: another predicate type, or not exactly the specified members.
    """
    if statement.predicate_type != PREDICATE_TYPE or statement.type != STATEMENT_V1:
        raise PredicateUnexpected(f"the statement is not a Statement v1 with predicate {PREDICATE_TYPE}")
    try:
        document = msgspec.convert(statement.predicate, type=_Predicate, strict=True)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"the reference-value predicate cannot be read: {error}") from error
    if not 1 <= len(document.values) <= MAX_VALUES:
        raise PredicateUnexpected(
            f"the predicate has {len(document.values)} values, 1 to {MAX_VALUES} may be"
        )
    if not 1 <= len(document.derived_from) <= MAX_SOURCES:
        raise PredicateUnexpected(f"the predicate names no source, or more than {MAX_SOURCES}")
    for value in document.values:
        check_value(value)
    for source in document.derived_from:
        _check_source(source)
    _check_text(document.rule, "rule")
    issued_at, expires = _instants(document)
    return ReferenceValues(
        values=document.values,
        derived_from=document.derived_from,
        rule=document.rule,
        inputs=document.inputs,
        issued_at=issued_at,
        expires=expires,
    )


def check_value(value: StatedValue) -> None:
    """Hold one value to what the predicate, and every reference value, must satisfy.

    Raises:
        PredicateUnexpected: name, group, TEE or value is not usable.
    """
    try:
        identifier(value.name, what="a value's name")
        identifier(value.group, what="a value's group")
        length = _DIGEST_BYTES.get(value.name)
        if length is not None:
            hex_decode(str(value.value), what=f"the value of {value.name}", length=length)
    except InputError as error:
        raise PredicateUnexpected(error.message) from error
    if value.tee not in TEES:
        raise PredicateUnexpected(f"a value's tee is not one of {', '.join(TEES)}")
    if isinstance(value.value, str):
        _check_text(value.value, f"the value of {value.name}")
    elif abs(value.value) > _MAX_SAFE_INTEGER:
        raise PredicateUnexpected(f"the value of {value.name} is beyond 2**53-1")


def _check_source(source: Source) -> None:
    try:
        hex_decode(source.attestation, what="derivedFrom.attestation", length=_SHA256_BYTES)
    except InputError as error:
        raise PredicateUnexpected(error.message) from error
    for name in ("builder", "source_uri", "source_revision"):
        text = getattr(source, name)
        if text is not None:
            _check_text(text, f"derivedFrom.{name}")


def _check_text(text: str, what: str) -> None:
    if not 1 <= len(text) <= MAX_TEXT or not text.isprintable():
        raise PredicateUnexpected(f"{what} is empty, too long, or not printable")


def _instants(document: _Predicate) -> tuple[datetime, datetime | None]:
    issued_at = rfc3339(document.issued_at)
    if issued_at is None:
        raise PredicateUnexpected("issuedAt is not an RFC 3339 date-time with an offset")
    if document.expires is msgspec.UNSET:
        return issued_at, None
    expires = rfc3339(document.expires)
    if expires is None or expires <= issued_at:
        raise PredicateUnexpected("expires is not an RFC 3339 date-time later than issuedAt")
    return issued_at, expires
