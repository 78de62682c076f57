"""Nonces: issued here, spent once, on time, for one TEE (abuse case 15)."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.encoding import b64url_decode, b64url_encode
from common.errors import Malformed
from storage.database import Database
from storage.metadata import METADATA
from verifier.challenges import ChallengeStore
from verifier.errors import NonceUnknown, TooManyChallenges

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path}/touchstone.db")
    METADATA.create_all(database.engine)
    return database


@pytest.fixture
def store(database: Database) -> ChallengeStore:
    return ChallengeStore(database, audience="https://kbs.example", lifetime=timedelta(minutes=5))


def test_a_nonce_is_spent_once(store: ChallengeStore) -> None:
    challenge = store.issue("snp", NOW)
    assert len(b64url_decode(challenge.nonce)) == 32
    assert store.spend(challenge.nonce, "snp", NOW).tee == "snp"
    with pytest.raises(NonceUnknown):
        store.spend(challenge.nonce, "snp", NOW)


def test_an_expired_nonce_is_refused_and_gone(store: ChallengeStore) -> None:
    challenge = store.issue("snp", NOW)
    with pytest.raises(NonceUnknown, match="expired"):
        store.spend(challenge.nonce, "snp", NOW + timedelta(minutes=5))
    with pytest.raises(NonceUnknown):
        store.spend(challenge.nonce, "snp", NOW)


def test_a_nonce_for_another_tee_is_refused(store: ChallengeStore) -> None:
    challenge = store.issue("snp", NOW)
    with pytest.raises(NonceUnknown):
        store.spend(challenge.nonce, "tpm", NOW)


@pytest.mark.parametrize("nonce", [b64url_encode(bytes(32)), "", "A"])
def test_a_nonce_never_issued_is_refused(store: ChallengeStore, nonce: str) -> None:
    with pytest.raises((NonceUnknown, Malformed)):
        store.spend(nonce, "snp", NOW)


def test_the_credential_secret_comes_back_with_the_nonce(store: ChallengeStore) -> None:
    challenge = store.issue("tpm", NOW, credential_secret=b"s" * 32)
    assert store.spend(challenge.nonce, "tpm", NOW).credential_secret == b"s" * 32


def test_threads_racing_for_one_nonce_get_it_once(store: ChallengeStore) -> None:
    nonce = store.issue("snp", NOW).nonce

    def attempt(_: int) -> bool:
        try:
            store.spend(nonce, "snp", NOW)
        except NonceUnknown:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def _spend_in_process(url: str, nonce: str) -> bool:
    store = ChallengeStore(Database(url), audience="a")
    try:
        store.spend(nonce, "snp", NOW)
    except NonceUnknown:
        return False
    return True


def test_processes_racing_for_one_nonce_get_it_once(database: Database, store: ChallengeStore) -> None:
    nonce = store.issue("snp", NOW).nonce
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.starmap(_spend_in_process, [(database.url, nonce)] * 6)
    assert results.count(True) == 1


def test_outstanding_challenges_are_bounded(database: Database) -> None:
    store = ChallengeStore(database, audience="a", limit=0)
    with pytest.raises(TooManyChallenges):
        store.issue("snp", NOW)


def test_expired_challenges_are_removed_in_passing(database: Database, store: ChallengeStore) -> None:
    for _ in range(3):
        store.issue("snp", NOW)
    store.issue("snp", NOW + timedelta(hours=1))
    with database.read() as connection:
        assert connection.exec_driver_sql("select count(*) from challenge").scalar_one() == 1
