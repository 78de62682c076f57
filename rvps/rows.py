"""Rows of the store as typed values, for the look-up and for the queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import and_, select

from rvps.derivations import parts_of
from rvps.model import MAX_MATERIALS_SHOWN, Lineage, MaterialRecord, ReferenceValue
from rvps.quorum import stated
from rvps.tables import (
    NEVER,
    attestation,
    attestation_material,
    attestation_origin,
    attestation_signer,
    reference_value,
)
from storage.database import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Row, Select

IN_CHUNK: Final = 500

# A value with its lineage. Names of the attestation's own columns are kept apart by a prefix.
_COLUMNS: Final = (
    *reference_value.c,
    attestation.c.predicate_type,
    attestation.c.signer,
    attestation.c.signer_issuer,
    attestation.c.signer_root,
    attestation.c.signers,
    attestation.c.builder,
    attestation.c.source_uri,
    attestation.c.source_revision,
    attestation.c.log_index,
    attestation.c.log_time,
    attestation.c.log_id,
    attestation_signer.c.certificate,
    attestation_signer.c.serial,
    attestation_signer.c.key,
)
_FIRST_SIGNER: Final = and_(
    attestation_signer.c.attestation == attestation.c.digest, attestation_signer.c.ordinal == 0
)


def values_with_lineage() -> Select[Any]:
    """Select of every column that ``reference_values`` reads."""
    return (
        select(*_COLUMNS)
        .join(attestation, attestation.c.digest == reference_value.c.attestation)
        .outerjoin(attestation_signer, _FIRST_SIGNER)
    )


def reference_values(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[ReferenceValue, ...]:
    """The values in rows of ``values_with_lineage``, in their order; without materials and origins."""
    several = {row.attestation for row in rows if row.signers > 1}
    others = _co_signers(connection, several) if several else {}
    return tuple(_value(row, others.get(row.attestation, ())) for row in rows)


def with_materials(connection: Connection, values: Sequence[ReferenceValue]) -> list[ReferenceValue]:
    """The values, each with the first of its attestation's materials and with its origins."""
    digests = {value.lineage.attestation for value in values}
    found = {digest: materials_of(connection, digest) for digest in digests}
    origins = _origins(connection, digests)
    return [_with_materials(value, found, origins) for value in values]


def materials_of(connection: Connection, digest: str) -> tuple[MaterialRecord, ...]:
    """Every material of an attestation, in the order of its statement."""
    rows = connection.execute(
        select(attestation_material)
        .where(attestation_material.c.attestation == digest)
        .order_by(attestation_material.c.ordinal, attestation_material.c.algorithm)
    )
    found: dict[int, MaterialRecord] = {}
    for row in rows:
        known = found.get(row.ordinal, MaterialRecord(row.uri))
        more = {} if row.digest is None else {row.algorithm: row.digest}
        found[row.ordinal] = MaterialRecord(row.uri, known.digest | more)
    return tuple(found.values())


def rfc3339(moment: datetime) -> str:
    """RFC 3339 text of an instant in UTC, with as many fractional digits as it has."""
    return moment.isoformat().replace("+00:00", "Z")


def rfc3339_of(micros: int) -> str:
    """RFC 3339 text of a stored time."""
    return rfc3339(from_micros(micros))


def _with_materials(
    value: ReferenceValue,
    materials: Mapping[str, Sequence[MaterialRecord]],
    origins: Mapping[str, tuple[str, ...]],
) -> ReferenceValue:
    every = materials[value.lineage.attestation]
    lineage = replace(
        value.lineage,
        materials=tuple(every[:MAX_MATERIALS_SHOWN]),
        more_materials=max(len(every) - MAX_MATERIALS_SHOWN, 0),
        origins=origins.get(value.lineage.attestation, ()),
    )
    return replace(value, lineage=lineage)


def _origins(connection: Connection, digests: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    wanted = sorted(digests)
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(wanted), IN_CHUNK):
        rows = connection.execute(
            select(attestation_origin.c.attestation, attestation_origin.c.origin)
            .where(attestation_origin.c.attestation.in_(wanted[start : start + IN_CHUNK]))
            .order_by(attestation_origin.c.origin)
        )
        for row in rows:
            found[row.attestation] = (*found.get(row.attestation, ()), row.origin)
    return found


def _value(row: Row[Any], co_signers: tuple[str, ...]) -> ReferenceValue:
    domains, required = stated(row.vote)
    return ReferenceValue(
        id=row.id,
        name=row.name,
        value=msgspec.json.decode(row.value),
        tee=row.tee,
        group=row.release_group,
        not_before=from_micros(row.not_before),
        lineage=Lineage(
            attestation=row.attestation,
            predicate_type=row.predicate_type,
            signer=row.signer,
            issuer=row.signer_issuer,
            root=row.signer_root,
            co_signers=co_signers,
            trust_policy=row.trust_policy,
            rule=row.rule,
            submitted_by=row.submitted_by,
            submitted_at=rfc3339_of(row.submitted_at),
            builder=row.builder,
            source_uri=row.source_uri,
            source_revision=row.source_revision,
            log_index=row.log_index,
            log_time=None if row.log_time is None else rfc3339_of(row.log_time),
            inputs=msgspec.json.decode(row.inputs),
            log_id=row.log_id,
            certificate=row.certificate,
            serial=row.serial,
            key=row.key,
            tools=tuple(part for part in parts_of(row.derivation) if part != row.rule),
            domains=domains,
            required_domains=required,
        ),
        scalar=row.scalar,
        expires=None if row.expires == NEVER else from_micros(row.expires),
    )


def _co_signers(connection: Connection, digests: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    wanted = sorted(digests)
    for start in range(0, len(wanted), IN_CHUNK):
        rows = connection.execute(
            select(attestation_signer.c.attestation, attestation_signer.c.identity)
            .where(attestation_signer.c.attestation.in_(wanted[start : start + IN_CHUNK]))
            .where(attestation_signer.c.ordinal > 0)
            .order_by(attestation_signer.c.attestation, attestation_signer.c.ordinal)
        )
        for row in rows:
            found[row.attestation] = (*found.get(row.attestation, ()), row.identity)
    return found
