"""Reference values made up for tests and measurements: statements one by one, stores by the million.

``AdmittedStatement`` is what ``rvps`` takes as proof, so nothing here is verified: it must never be
imported by the product (``lint-imports`` holds that).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert

from provenance.model import AdmittedStatement, AuthenticStatement, DerivedValue, Signer, Statement, Subject
from rvps import snapshot
from rvps.ingest_rows import attestation_row, document_row, signer_rows, value_row
from rvps.tables import attestation, attestation_document, attestation_signer, reference_value
from storage.database import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from storage.database import Database

NAME = "snp_launch_measurement"
TRUST_POLICY = hashlib.sha256(b"trust policy of the test kit").hexdigest()
ISSUER = "https://issuer.example"
IDENTITY = "https://forge.example/acme/guest/.ci/release.yml@refs/tags/v1"
BUILDER = "https://forge.example/builder@v1"
SOURCE = "https://forge.example/acme/guest"
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_ATTESTATIONS_A_TRANSACTION = 50
_CACHE_KIB = 512 << 10


def admitted_statement(
    seed: str,
    *,
    signers: tuple[Signer, ...] = (
        Signer(kind="certificate", identity=IDENTITY, root="test-root", issuer=ISSUER),
    ),
    builder: str | None = BUILDER,
    source_uri: str | None = SOURCE,
    source_revision: str | None = None,
    signed_at: datetime = _BEGIN,
    log_time: datetime | None = None,
    log_id: str | None = None,
    unverified: bool = False,
    **more: Any,
) -> AdmittedStatement:
    """A statement as if admitted; equal seeds give equal envelopes.

    Args:
        seed: what the envelope is made of.
        signers: of ``AuthenticStatement``; none of an unverified one.
        builder: of ``AdmittedStatement``.
        source_uri: likewise.
        source_revision: likewise.
        signed_at: of ``AuthenticStatement``.
        log_time: likewise.
        log_id: likewise.
        unverified: nobody signed it.
        more: further members of ``AdmittedStatement`` (materials, domains, required_domains).
    """
    envelope = b'{"seed":' + msgspec.json.encode(seed) + b"}"
    authentic = AuthenticStatement(
        envelope=envelope,
        attestation=hashlib.sha256(envelope).hexdigest(),
        statement=Statement(
            type="https://in-toto.io/Statement/v1",
            subjects=(Subject("guest", {"sha256": hashlib.sha256(seed.encode()).hexdigest()}),),
            predicate_type="https://slsa.dev/provenance/v1",
            predicate={},
        ),
        signers=() if unverified else signers,
        checks=(),
        signed_at=signed_at,
        log_index=None if log_time is None else 1,
        log_time=log_time,
        log_id=log_id,
        unverified=unverified,
    )
    return AdmittedStatement(
        authentic=authentic,
        trust_policy=TRUST_POLICY,
        checks=(),
        builder=builder,
        source_uri=source_uri,
        source_revision=source_revision,
        **more,
    )


def derived_value(
    value: Any,
    *,
    name: str = NAME,
    group: str = "release",
    not_before: datetime = _BEGIN,
    expires: datetime | None = None,
    scalar: bool = False,
    inputs: dict[str, Any] | None = None,
    tee: str = "snp",
    rule: str = "snp-launch-digest/1",
) -> DerivedValue:
    """A value as if derived."""
    return DerivedValue(
        name=name,
        value=value,
        tee=tee,
        group=group,
        rule=rule,
        inputs={"launch": {"vcpus": 1}} if inputs is None else inputs,
        not_before=not_before,
        expires=expires,
        scalar=scalar,
    )


def measurement(seed: str, index: int = 0) -> str:
    """A made-up SHA-384 measurement, hex."""
    return hashlib.sha384(f"{seed}/{index}".encode()).hexdigest()


def fill(
    database: Database,
    count: int,
    *,
    seed: str = "fill",
    name: str = NAME,
    per_attestation: int = 500,
    now: datetime = _BEGIN,
) -> None:
    """Add ``count`` live values of one name, ``measurement(seed, 0)`` to ``measurement(seed, count - 1)``.

    They go through the same tables, rows and change chain as ``rvps.ingest``, many attestations a
    transaction, without looking first whether they are there: a seed serves once per database.
    """
    work = iter(_batches(count, per_attestation))
    while chunk := [item for _, item in zip(range(_ATTESTATIONS_A_TRANSACTION), work, strict=False)]:
        with database.write() as connection:
            if database.dialect == "sqlite":
                # Measurements arrive in random order: the index is kept in memory while it is built.
                connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")
            for indexes in chunk:
                _add(connection, seed, name, indexes, now)


def _batches(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _add(connection: Connection, seed: str, name: str, indexes: range, now: datetime) -> None:
    admitted = admitted_statement(f"{seed}/{name}/{indexes.start}")
    digest = admitted.authentic.attestation
    before = snapshot.lock(connection)
    stamp = {"submitted_by": "testkit", "submitted_at": to_micros(now), "epoch": before.epoch + 1}
    rows = [
        value_row(admitted, derived_value(measurement(seed, index), name=name)) | stamp for index in indexes
    ]
    connection.execute(insert(attestation).values(**attestation_row(admitted), **stamp))
    connection.execute(insert(attestation_document).values(document_row(admitted)))
    connection.execute(insert(attestation_signer), signer_rows(digest, admitted.authentic.signers, 0))
    connection.execute(insert(reference_value), rows)
    change = {
        "change": "ingested",
        "attestation": digest,
        "reference_values": [row["id"] for row in rows],
        "by": "testkit",
    }
    snapshot.advance(connection, before, change, now)
