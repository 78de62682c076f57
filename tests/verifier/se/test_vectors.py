"""Third-party vectors: host-key documents of s390-tools' own tests, and the published test values."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.conformance import se
from service.conformance.runner import cases_of
from verifier.se.header import parse_tags
from verifier.se.response import Response, measurement_of

# s390-tools, uvattest/attest.rs, tests measurement_all, measurement_user_add, measurement_add,
# measurement_minimal: key 0x41, tags 1 to 4, configuration id 5, user data 7, nonce 8, additional data 9.
PUBLISHED = {
    (256, 16, 128): (
        "88794c62cce7bcf26216deb3f48f13fea6374b6d7e35bcc5c2ce68121db6f45d"
        "fc8c171856463549408bf8e7d1aca11efad0a878af97dc9e21a1fc2a32f3a675"
    ),
    (256, 0, 128): (
        "fbd4f738a390edd947cd4f11af3a2f3bab2fdf8bf89bf81beb495117f4382cf4"
        "2f0730c8c7d9e3ca27fb25adfceb21224f57fdb398dcf41a83c146e6a23db760"
    ),
    (0, 0, 128): (
        "63671fbf295036eb1023ea71f7182e7d6343dc7b2da584e824d0a7d198ab9cde"
        "d756c93b39050ffb764555b01f88cb82017a6a15c7e0bafc6005f1e4f78aa124"
    ),
    (0, 0, 0): (
        "c5c34c93835d1ec23f5c2d778dfa20129b11b305601742cb2f38e0ed9894dcdb"
        "73fc8695ab6a8dbad0744073ddc81a5eaafa52e4a15af8deb8d761091922847f"
    ),
}


def test_every_case_and_mutation_agrees(vectors: Path) -> None:
    folder = vectors / "evidence"
    cases = [
        case
        for manifest in ("manifest.json", "mutations.json")
        for case in cases_of(folder / manifest)
        if case.get("tee") in se.KINDS
    ]
    outcomes = [se.run_case(case, folder) for case in cases]
    assert len(outcomes) >= 6
    assert [outcome for outcome in outcomes if not outcome.agree] == []
    assert {outcome.got for outcome in outcomes} == {"pass", "fail"}


def test_a_case_that_is_none_does_not_agree(tmp_path: Path) -> None:
    assert not se.run_case({"id": "x", "tee": "se-hkd", "expect": {"result": "fail"}}, tmp_path).agree
    unknown = {"id": "x", "tee": "se-hkd", "files": {}, "mutation": {"op": "sing"}}
    assert se.run_case(unknown, tmp_path).got == "unsupported"


@pytest.mark.parametrize("sizes", PUBLISHED)
def test_measurements_are_the_published_ones(sizes: tuple[int, int, int]) -> None:
    user, nonce, additional = sizes
    tags = parse_tags(bytes([1]) * 64 + bytes([2]) * 64 + bytes([3]) * 64 + bytes([4]) * 16)
    response = Response(bytes(64), tags, bytes([5]) * 16, bytes([7]) * user, bytes([9]) * additional)
    assert measurement_of(response, bytes([0x41]) * 64, bytes([8]) * nonce).hex() == PUBLISHED[sizes]
