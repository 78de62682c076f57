"""Refreshing the public-good root by TUF: rollback, freeze, foreign roots, mixed metadata, no network."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import FetchFailed, InvalidSetting, TouchstoneError
from common.fetch import OfflineFetcher
from provenance.errors import RootRefreshRefused
from provenance.pipeline import Pipeline
from provenance.sigstore import trust_root, tuf_refresh
from testkit.authority import TestAuthority
from tests.provenance.builds import START, policy, sign
from tests.provenance.sigstore.tuf_repository import URL, FileFetcher, Repository, later

FIRST = TestAuthority("first", start=START).trusted_root_json()
SECOND = TestAuthority("second", start=START).trusted_root_json()


@pytest.fixture
def repository() -> Repository:
    return Repository(FIRST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sigstore-tuf"


def refresh(folder: Path, repository: Repository, tuf_root: bytes | None = None) -> tuf_refresh.Refreshed:
    return tuf_refresh.refresh(
        folder, FileFetcher(repository.files), url=URL, tuf_root=tuf_root or repository.tuf_root
    )


def stored(folder: Path, repository: Repository) -> tuf_refresh.Refreshed | None:
    return tuf_refresh.load(folder, tuf_root=repository.tuf_root)


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_root_is_refreshed_stored_and_read_without_network(folder: Path, repository: Repository) -> None:
    found = refresh(folder, repository)
    assert (found.document, found.version, found.root_version, found.changed) == (FIRST, 1, 1, True)
    assert refresh(folder, repository).changed is False
    repository.publish(SECOND)
    assert refresh(folder, repository).changed
    again = stored(folder, repository)
    assert again is not None
    assert (again.document, again.version) == (SECOND, 2)
    repository.publish(FIRST)
    refresh(folder, repository)
    assert len([path for path in folder.iterdir() if path.name.startswith(".")]) == 0
    assert len([path for path in folder.iterdir() if path.name.startswith("state-")]) == 2  # and the last
    assert [path.name for path in folder.iterdir() if path.name.startswith("state-")].count(
        str((folder / "current").readlink())
    ) == 1


def test_root_keys_rotate_with_the_old_keys_word(folder: Path, repository: Repository) -> None:
    refresh(folder, repository)
    repository.rotate_root_key()
    repository.publish(SECOND)
    assert refresh(folder, repository).root_version == 2
    again = stored(folder, repository)
    assert again is not None
    assert again.root_version == 2


def test_root_that_only_the_new_key_signed_is_refused(folder: Path, repository: Repository) -> None:
    stranger = Repository(SECOND)
    stranger.root.version = 2
    repository.files["2.root.json"] = stranger.publish_root()
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)


def test_another_repositorys_root_is_no_anchor(folder: Path, repository: Repository) -> None:
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository, Repository(FIRST).tuf_root)
    assert stored(folder, repository) is None


def test_rollback_to_an_older_timestamp_is_refused_and_changes_nothing(
    folder: Path, repository: Repository
) -> None:
    old = dict(repository.files)
    repository.publish(SECOND)
    refresh(folder, repository)
    before = listing(folder)
    repository.files = old
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)
    assert listing(folder) == before


def test_rollback_of_the_snapshot_behind_a_new_timestamp_is_refused(
    folder: Path, repository: Repository
) -> None:
    repository.publish(SECOND)
    refresh(folder, repository)
    replayed = repository.files["1.snapshot.json"]
    repository.publish(SECOND)
    repository.files["3.snapshot.json"] = replayed
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)


def test_targets_of_another_version_are_refused(folder: Path, repository: Repository) -> None:
    first = repository.files["1.targets.json"]
    repository.publish(SECOND)
    repository.files["2.targets.json"] = first
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)


def test_target_that_is_not_the_one_named_is_refused(folder: Path, repository: Repository) -> None:
    (path,) = [name for name in repository.files if name.startswith("targets/")]
    repository.files[path] = SECOND
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)
    repository.files[path] = FIRST + b" " * 100
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)
    assert stored(folder, repository) is None


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_frozen_repository_is_refused(folder: Path, repository: Repository, role: str) -> None:
    repository.publish(SECOND, expires={role: later(minutes=-1)})
    with pytest.raises(RootRefreshRefused, match="xpired"):
        refresh(folder, repository)
    assert stored(folder, repository) is None


def test_expired_tuf_root_is_refused(folder: Path, repository: Repository) -> None:
    repository.root.version = 2
    repository.root.expires = later(minutes=-1)
    repository.publish_root()
    with pytest.raises(RootRefreshRefused, match="xpired"):
        refresh(folder, repository)


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"\xff", FIRST[:-1], b'{"mediaType":"x"}'])
def test_root_that_this_project_cannot_read_is_not_stored(
    folder: Path, repository: Repository, document: bytes
) -> None:
    repository.publish(document)
    with pytest.raises(RootRefreshRefused):
        refresh(folder, repository)
    assert stored(folder, repository) is None


def test_target_path_cannot_leave_the_folder(folder: Path, repository: Repository, tmp_path: Path) -> None:
    repository.publish(FIRST, name="../../../trusted_root.json")
    with pytest.raises(RootRefreshRefused, match="no target"):
        refresh(folder, repository)
    assert [path.name for path in tmp_path.iterdir()] == ["sigstore-tuf"]


def test_no_network_leaves_what_is_stored(folder: Path, repository: Repository) -> None:
    refresh(folder, repository)
    before = listing(folder)
    with pytest.raises(FetchFailed):
        tuf_refresh.refresh(folder, OfflineFetcher(), url=URL, tuf_root=repository.tuf_root)
    del repository.files["timestamp.json"]
    with pytest.raises(FetchFailed):
        refresh(folder, repository)
    assert listing(folder) == before
    used = tuf_refresh.in_use(folder, tuf_root=repository.tuf_root)
    assert used is not None
    assert (used.refreshed, used.root.digest) == (True, trust_root.parse_document(json.loads(FIRST)).digest)


def test_only_the_repository_is_asked(folder: Path, repository: Repository) -> None:
    fetcher = FileFetcher(repository.files)
    tuf_refresh.refresh(folder, fetcher, url=URL + "/", tuf_root=repository.tuf_root)
    assert fetcher.asked[:2] == ["2.root.json", "timestamp.json"]
    assert all("://" not in path for path in fetcher.asked)


def test_nothing_stored_is_the_pinned_root_without_a_word(folder: Path) -> None:
    assert tuf_refresh.in_use(folder, tuf_root=b"never read") is None


@pytest.mark.parametrize(
    "name", ["timestamp.json", "targets.json", "snapshot.json", "targets/trusted_root.json"]
)
def test_what_is_stored_is_verified_again_and_the_pinned_root_stands_in(
    folder: Path, repository: Repository, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(folder, repository)
    file = folder / "current" / name
    file.write_bytes(file.read_bytes().replace(b"a", b"b"))
    with pytest.raises(RootRefreshRefused):
        stored(folder, repository)
    used = tuf_refresh.in_use(folder, tuf_root=repository.tuf_root)
    assert used is not None
    assert (used.refreshed, used.root) == (False, trust_root.public_good())
    assert "pinned" in used.warning
    assert used.warning in caplog.text


def test_stored_root_of_another_anchor_is_not_used(folder: Path, repository: Repository) -> None:
    refresh(folder, repository)
    used = tuf_refresh.in_use(folder, tuf_root=tuf_refresh.pinned_tuf_root())
    assert used is not None
    assert (used.refreshed, used.root) == (False, trust_root.public_good())


def test_stored_root_ends_with_its_metadata(folder: Path, repository: Repository) -> None:
    repository.publish(SECOND, expires={"timestamp": later(seconds=2)})
    refresh(folder, repository)
    time.sleep(2.1)
    with pytest.raises(RootRefreshRefused, match="xpired"):
        stored(folder, repository)
    used = tuf_refresh.in_use(folder, tuf_root=repository.tuf_root)
    assert used is not None
    assert not used.refreshed


def test_folder_that_cannot_be_written_is_a_typed_error(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidSetting):
        refresh(tmp_path / "file" / "sigstore-tuf", repository)


def test_pinned_tuf_root_belongs_to_the_pinned_trusted_root() -> None:
    signed = json.loads(tuf_refresh.pinned_tuf_root())["signed"]
    assert signed["_type"] == "root"
    assert signed["version"] >= 10


def test_refreshed_root_decides_and_checks_say_so(folder: Path, repository: Repository) -> None:
    authority = TestAuthority("third", start=START)
    repository.publish(authority.trusted_root_json())
    refresh(folder, repository)
    trust = policy(None, roots=[{"name": "ours", "kind": "sigstore-public-good"}])
    now = START.replace(day=2, hour=4)
    envelope = sign(authority)
    used = tuf_refresh.in_use(folder, tuf_root=repository.tuf_root)
    admitted = Pipeline(trust, public_good=used).admit(envelope, now)
    (record,) = [check for check in admitted.checks if check.name == "root.public_good"]
    assert (record.verdict, record.observed["refreshed"], record.observed["version"]) == ("pass", True, 2)
    with pytest.raises(TouchstoneError):
        Pipeline(trust).admit(envelope, now)


@given(st.sampled_from(["timestamp.json", "1.snapshot.json", "1.targets.json", "2.root.json"]), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_metadata_is_taken_or_refused_with_our_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    repository = _SHARED
    files = dict(repository.files)
    good = files.get(name, repository.tuf_root)
    files[name] = data.draw(
        st.binary(max_size=30)
        | st.sampled_from(
            [b"{}", b"[]", b"null", b'{"signed":1}', b'{"signed":{"_type":"x"},"signatures":[]}']
        )
        | st.integers(0, len(good) - 1).map(lambda cut: good[:cut] + b"9" + good[cut + 1 :])
    )
    try:
        tuf_refresh.refresh(
            tmp_path_factory.mktemp("fuzz"), FileFetcher(files), url=URL, tuf_root=repository.tuf_root
        )
    except TouchstoneError:
        return


_SHARED = Repository(FIRST)
