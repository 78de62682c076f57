"""Flow A on real parts: signed statements, the pipeline, the store, the look-up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from provenance import trust
from provenance.model import DerivationRequest
from provenance.pipeline import Pipeline
from provenance.predicates import reference_statement
from rvps import queries
from rvps.errors import AlreadyRetracted
from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from testkit.reference_values import NAME, admitted_statement, derived_value, measurement

if TYPE_CHECKING:
    from storage.database import Database

NOW = datetime(2026, 5, 1, tzinfo=UTC)
KEY = ed25519.Ed25519PrivateKey.generate()
REQUEST = DerivationRequest(rule="reference-values")


def _pipeline() -> Pipeline:
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    document: dict[str, Any] = {
        "version": 1,
        "name": "test",
        "roots": [{"name": "carrier", "kind": "public-key", "algorithm": "ed25519", "key": pem.decode()}],
        "signers": [{"name": "carrier", "root": "carrier"}],
        "predicate_types": ["urn:touchstone:reference-values:v1"],
    }
    return Pipeline(trust.parse(json.dumps(document).encode()))


def _statement(seed: str) -> bytes:
    origin = admitted_statement(seed)
    values = [derived_value(measurement(seed), expires=NOW + timedelta(days=30))]
    return reference_statement.sign(
        reference_statement.build([reference_statement.source_of(origin)], values, now=NOW), KEY
    )


def _submit(database: Database, envelope: bytes, now: datetime) -> Any:
    pipeline = _pipeline()
    admitted = pipeline.admit(envelope, now)
    return ingest(database, admitted, pipeline.derive(admitted, REQUEST, ()), submitted_by="ci", now=now)


def test_a_signed_statement_becomes_a_value_that_names_its_origin(database: Database) -> None:
    result = _submit(database, _statement("a"), NOW)
    found = DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW)
    assert [item.value for item in found.values] == [measurement("a")]
    assert found.values[0].lineage.signer.startswith("key:")
    origin = admitted_statement("a")
    record = queries.get_attestation(database, result.attestation)
    assert [item.attestation for item in record.origins] == [origin.authentic.attestation]
    assert record.origins[0].builder == origin.builder
    assert record.checks


def test_submitting_an_unlogged_statement_again_later_changes_nothing(database: Database) -> None:
    envelope = _statement("a")
    first = _submit(database, envelope, NOW)
    again = _submit(database, envelope, NOW + timedelta(days=3))
    assert (again.created, again.reference_values, again.snapshot) == (
        False,
        first.reference_values,
        first.snapshot,
    )


@pytest.mark.parametrize("kind", [TargetKind.ATTESTATION, TargetKind.BUILDER, TargetKind.SOURCE_URI])
def test_retracting_the_origin_kills_what_was_carried_here_and_keeps_it_out(
    database: Database, kind: TargetKind
) -> None:
    origin = admitted_statement("a")
    _submit(database, _statement("a"), NOW)
    named = {
        TargetKind.ATTESTATION: origin.authentic.attestation,
        TargetKind.BUILDER: origin.builder,
        TargetKind.SOURCE_URI: origin.source_uri,
    }[kind]
    assert named is not None
    done = retract(database, RetractionTarget(kind, named), reason="stolen", by="admin", now=NOW)
    assert len(done.reference_values) == 1
    assert DatabaseReferenceLookup(database).select(frozenset({NAME}), frozenset(), NOW).values == ()
    with pytest.raises(AlreadyRetracted):
        _submit(database, _statement("a"), NOW + timedelta(days=1))
