"""The root key file: private, made once, versioned; a wrapped key opens only where it belongs."""

from __future__ import annotations

import json
import multiprocessing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidSetting, NotFound
from kms.errors import RootKeyInvalid, SecretUnreadable
from kms.root_key import FileRootKey, WrappedKey


def test_the_file_is_private_and_opens_again(tmp_path):
    path = tmp_path / "root-key.json"
    first = FileRootKey.open_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = FileRootKey.open_or_create(path)
    assert again.unwrap(first.wrap(b"k" * 32, b"here"), b"here") == b"k" * 32
    assert again.current == first.current


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "root-key.json"
    FileRootKey.open_or_create(path)
    path.chmod(0o640)
    with pytest.raises(InvalidSetting):
        FileRootKey.open_or_create(path)


def test_opening_makes_no_key(tmp_path):
    with pytest.raises(NotFound):
        FileRootKey.open(tmp_path / "root-key.json")


def test_a_wrapped_key_does_not_open_elsewhere_or_altered(root_key):
    wrapped = root_key.wrap(b"k" * 32, b"row 1")
    with pytest.raises(SecretUnreadable):
        root_key.unwrap(wrapped, b"row 2")
    for position in range(len(wrapped.blob)):
        blob = bytearray(wrapped.blob)
        blob[position] ^= 1
        with pytest.raises(SecretUnreadable):
            root_key.unwrap(WrappedKey(wrapped.root_key, bytes(blob)), b"row 1")
    for length in range(30):
        with pytest.raises(SecretUnreadable):
            root_key.unwrap(WrappedKey(wrapped.root_key, wrapped.blob[:length]), b"row 1")


def test_another_root_key_is_told_apart_from_an_altered_record(root_key, tmp_path):
    other = FileRootKey.open_or_create(tmp_path / "other.json")
    with pytest.raises(RootKeyInvalid):
        other.unwrap(root_key.wrap(b"k" * 32, b"row"), b"row")


def test_after_a_rotation_old_wraps_open_and_new_ones_name_the_new_version(tmp_path):
    path = tmp_path / "root-key.json"
    old = FileRootKey.open_or_create(path)
    wrapped = old.wrap(b"k" * 32, b"row")
    new = old.rotate()
    assert new.current != old.current
    assert new.unwrap(wrapped, b"row") == b"k" * 32
    reopened = FileRootKey.open(path)
    assert reopened.current == new.current
    assert reopened.knows(old.current)
    assert not old.knows(new.current)


def _id_of_created(path):
    return FileRootKey.open_or_create(path).current


def test_of_processes_that_start_together_one_makes_the_key_for_all(tmp_path):
    path = tmp_path / "root-key.json"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        ids = pool.map(_id_of_created, [path] * 8)
    assert len(set(ids)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["root-key.json"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schema":"touchstone-root-key-v1","keys":[]}',
        b'{"schema":"touchstone-root-key-v1","keys":["AAAA"]}',
        b'{"schema":"touchstone-root-key-v2","keys":["' + b"A" * 43 + b'"]}',
        b'{"schema":"touchstone-root-key-v1","keys":["' + b"A" * 43 + b'"],"keys":[]}',
        b'{"schema":"touchstone-root-key-v1","keys":["' + b"A" * 43 + b'"],"more":1}',
    ],
)
def test_a_file_in_another_format_is_refused_and_not_quoted(tmp_path, document):
    path = tmp_path / "root-key.json"
    path.write_bytes(document)
    path.chmod(0o600)
    with pytest.raises(RootKeyInvalid) as caught:
        FileRootKey.open_or_create(path)
    assert "AAAA" not in str(caught.value)
    assert path.read_bytes() == document


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_file_or_a_typed_refusal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("root") / "root-key.json"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(RootKeyInvalid):
        FileRootKey.open(path)


def test_the_file_states_its_schema(tmp_path):
    path = tmp_path / "root-key.json"
    FileRootKey.open_or_create(path)
    assert json.loads(path.read_bytes())["schema"] == "touchstone-root-key-v1"
