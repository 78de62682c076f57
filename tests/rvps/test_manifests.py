"""Manifests into the store: signed ones match, those that nobody signed are kept apart."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from provenance.derivation import derive
from provenance.model import DerivationRequest
from rvps.errors import AlreadyRetracted
from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from rvps.retraction import RetractionTarget, TargetKind, retract
from tests.provenance.manifests.material import DIGEST, KEY, NOW, admit, corim, sign, spki

if TYPE_CHECKING:
    from storage.database import Database

NAME = "snp_launch_measurement"
LINE = {"key": "text:kernel", "field": "digest.sha-384", "name": NAME, "tee": "snp"}
LATER = NOW + timedelta(hours=1)


def submit(database: Database, data: bytes, *roots: dict[str, Any]) -> None:
    admitted = admit(data, *roots)
    request = DerivationRequest("manifest-values", {"mapping": [LINE]}, group="release-7")
    ingest(database, admitted, derive(admitted, request, []), submitted_by="ci", now=NOW)


def test_a_signed_manifest_is_matched_until_its_key_is_retracted(database: Database) -> None:
    submit(database, sign())
    lookup = DatabaseReferenceLookup(database)
    (value,) = lookup.select(frozenset({NAME}), frozenset(), LATER).values
    assert (value.value, value.group, value.lineage.rule) == (
        DIGEST.hex(),
        "release-7",
        "manifest-values/1",
    )
    target = RetractionTarget(TargetKind.SIGNER, f"key:{spki(KEY).hex()}")
    retract(database, target, reason="key lost", by="admin", now=LATER)
    assert lookup.select(frozenset({NAME}), frozenset(), LATER).values == ()
    with pytest.raises(AlreadyRetracted):
        submit(database, sign())


def test_a_manifest_that_nobody_signed_never_matches_as_a_trusted_one(database: Database) -> None:
    data = corim()
    root = {
        "name": "open",
        "kind": "unverified",
        "formats": ["corim"],
        "digests": [hashlib.sha256(data).hexdigest()],
    }
    submit(database, data, root)
    names = frozenset({NAME})
    selection = DatabaseReferenceLookup(database).select(names, frozenset(), LATER, unverified=names)
    assert selection.values == ()
    assert [value.value for value in selection.unverified] == [DIGEST.hex()]
