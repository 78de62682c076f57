"""The store against a plain model of what the documents say, over random histories."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from provenance.model import Signer
from rvps import queries, snapshot
from rvps.errors import AlreadyRetracted, UnknownAttestation
from rvps.ingest import ingest
from rvps.lookup import SMALL_NAME, DatabaseReferenceLookup
from rvps.records import ValueState
from rvps.retraction import RetractionTarget, TargetKind, affected, retract
from storage.database import Database
from storage.migrate import migrate
from testkit.reference_values import admitted_statement, derived_value

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
# Seed to signer, issuer, builder, revision, and the seed that it rests on.
SAID = {
    "a": ("s1", "i1", "b1", "r1", None),
    "b": ("s1", "i2", None, "r1", None),
    "c": ("s2", "i1", "b2", "r2", "a"),
    "d": ("s3", "i1", "b1", None, "c"),
}
SEEDS = tuple(SAID)
NAMES = ("small",)
LARGE = "large"
# Durability has tests of its own: here a write need not wait for a disk.
_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_TEMPLATE: list[Path] = []
_FOLDER = tempfile.TemporaryDirectory(prefix="touchstone-model-", dir=_MEMORY)


def _template() -> Path:
    if not _TEMPLATE:
        path = Path(_FOLDER.name) / "template.db"
        database = Database(f"sqlite:///{path}")
        migrate(database)
        filler = [derived_value(f"filler {index}", name=LARGE) for index in range(SMALL_NAME + 1)]
        ingest(
            database,
            admitted_statement(
                "filler", signers=(Signer("key", "filler", "r"),), builder=None, source_uri=None
            ),
            filler,
            submitted_by="ci",
            now=START,
        )
        database.close()
        _TEMPLATE.append(path)
    return _TEMPLATE[0]


class Attestation:
    """What an attestation says; fixed by its seed."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.signer, self.issuer, self.builder, self.revision, self.origin = SAID[seed]
        self.signed_at = START - DAY * (SEEDS.index(seed) + 1)

    @property
    def admitted(self) -> Any:
        return admitted_statement(
            self.seed,
            signers=(Signer("certificate", self.signer, "root", self.issuer),),
            builder=self.builder,
            source_uri=None,
            source_revision=self.revision,
            signed_at=self.signed_at,
        )

    @property
    def digest(self) -> str:
        return str(self.admitted.authentic.attestation)

    def covered(self, target: RetractionTarget) -> bool:
        if target.since is not None and self.signed_at < target.since:
            return False
        if target.kind is TargetKind.SIGNER:
            return target.value == self.signer and target.issuer in (None, self.issuer)
        if target.kind is TargetKind.BUILDER:
            return target.value == self.builder
        if target.kind is TargetKind.SOURCE_REVISION:
            return target.value == self.revision
        origin = Attestation(self.origin).digest if self.origin else None
        return target.kind is TargetKind.ATTESTATION and target.value in (self.digest, origin)


class Value:
    """A value of the model."""

    def __init__(self, seed: str, name: str, content: str, expires: datetime | None) -> None:
        self.key = (seed, name, content, expires)
        self.seed, self.name, self.content, self.expires = self.key
        self.alive = True


class StoreMachine(RuleBasedStateMachine):
    """Ingest, retract and look up in the store and in the model."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=_FOLDER.name))
        shutil.copy(_template(), self.folder / "store.db")
        self.database = Database(f"sqlite:///{self.folder}/store.db")
        self.other = Database(self.database.url)  # as another process would
        self.lookup = DatabaseReferenceLookup(self.database)
        self.now = START
        self.values: dict[tuple[Any, ...], Value] = {}
        self.ids: dict[str, tuple[Any, ...]] = {}
        self.stored: set[str] = set()
        self.has_origin: set[str] = set()  # whose values have named an origin
        self.dead: set[str] = set()
        self.dead_claims: set[tuple[str, str, str]] = set()
        self.targets: list[RetractionTarget] = []
        self.snapshots: set[str] = set()
        self.last = self._snapshot()

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.other.close()
            shutil.rmtree(self.folder)

    @rule(
        seed=st.sampled_from(SEEDS),
        name=st.sampled_from((*NAMES, LARGE)),
        contents=st.lists(st.sampled_from("xy"), max_size=2, unique=True),
        days=st.sampled_from([None, 1, 2]),
    )
    def ingest(self, seed: str, name: str, contents: list[str], days: int | None) -> None:
        attestation = Attestation(seed)
        expires = None if days is None else START + DAY * days
        inputs = {}
        if attestation.origin is not None:
            inputs = {"derivedFrom": [{"attestation": Attestation(attestation.origin).digest}]}
        derived = [
            derived_value(
                content, name=name, expires=expires, inputs=inputs, not_before=attestation.signed_at
            )
            for content in contents
        ]
        refused = seed in self.dead or self._kept_out(attestation, bool(contents))
        try:
            result = ingest(self.other, attestation.admitted, derived, submitted_by="ci", now=self.now)
        except AlreadyRetracted:
            assert refused
            self._unchanged()
            return
        assert not refused
        new = [
            Value(seed, name, content, expires)
            for content in contents
            if (seed, name, content, expires) not in self.values
            and (seed, name, content) not in self.dead_claims
        ]
        assert len(result.added) == len(new)
        assert result.created == (bool(new) or self._attestation_changes(attestation, bool(contents)))
        self.stored.add(seed)
        if contents:
            self.has_origin.add(seed)
        for identifier, value in zip(result.added, new, strict=True):
            self.values[value.key] = value
            self.ids[identifier] = value.key
        if result.created:
            self._changed(result.snapshot)
        else:
            self._unchanged()

    @rule(
        seed=st.sampled_from(SEEDS),
        kind=st.sampled_from([TargetKind.SIGNER, TargetKind.BUILDER, TargetKind.SOURCE_REVISION]),
        issuer=st.sampled_from([None, "i1", "i2"]),
        since=st.sampled_from([None, -1, 0, 1]),  # microseconds after the signature of `seed`
    )
    def retract_class(self, seed: str, kind: TargetKind, issuer: str | None, since: int | None) -> None:
        about = Attestation(seed)
        values = {
            TargetKind.SIGNER: about.signer,
            TargetKind.BUILDER: about.builder,
            TargetKind.SOURCE_REVISION: about.revision,
        }
        self._retract(
            RetractionTarget(
                kind,
                values[kind] or "unknown",
                issuer=issuer if kind is TargetKind.SIGNER else None,
                since=None if since is None else about.signed_at + timedelta(microseconds=since),
            )
        )

    @rule(seed=st.sampled_from(SEEDS))
    def retract_attestation(self, seed: str) -> None:
        target = RetractionTarget(TargetKind.ATTESTATION, Attestation(seed).digest)
        named = {Attestation(item).origin for item in self.has_origin}
        if seed in self.stored or seed in named:
            self._retract(target)
            return
        try:
            retract(self.other, target, reason="r", by="admin", now=self.now)
        except UnknownAttestation:
            self._unchanged()
        else:
            raise AssertionError

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def retract_value(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.ids)))
        seed, name, content, _ = self.ids[identifier]
        target = RetractionTarget(TargetKind.REFERENCE_VALUE, identifier)
        result = retract(self.other, target, reason="r", by="admin", now=self.now)
        assert result.created == (target not in self.targets)
        self.dead_claims.add((seed, name, content))
        for value in self.values.values():
            if (value.seed, value.name, value.content) == (seed, name, content):
                value.alive = False
        if result.created:
            self.targets.append(target)
            self._changed(result.snapshot)
        else:
            self._unchanged()

    @rule(days=st.just(1))
    def time_passes(self, days: int) -> None:
        self.now += DAY * days

    @rule(observed=st.sets(st.sampled_from([*"xy", "none", "filler 3"])))
    def look_up_a_large_name(self, observed: set[str]) -> None:
        selection = self.lookup.select(frozenset({LARGE}), frozenset(observed), self.now)
        found = {item.id for item in selection.values if item.lineage.signer != "filler"}
        assert found == self._expected(LARGE, "".join(observed & set("xy")))
        assert (len(selection.values) - len(found)) == ("filler 3" in observed)

    @invariant()
    def live_values_are_the_models(self) -> None:
        if not hasattr(self, "database"):
            return
        expected = {item for name in (*NAMES, LARGE) for item in self._expected(name, "xy")}
        assert self.lookup.still_live(frozenset(self.ids), self.now) == expected
        for name in NAMES:
            selection = self.lookup.select(frozenset({name}), frozenset({"x"}), self.now)
            assert selection.snapshot == self.last
            assert {item.id for item in selection.values} == self._expected(name, "xy")

    @rule()
    def list_and_verify(self) -> None:
        page = queries.list_reference_values(self.database, now=self.now, state=ValueState.LIVE, limit=500)
        listed = {item.id for item in page.items if item.lineage.signer != "filler"}
        assert listed == {item for name in (*NAMES, LARGE) for item in self._expected(name, "xy")}
        with self.database.read() as connection:
            assert snapshot.first_broken(connection) is None

    def _retract(self, target: RetractionTarget) -> None:
        result = retract(self.other, target, reason="r", by="admin", now=self.now)
        assert result.created == (target not in self.targets)
        if not result.created:
            self._unchanged()
            return
        self.targets.append(target)
        hit = {seed for seed in self.stored if Attestation(seed).covered(self._reach(seed, target))}
        while True:
            more = {
                seed
                for seed in self.has_origin - hit
                if Attestation(seed).origin in hit and seed in self.stored
            }
            if not more:
                break
            hit |= more
        self.dead |= hit
        died = {value.key for value in self.values.values() if value.alive and value.seed in hit}
        for key in died:
            self.values[key].alive = False
        assert {self.ids[item] for item in result.reference_values} == died
        assert set(result.attestations) == {Attestation(seed).digest for seed in hit}
        assert set(affected(self.database, target, now=self.now).attestations) == set(result.attestations)
        self._changed(result.snapshot)

    def _reach(self, seed: str, target: RetractionTarget) -> RetractionTarget:
        # An origin counts only once a value has named it.
        if target.kind is TargetKind.ATTESTATION and seed not in self.has_origin:
            return (
                target
                if target.value == Attestation(seed).digest
                else RetractionTarget(TargetKind.BUILDER, "-")
            )
        return target

    def _kept_out(self, attestation: Attestation, with_values: bool) -> bool:
        for target in self.targets:
            if target.kind is TargetKind.ATTESTATION:
                if target.value == attestation.digest:
                    return True
                if with_values and attestation.covered(target):
                    return True
            elif attestation.covered(target):
                return True
        return with_values and attestation.origin in self.dead

    def _attestation_changes(self, attestation: Attestation, with_values: bool) -> bool:
        if attestation.seed not in self.stored:
            return True
        return with_values and attestation.origin is not None and attestation.seed not in self.has_origin

    def _expected(self, name: str, contents: str) -> set[str]:
        return {
            identifier
            for identifier, key in self.ids.items()
            if (value := self.values[key]).alive
            and value.name == name
            and value.content in contents
            and (value.expires is None or self.now < value.expires)
        }

    def _snapshot(self) -> str:
        with self.database.read() as connection:
            return snapshot.current(connection).snapshot

    def _changed(self, reported: str) -> None:
        assert reported == self._snapshot()
        assert reported not in self.snapshots
        self.snapshots.add(reported)
        self.last = reported

    def _unchanged(self) -> None:
        assert self._snapshot() == self.last


StoreMachine.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=20)
TestStore = StoreMachine.TestCase
