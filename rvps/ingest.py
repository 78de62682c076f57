"""Write side: an admitted statement and what was derived from it become reference values.

Order, all in one write transaction that first takes the store's state (so that no retraction slips in
between):

1. everything that will be stored is checked;
2. a retracted attestation is refused, and one that a standing retraction covers;
3. attestation, envelope, signers and origins are written, unless they are there;
4. values that are not there are written;
5. if anything was written, the store's state advances.

Invariants: ingesting the same attestation with the same derived values again changes nothing. A value's
identity is a digest of attestation, name, value, TEE, group, rule, inputs, scalar and end of validity;
its beginning is not part of it, since an unlogged signature is dated by its first arrival. A value that
was retracted by itself does not come back in another guise (group, rule, dates) of the same attestation.

Not done here: verification and derivation (``provenance.pipeline``), whose types are taken as proof.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import insert, select, update

from common.encoding import hex_decode
from common.errors import Malformed, TooLarge
from policy.port import canonical_key
from rvps import snapshot, targets
from rvps.errors import AlreadyRetracted
from rvps.tables import (
    NEVER,
    attestation,
    attestation_document,
    attestation_origin,
    attestation_signer,
    reference_value,
    retraction,
)
from rvps.targets import Facts, TargetKind, printable
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from provenance.model import AdmittedStatement, DerivedValue, Signer
    from storage.database import Database

_SHA256_BYTES: Final = 32
_ID_HEX_CHARS: Final = 32
# PostgreSQL takes at most 2704 bytes of an index entry (nbtree, BTMaxItemSize): name, key and date.
MAX_NAME_BYTES: Final = 256
MAX_KEY_BYTES: Final = 2048
_IN_CHUNK: Final = 500
# RFC 7493 section 2.2: integers that every JSON reader keeps exact.
_MAX_SAFE_INTEGER: Final = 2**53 - 1


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


class Origin(msgspec.Struct, frozen=True, rename="camel"):
    """An attestation that a reference-value statement names as its source (``inputs.derivedFrom``)."""

    attestation: str
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None


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
    origins = _origins(derived)
    _check(admitted, origins, submitted_by)
    rows = {row["id"]: row for row in (_value_row(admitted, value) for value in derived)}
    before = snapshot.lock(connection)
    known = _known(connection, admitted.authentic.attestation)
    _refuse_retracted(connection, admitted, origins, known)
    stamp = {"submitted_by": submitted_by, "submitted_at": to_micros(now), "epoch": before.epoch + 1}
    wrote = _write_attestation(connection, admitted, origins, known, stamp)
    present = _present(connection, rows)
    dead = _individually_retracted(connection, admitted.authentic.attestation)
    fresh = [row for row in rows.values() if row["id"] not in present and _claim(row) not in dead]
    if fresh:
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


def value_id(row: Mapping[str, Any]) -> str:
    """Id of a value: ``rv-`` and 128 bits of a SHA-256 over what makes it this value."""
    identity = [
        row["attestation"],
        row["name"],
        row["value"],
        row["tee"],
        row["release_group"],
        row["rule"],
        row["inputs"],
        row["scalar"],
        row["expires"],
    ]
    return f"rv-{hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:_ID_HEX_CHARS]}"


def _value_row(admitted: AdmittedStatement, value: DerivedValue) -> dict[str, Any]:
    _check_value(value)
    key = canonical_key(value.value)
    if len(key.encode("utf-8")) > MAX_KEY_BYTES:
        raise TooLarge(f"a value of {value.name} has more than {MAX_KEY_BYTES} bytes")
    row: dict[str, Any] = {
        "name": value.name,
        "value": _json(value.value),
        "value_key": key,
        "tee": printable(value.tee, what="a value's tee"),
        "release_group": printable(value.group, what="a value's group"),
        "scalar": value.scalar,
        "not_before": to_micros(value.not_before),
        "expires": NEVER if value.expires is None else to_micros(value.expires),
        "rule": printable(value.rule, what="a value's rule"),
        "inputs": _json(value.inputs),
        "attestation": admitted.authentic.attestation,
        "trust_policy": admitted.trust_policy,
        "retraction": None,
    }
    return {"id": value_id(row), **row}


def _check_value(value: DerivedValue) -> None:
    printable(value.name, what="a reference name")
    if len(value.name.encode("utf-8")) > MAX_NAME_BYTES:
        raise TooLarge(f"a reference name has more than {MAX_NAME_BYTES} bytes")
    if isinstance(value.value, str):
        printable(value.value, what=f"the value of {value.name}")
    elif not isinstance(value.value, int) or abs(value.value) > _MAX_SAFE_INTEGER:
        raise Malformed(f"the value of {value.name} is not text, a boolean or an integer within 2**53-1")
    for moment in (value.not_before, value.expires):
        if moment is not None and moment.tzinfo is None:
            raise Malformed(f"a date of {value.name} has no time zone")
    if value.expires is not None and value.expires <= value.not_before:
        raise Malformed(f"the validity of {value.name} ends before it begins")


def _check(admitted: AdmittedStatement, origins: Sequence[Origin], submitted_by: str) -> None:
    authentic = admitted.authentic
    if hashlib.sha256(authentic.envelope).hexdigest() != authentic.attestation:
        raise Malformed("the attestation's digest is not that of its envelope")
    if not authentic.signers:
        raise Malformed("the attestation has no verified signer")
    texts: list[str | None] = [
        submitted_by,
        admitted.trust_policy,
        authentic.statement.predicate_type,
        admitted.builder,
        admitted.source_uri,
        admitted.source_revision,
    ]
    for signer in authentic.signers:
        texts += [signer.kind, signer.identity, signer.issuer, signer.root]
    for origin in origins:
        texts += [origin.builder, origin.source_uri, origin.source_revision]
    for text in texts:
        if text is not None:
            printable(text, what="a text of the attestation's lineage")


def _origins(derived: Sequence[DerivedValue]) -> tuple[Origin, ...]:
    found: dict[str, Origin] = {}
    for value in derived:
        for entry in _derived_from(value):
            hex_decode(entry.attestation, what="derivedFrom.attestation", length=_SHA256_BYTES)
            if found.setdefault(entry.attestation, entry) != entry:
                raise Malformed("derivedFrom names one attestation with two lineages")
    return tuple(found.values())


def _derived_from(value: DerivedValue) -> tuple[Origin, ...]:
    try:
        return msgspec.convert(value.inputs.get("derivedFrom", ()), type=tuple[Origin, ...], strict=True)
    except msgspec.ValidationError as error:
        raise Malformed(f"derivedFrom of {value.name} cannot be read: {error}") from error


def _known(connection: Connection, digest: str) -> Any:
    return connection.execute(
        select(attestation.c.retraction, attestation.c.effective_at, attestation.c.signers).where(
            attestation.c.digest == digest
        )
    ).one_or_none()


def _refuse_retracted(
    connection: Connection, admitted: AdmittedStatement, origins: Sequence[Origin], known: Any
) -> None:
    by = known.retraction if known is not None else None
    if by is None:
        effective_at = known.effective_at if known is not None else _effective_at(admitted)
        by = targets.standing(connection, _facts(admitted, origins, effective_at))
    if by is None:
        return
    row = connection.execute(select(retraction).where(retraction.c.id == by)).one()
    raise AlreadyRetracted(
        f"the attestation is retracted, with its {row.kind}: {row.reason}",
        details={"retraction": row.id, "kind": row.kind, "target": row.value, "reason": row.reason},
    )


def _facts(admitted: AdmittedStatement, origins: Sequence[Origin], effective_at: int) -> Facts:
    return Facts(
        attestations=frozenset({admitted.authentic.attestation, *(item.attestation for item in origins)}),
        signers=frozenset((signer.identity, signer.issuer) for signer in admitted.authentic.signers),
        builders=_given(admitted.builder, *(item.builder for item in origins)),
        source_uris=_given(admitted.source_uri, *(item.source_uri for item in origins)),
        source_revisions=_given(admitted.source_revision, *(item.source_revision for item in origins)),
        effective_at=effective_at,
    )


def _given(*texts: str | None) -> frozenset[str]:
    return frozenset(text for text in texts if text is not None)


def _effective_at(admitted: AdmittedStatement) -> int:
    return to_micros(admitted.authentic.log_time or admitted.authentic.signed_at)


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
        connection.execute(insert(attestation).values(**_attestation_row(admitted), **stamp))
        connection.execute(
            insert(attestation_document).values(
                attestation=digest,
                envelope=admitted.authentic.envelope,
                checks=_json(admitted.checks),
            )
        )
    new_signers = _write_signers(connection, digest, admitted.authentic.signers)
    new_origins = _write_origins(connection, digest, origins)
    return known is None or new_signers or new_origins


def _attestation_row(admitted: AdmittedStatement) -> dict[str, Any]:
    authentic = admitted.authentic
    first = authentic.signers[0]
    return {
        "digest": authentic.attestation,
        "predicate_type": authentic.statement.predicate_type,
        "signer": first.identity,
        "signer_issuer": first.issuer,
        "signer_root": first.root,
        "signers": len(authentic.signers),
        "builder": admitted.builder,
        "source_uri": admitted.source_uri,
        "source_revision": admitted.source_revision,
        "signed_at": to_micros(authentic.signed_at),
        "log_index": authentic.log_index,
        "log_time": None if authentic.log_time is None else to_micros(authentic.log_time),
        "effective_at": _effective_at(admitted),
        "trust_policy": admitted.trust_policy,
    }


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
    connection.execute(
        insert(attestation_signer),
        [
            {
                "attestation": digest,
                "ordinal": len(rows) + position,
                "kind": signer.kind,
                "identity": signer.identity,
                "issuer": signer.issuer,
                "root": signer.root,
                "claims": _json(signer.claims),
            }
            for position, signer in enumerate(new)
        ],
    )
    connection.execute(
        update(attestation).where(attestation.c.digest == digest).values(signers=len(rows) + len(new))
    )
    return True


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
        connection.execute(
            insert(attestation_origin),
            [
                {
                    "attestation": digest,
                    "origin": item.attestation,
                    "builder": item.builder,
                    "source_uri": item.source_uri,
                    "source_revision": item.source_revision,
                }
                for item in new
            ],
        )
    return bool(new)


def _present(connection: Connection, ids: Iterable[str]) -> dict[str, str | None]:
    """Which of the ids are stored, each with its retraction."""
    wanted = list(ids)
    found: dict[str, str | None] = {}
    for start in range(0, len(wanted), _IN_CHUNK):
        rows = connection.execute(
            select(reference_value.c.id, reference_value.c.retraction).where(
                reference_value.c.id.in_(wanted[start : start + _IN_CHUNK])
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


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value, order="sorted").decode("utf-8")
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:  # a lone surrogate is a ValueError
        raise Malformed("the attestation's lineage has a part that is not JSON") from error
