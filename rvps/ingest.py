"""Write side: an admitted statement and what was derived from it become reference values.

Order, all in one write transaction that first takes the store's state (so that no retraction slips in
between):

1. everything that will be stored is checked;
2. a retracted attestation is refused, and one that a standing retraction covers (so are one by a retracted
   submitter, and a derivation by a retracted rule or tool);
3. attestation, envelope, signers, materials and origins are written, unless they are there;
4. values that are not there are written;
5. if anything was written, the store's state advances.

Invariants: ingesting the same attestation with the same derived values again changes nothing. A value's
identity is a digest of attestation, name, value, TEE, group, rule, inputs, scalar and end of validity;
its beginning is not part of it, since an unlogged signature is dated by its first arrival. A value that
was retracted by itself does not come back in another guise (group, rule, dates) of the same attestation.

Not done here: verification and derivation (``provenance.pipeline``), whose types are taken as proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert, select, update

from rvps import snapshot, targets
from rvps.errors import AlreadyRetracted
from rvps.ingest_rows import (
    attestation_row,
    check,
    document_row,
    effective_at,
    first_signer,
    key_of,
    material_rows,
    origin_rows,
    origins_of,
    part_rows,
    signer_rows,
    value_row,
)
from rvps.rows import IN_CHUNK
from rvps.tables import (
    attestation,
    attestation_document,
    attestation_material,
    attestation_origin,
    attestation_signer,
    derivation_part,
    reference_value,
    retraction,
)
from rvps.targets import Facts, TargetKind
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from provenance.model import AdmittedStatement, DerivedValue, Signer
    from rvps.ingest_rows import Origin
    from storage.database import Database


class IngestResult(msgspec.Struct, frozen=True):
    """What an ingest did.

    Attributes:
        attestation: SHA-256 of the envelope, hex.
        created: something was stored that was not there.
        reference_values: ids of all derived values, in their order.
        added: those of them that are new.
        retracted: those of them that are, and stay, retracted.
        snapshot: the store's state after it.
    """

    attestation: str
    created: bool
    reference_values: tuple[str, ...]
    added: tuple[str, ...]
    retracted: tuple[str, ...]
    snapshot: str


def ingest(
    database: Database,
    admitted: AdmittedStatement,
    derived: Sequence[DerivedValue],
    *,
    submitted_by: str,
    now: datetime,
) -> IngestResult:
    """Store an attestation and its reference values; durable when it returns.

    Args:
        database: where.
        admitted: what the trust policy admitted.
        derived: what was derived from it; may be none.
        submitted_by: the caller.
        now: aware UTC.

    Raises:
        AlreadyRetracted: the attestation was retracted, or its signer, builder, source or an origin.
        Malformed, TooLarge: a text or value that cannot be stored.
        DatabaseUnavailable: nothing was stored.
    """
    with database.write() as connection:
        return ingest_in(connection, admitted, derived, submitted_by=submitted_by, now=now)


def ingest_in(
    connection: Connection,
    admitted: AdmittedStatement,
    derived: Sequence[DerivedValue],
    *,
    submitted_by: str,
    now: datetime,
) -> IngestResult:
    """``ingest`` as part of the caller's write transaction."""
    origins = origins_of(derived)
    check(admitted, origins, submitted_by)
    rows = {row["id"]: row for row in (value_row(admitted, value) for value in derived)}
    before = snapshot.lock(connection)
    known = _known(connection, admitted.authentic.attestation)
    facts = _facts(admitted, origins, rows.values(), known)
    facts = msgspec.structs.replace(facts, submitter=submitted_by, submitted_at=to_micros(now))
    _refuse_retracted(connection, facts, known)
    stamp = {"submitted_by": submitted_by, "submitted_at": to_micros(now), "epoch": before.epoch + 1}
    wrote = _write_attestation(connection, admitted, origins, known, stamp)
    present = _present(connection, rows)
    dead = _individually_retracted(connection, admitted.authentic.attestation)
    fresh = [row for row in rows.values() if row["id"] not in present and _claim(row) not in dead]
    if fresh:
        _write_parts(connection, [row["derivation"] for row in fresh])
        connection.execute(insert(reference_value), [row | stamp for row in fresh])
    added = tuple(row["id"] for row in fresh)
    after = before
    if wrote or added:
        change = {
            "change": "ingested",
            "attestation": admitted.authentic.attestation,
            "reference_values": list(added),
            "by": submitted_by,
        }
        after = snapshot.advance(connection, before, change, now)
    return IngestResult(
        attestation=admitted.authentic.attestation,
        created=wrote or bool(added),
        reference_values=tuple(rows),
        added=added,
        retracted=tuple(
            key for key, row in rows.items() if present.get(key) is not None or _claim(row) in dead
        ),
        snapshot=after.snapshot,
    )


def _known(connection: Connection, digest: str) -> Any:
    return connection.execute(
        select(
            attestation.c.retraction,
            attestation.c.effective_at,
            attestation.c.signers,
            attestation.c.unverified,
        ).where(attestation.c.digest == digest)
    ).one_or_none()


def _refuse_retracted(connection: Connection, facts: Facts, known: Any) -> None:
    by = known.retraction if known is not None else None
    if by is None:
        by = targets.standing(connection, facts)
    if by is None:
        return
    row = connection.execute(select(retraction).where(retraction.c.id == by)).one()
    raise AlreadyRetracted(
        f"what was submitted is retracted, with its {row.kind}: {row.reason}",
        details={"retraction": row.id, "kind": row.kind, "target": row.value, "reason": row.reason},
    )


def _facts(
    admitted: AdmittedStatement, origins: Sequence[Origin], rows: Iterable[Mapping[str, Any]], known: Any
) -> Facts:
    signers = admitted.authentic.signers
    return Facts(
        attestations=frozenset({admitted.authentic.attestation, *(item.attestation for item in origins)}),
        signers=frozenset((signer.identity, signer.issuer) for signer in admitted.authentic.signers),
        builders=_given(admitted.builder, *(item.builder for item in origins)),
        source_uris=_given(admitted.source_uri, *(item.source_uri for item in origins)),
        source_revisions=_given(admitted.source_revision, *(item.source_revision for item in origins)),
        keys=_given(*(signer.certificate for signer in signers), *(map(key_of, signers))),
        materials=frozenset(
            text for item in admitted.materials for text in targets.material_names(item.uri, item.digest)
        ),
        parts=frozenset(row["part"] for row in part_rows(row["derivation"] for row in rows)),
        effective_at=known.effective_at if known is not None else effective_at(admitted),
    )


def _given(*texts: str | None) -> frozenset[str]:
    return frozenset(text for text in texts if text is not None)


def _write_attestation(
    connection: Connection,
    admitted: AdmittedStatement,
    origins: Sequence[Origin],
    known: Any,
    stamp: Mapping[str, Any],
) -> bool:
    """Write what of the attestation is not there yet; whether there was anything."""
    digest = admitted.authentic.attestation
    if known is None:
        connection.execute(insert(attestation).values(**attestation_row(admitted), **stamp))
        connection.execute(insert(attestation_document).values(document_row(admitted)))
    elif known.unverified and not admitted.authentic.unverified:
        # A later trust policy knows who signed it. Its values so far stay what they were.
        columns = first_signer(admitted.authentic.signers) | {"unverified": None}
        connection.execute(update(attestation).where(attestation.c.digest == digest).values(columns))
    new_signers = _write_signers(connection, digest, admitted.authentic.signers)
    new_materials = _write_materials(connection, admitted)
    new_origins = _write_origins(connection, digest, origins)
    return known is None or new_signers or new_materials or new_origins


def _write_signers(connection: Connection, digest: str, signers: Sequence[Signer]) -> bool:
    """Add signers that were not known: a later trust policy may recognise more of the signatures."""
    rows = connection.execute(
        select(attestation_signer.c.identity, attestation_signer.c.issuer, attestation_signer.c.root).where(
            attestation_signer.c.attestation == digest
        )
    ).all()
    known = {tuple(row) for row in rows}
    new = [item for item in signers if (item.identity, item.issuer, item.root) not in known]
    if not new:
        return False
    connection.execute(insert(attestation_signer), signer_rows(digest, new, len(rows)))
    connection.execute(
        update(attestation).where(attestation.c.digest == digest).values(signers=len(rows) + len(new))
    )
    return True


def _write_materials(connection: Connection, admitted: AdmittedStatement) -> bool:
    """Write the materials, unless some are there: they are read from the envelope, which is the same."""
    if not admitted.materials:
        return False
    digest = admitted.authentic.attestation
    there = select(attestation_material.c.ordinal).where(attestation_material.c.attestation == digest)
    if connection.execute(there.limit(1)).first() is not None:
        return False
    connection.execute(insert(attestation_material), material_rows(admitted))
    return True


def _write_parts(connection: Connection, derivations: Sequence[str]) -> None:
    wanted = sorted(set(derivations))
    known = connection.execute(
        select(derivation_part.c.derivation).where(derivation_part.c.derivation.in_(wanted)).distinct()
    ).scalars()
    if rows := part_rows(set(wanted) - set(known)):
        connection.execute(insert(derivation_part), rows)


def _write_origins(connection: Connection, digest: str, origins: Sequence[Origin]) -> bool:
    if not origins:
        return False
    known = set(
        connection.execute(
            select(attestation_origin.c.origin).where(attestation_origin.c.attestation == digest)
        ).scalars()
    )
    new = [item for item in origins if item.attestation not in known]
    if new:
        connection.execute(insert(attestation_origin), origin_rows(digest, new))
    return bool(new)


def _present(connection: Connection, ids: Iterable[str]) -> dict[str, str | None]:
    """Which of the ids are stored, each with its retraction."""
    wanted = list(ids)
    found: dict[str, str | None] = {}
    for start in range(0, len(wanted), IN_CHUNK):
        rows = connection.execute(
            select(reference_value.c.id, reference_value.c.retraction).where(
                reference_value.c.id.in_(wanted[start : start + IN_CHUNK])
            )
        )
        found |= {row.id: row.retraction for row in rows}
    return found


def _individually_retracted(connection: Connection, digest: str) -> set[tuple[str, str]]:
    rows = connection.execute(
        select(reference_value.c.name, reference_value.c.value)
        .join(retraction, retraction.c.id == reference_value.c.retraction)
        .where(reference_value.c.attestation == digest)
        .where(retraction.c.kind == TargetKind.REFERENCE_VALUE.value)
    )
    return {(row.name, row.value) for row in rows}


def _claim(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["name"], row["value"]
