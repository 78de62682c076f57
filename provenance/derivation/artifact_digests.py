"""Rule ``artifact-digest``: digests of attested artefacts, as reference values under stated names.

Order: launch shape -> artefacts bound to subjects -> one value per stated row.

Each row says where its digest comes from: ``artifact`` computes it from bytes at hand, which must be a
subject; ``subject`` takes the digest that the statement states for the subject that the request names for
the role. Nothing is converted: a subject that states SHA-256 alone gives no SHA-384 without the bytes.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from common.encoding import identifier
from common.errors import InvalidIdentifier
from provenance.derivation.derived import MAX_STATED, Output, check_tee, convert, data_of, record
from provenance.derivation.subjects import bind, named_subject
from provenance.errors import LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.derivation.subjects import BoundInput
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "artifact-digest"
VERSION: Final = 1


class Algorithm(StrEnum):
    """Hashes that a value may be of."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


class Source(StrEnum):
    """Where a digest comes from."""

    ARTIFACT = "artifact"
    SUBJECT = "subject"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value.

    Attributes:
        role: the artefact's role, or a key of the request's ``subjects``.
        name: reference name of the value.
        algorithm: the hash.
        source: where the digest comes from.
    """

    role: str
    name: str
    algorithm: Algorithm
    source: Source


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tee: str
    values: list[Row]


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): one value per row, hex.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed, or states one name twice.
        SubjectMismatch: an artefact is not a subject of the statement.
        NotDerivable: an artefact is missing or superfluous; a subject does not exist, or states no
            digest of the algorithm.
    """
    shape = convert(request.launch, _Shape)
    check_tee(shape.tee)
    _check_rows(shape.values)
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    by_bytes = {row.role for row in shape.values if row.source is Source.ARTIFACT}
    by_name = {row.role for row in shape.values if row.source is Source.SUBJECT}
    _check_roles(request, artifacts, by_bytes, by_name)
    names = {role: name for role, name in request.subjects.items() if role in by_bytes}
    inputs = bind(admitted, msgspec.structs.replace(request, subjects=names), artifacts)
    values: list[DerivedValue] = []
    for row in shape.values:
        digest = _digest(admitted, request, inputs, row)
        own = {"launch": msgspec.to_builtins(row), row.role: digest.hex()}
        values.append(output.value(row.name, digest.hex(), shape.tee, record(inputs) | own))
    return tuple(values)


def _digest(
    admitted: AdmittedStatement, request: DerivationRequest, inputs: Mapping[str, BoundInput], row: Row
) -> bytes:
    if row.source is Source.ARTIFACT:
        return hashlib.new(row.algorithm.value, data_of(inputs, row.role)).digest()
    name = request.subjects.get(row.role)
    if name is None:
        raise NotDerivable(f"the request names no subject for {row.role[:64]!a}")
    stated = named_subject(admitted.authentic.statement, row.role, name).digest.get(row.algorithm.value)
    if stated is None:
        raise NotDerivable(f"the subject for {row.role[:64]!a} states no {row.algorithm.value} digest")
    return bytes.fromhex(stated)


def _check_rows(rows: list[Row]) -> None:
    if not 1 <= len(rows) <= MAX_STATED:
        raise LaunchShapeInvalid(f"launch shape: values lists 1 to {MAX_STATED} rows")
    if len({row.name for row in rows}) != len(rows):
        raise LaunchShapeInvalid("launch shape: two rows have one name")
    for row in rows:
        try:
            identifier(row.name, what="name")
        except InvalidIdentifier as error:
            raise LaunchShapeInvalid(f"launch shape: {error.message}") from error


def _check_roles(
    request: DerivationRequest, artifacts: Sequence[Artifact], by_bytes: set[str], by_name: set[str]
) -> None:
    if by_bytes & by_name:
        raise LaunchShapeInvalid("launch shape: a role is an artefact in one row and a subject in another")
    given = {artifact.role for artifact in artifacts}
    superfluous = (given - by_bytes) | (request.subjects.keys() - by_bytes - by_name)
    if superfluous:
        named = ", ".join(ascii(role[:64]) for role in sorted(superfluous))
        raise NotDerivable(f"artefacts or subjects that no row takes a digest of: {named}")
