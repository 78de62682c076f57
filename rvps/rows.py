"""Rows of the store as typed values, for the look-up and for the queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select

from rvps.model import Lineage, ReferenceValue
from rvps.tables import NEVER, attestation, attestation_signer, reference_value
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
)


def values_with_lineage() -> Select[Any]:
    """Select of every column that ``reference_values`` reads."""
    return select(*_COLUMNS).join(attestation, attestation.c.digest == reference_value.c.attestation)


def reference_values(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[ReferenceValue, ...]:
    """The values in rows of ``values_with_lineage``, in their order."""
    several = {row.attestation for row in rows if row.signers > 1}
    others = _co_signers(connection, several) if several else {}
    return tuple(_value(row, others.get(row.attestation, ())) for row in rows)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 text of an instant in UTC, with as many fractional digits as it has."""
    return moment.isoformat().replace("+00:00", "Z")


def rfc3339_of(micros: int) -> str:
    """RFC 3339 text of a stored time."""
    return rfc3339(from_micros(micros))


def _value(row: Row[Any], co_signers: tuple[str, ...]) -> ReferenceValue:
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
