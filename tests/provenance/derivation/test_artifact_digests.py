"""Rule ``artifact-digest``."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from provenance.derivation import derive
from provenance.errors import LaunchShapeInvalid, NotDerivable, SubjectMismatch
from provenance.model import Artifact, DerivationRequest, DerivedValue, Subject
from tests.provenance.derivation.material import admitted, subject

KERNEL = b"kernel"
STATED = Subject(
    "bzImage", {"sha256": hashlib.sha256(KERNEL).hexdigest(), "sha384": hashlib.sha384(KERNEL).hexdigest()}
)
WIDE = Subject("initrd.img", {"sha512": hashlib.sha512(b"initrd").hexdigest()})
HAVE = [Artifact("kernel", "bzImage", KERNEL)]


def _row(**changes: Any) -> dict[str, Any]:
    return {
        "role": "kernel",
        "name": "kernel_digest",
        "algorithm": "sha384",
        "source": "artifact",
    } | changes


def _derive(
    rows: list[dict[str, Any]], artefacts: list[Artifact], tee: str = "tdx", **subjects: str
) -> tuple[DerivedValue, ...]:
    request = DerivationRequest("artifact-digest", {"tee": tee, "values": rows}, subjects=subjects)
    return derive(admitted(STATED, WIDE), request, artefacts)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [_row()] * 65,
        [_row(), _row(algorithm="sha256")],
        [_row(algorithm="sha1")],
        [_row(algorithm="md5")],
        [_row(source="guess")],
        [_row(name="")],
        [_row(name="a b")],
        [_row(name="../x")],
        [_row(extra=1)],
        [{key: value for key, value in _row().items() if key != "source"}],
        [_row(), _row(name="other", source="subject")],
    ],
)
def test_a_shape_that_does_not_hold_is_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(LaunchShapeInvalid):
        _derive(rows, HAVE, kernel="bzImage")


def test_an_unknown_tee_is_refused() -> None:
    with pytest.raises(LaunchShapeInvalid, match="tee"):
        _derive([_row()], HAVE, tee="enclave")


def test_an_artefact_that_is_no_subject_is_refused() -> None:
    with pytest.raises(SubjectMismatch):
        _derive([_row()], [Artifact("kernel", "bzImage", b"another")])
    with pytest.raises(SubjectMismatch):
        _derive([_row()], HAVE, kernel="initrd.img")


def test_what_no_row_asks_for_is_refused() -> None:
    with pytest.raises(NotDerivable, match="'initrd'"):
        _derive([_row()], [*HAVE, Artifact("initrd", "initrd.img", b"initrd")])
    with pytest.raises(NotDerivable, match="'initrd'"):
        _derive([_row()], HAVE, initrd="initrd.img")
    with pytest.raises(NotDerivable, match="'kernel'"):
        _derive([_row(source="subject")], HAVE, kernel="bzImage")


def test_a_digest_that_is_not_stated_is_not_computed_from_nothing() -> None:
    rows = [_row(source="subject", algorithm="sha512")]
    with pytest.raises(NotDerivable, match="states no sha512"):
        _derive(rows, [], kernel="bzImage")
    with pytest.raises(NotDerivable, match="names no subject"):
        _derive(rows, [])
    with pytest.raises(NotDerivable, match="no subject of the name"):
        _derive(rows, [], kernel="vmlinuz")
    with pytest.raises(NotDerivable, match="is needed"):
        _derive([_row()], [])


def test_digests_come_from_where_the_rows_say() -> None:
    rows = [
        _row(),
        _row(name="kernel_sha512", algorithm="sha512"),
        _row(role="initrd", name="initrd_sha512", algorithm="sha512", source="subject"),
    ]
    values = _derive(rows, HAVE, initrd="initrd.img")
    assert {value.name: value.value for value in values} == {
        "kernel_digest": hashlib.sha384(KERNEL).hexdigest(),
        "kernel_sha512": hashlib.sha512(KERNEL).hexdigest(),
        "initrd_sha512": hashlib.sha512(b"initrd").hexdigest(),
    }
    assert {value.tee for value in values} == {"tdx"}
    assert {value.rule for value in values} == {"artifact-digest/1"}
    assert len({value.group for value in values}) == 1
    assert values[2].inputs["launch"] == rows[2]


def test_a_stated_digest_is_that_of_the_bytes() -> None:
    (computed,) = _derive([_row()], HAVE)
    (stated,) = _derive([_row(source="subject")], [], kernel="bzImage")
    assert computed.value == stated.value


def test_the_artefact_may_be_told_by_its_subjects_name() -> None:
    (value,) = _derive([_row(algorithm="sha256")], HAVE, kernel="bzImage")
    assert value.value == subject("bzImage", KERNEL).digest["sha256"]
