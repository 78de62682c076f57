"""The reference implementation (in-toto 3.1.0) as a second voice: on whole chains, and rule by rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_toto import verifylib
from in_toto.exceptions import RuleVerificationError
from in_toto.models.metadata import Metadata

from common.errors import StatementError
from provenance import keys
from provenance.errors import ArtifactRuleFailed
from provenance.layout import functionaries, rules
from provenance.layout.model import Link
from tests.provenance.layout import chains
from tests.provenance.layout.chains import ALICE, BOB, EVE, OWNER, Party

STEPS = [chains.BUILD, chains.MEASURE]


def _with_step(index: int, **changes: Any) -> dict[str, Any]:
    steps = list(STEPS)
    steps[index] = steps[index] | changes
    return chains.layout(steps=steps)


def _relinked(name: str, party: Party, **changes: Any) -> dict[str, tuple[dict[str, Any], Party]]:
    return {chains.path(name, party): (chains.link(name, **changes), party)}


ROOTS: dict[str, dict[str, Any]] = {
    "as-is": chains.layout(),
    "expired": chains.layout(expires="2020-01-01T00:00:00Z"),
    "threshold-two": _with_step(0, pubkeys=[ALICE.keyid, BOB.keyid], threshold=2),
    "one-of-two": _with_step(0, pubkeys=[ALICE.keyid, BOB.keyid]),
    "other-functionary": _with_step(0, pubkeys=[BOB.keyid]),
    "require": _with_step(1, expected_products=[["REQUIRE", "values.json"], ["ALLOW", "*"]]),
    "require-missing": _with_step(1, expected_products=[["REQUIRE", "other"], ["ALLOW", "*"]]),
    "modify": _with_step(1, expected_products=[["MODIFY", "vmlinuz"], ["DISALLOW", "vmlinuz"]]),
    "delete": _with_step(0, expected_materials=[["DELETE", "*.c"], ["DISALLOW", "*"]]),
    "create-wrong": _with_step(1, expected_products=[["CREATE", "*"], ["DISALLOW", "*"]]),
    "match-prefix": _with_step(
        1,
        expected_materials=[
            ["MATCH", "*", "IN", "a", "WITH", "PRODUCTS", "FROM", "build"],
            ["DISALLOW", "*"],
        ],
    ),
    "match-unknown-step": _with_step(
        1, expected_materials=[["match", "*", "with", "products", "from", "nobody"], ["disallow", "*"]]
    ),
}
LINKS: dict[str, dict[str, tuple[dict[str, Any], Party]]] = {
    "as-is": {},
    "second": _relinked("build", BOB),
    "signed-by-eve": {chains.path("build", ALICE): (chains.link("build"), EVE)},
    "other-material": _relinked("measure", BOB, materials={"vmlinuz": chains.SHA["values"]}),
    "extra-product": _relinked(
        "build", ALICE, products={"vmlinuz": chains.SHA["vmlinuz"], "x/y": chains.SHA["values"]}
    ),
    "deleted": _relinked("build", ALICE, products={}),
}


@pytest.mark.parametrize("dsse", [False, True], ids=["metablock", "dsse"])
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("change", LINKS)
def test_a_chain_is_accepted_here_just_where_the_library_accepts_it(
    root: str, change: str, dsse: bool, tmp_path: Path
) -> None:
    layout = chains.signed(ROOTS[root], OWNER, dsse=dsse)
    found = chains.links(dsse=dsse) | {
        path: chains.signed(document, party, dsse=dsse) for path, (document, party) in LINKS[change].items()
    }
    assert _here(layout, found) is _library(layout, found, tmp_path)


def _here(layout: dict[str, Any], found: dict[str, Any]) -> bool:
    try:
        chains.admit(chains.chain(layout, found))
    except StatementError:
        return False
    return True


def _library(layout: dict[str, Any], found: dict[str, Any], folder: Path) -> bool:
    for path, document in found.items():
        (folder / path).write_text(json.dumps(document))
    metadata = Metadata.from_dict(json.loads(json.dumps(layout)))
    try:
        verifylib.in_toto_verify(
            metadata, {OWNER.keyid: OWNER.listed}, link_dir_path=str(folder), persist_inspection_links=False
        )
    except Exception:  # noqa: BLE001 (whatever it raises is its refusal)
        return False
    return True


_PATHS = st.sampled_from(["a", "b", "a/b", "a/c", "b/a", "x.c", "a/x.c"])
_DIGESTS = st.sampled_from([{"sha256": "11" * 32}, {"sha256": "22" * 32}, {"sha512": "11" * 64}])
_ARTIFACTS = st.dictionaries(_PATHS, _DIGESTS, max_size=5)
_PATTERNS = st.sampled_from(["*", "a", "a/*", "*.c", "?", "b*", "[ab]", "a/[!b]", "nothing"])
_PREFIXES = st.sampled_from(["a", "a/", "b", "x"])
_GENERIC = st.tuples(
    st.sampled_from(["CREATE", "DELETE", "MODIFY", "ALLOW", "DISALLOW", "REQUIRE"]), _PATTERNS
)
_KINDS = st.sampled_from(["MATERIALS", "PRODUCTS", "products"])
_FROM = st.sampled_from(["one", "two", "nobody"])
_MATCH = st.one_of(
    st.builds(lambda p, k, f: ("MATCH", p, "WITH", k, "FROM", f), _PATTERNS, _KINDS, _FROM),
    st.builds(
        lambda p, s, k, f: ("MATCH", p, "IN", s, "WITH", k, "FROM", f), _PATTERNS, _PREFIXES, _KINDS, _FROM
    ),
    st.builds(
        lambda p, k, d, f: ("MATCH", p, "WITH", k, "IN", d, "FROM", f), _PATTERNS, _KINDS, _PREFIXES, _FROM
    ),
)
_LINKS = st.builds(lambda m, p: Link(name="one", materials=m, products=p), _ARTIFACTS, _ARTIFACTS)


@settings(deadline=None, max_examples=300)
@given(
    one=_LINKS,
    two=_LINKS,
    listed=st.lists(st.one_of(_GENERIC, _MATCH), max_size=5),
    kind=st.sampled_from(["materials", "products"]),
)
def test_rules_decide_as_the_library_s_do(
    one: Link, two: Link, listed: list[tuple[str, ...]], kind: str
) -> None:
    links = {"one": one, "two": two}
    try:
        verifylib.verify_item_rules("one", kind, [list(rule) for rule in listed], links)
        expected = True
    except RuleVerificationError:
        expected = False
    try:
        rules.apply("step 'one'", kind, listed, one, links)
        got = True
    except ArtifactRuleFailed:
        got = False
    assert got is expected


@pytest.mark.parametrize("party", [OWNER, ALICE, BOB])
def test_key_ids_are_the_library_s(party: Party) -> None:
    assert functionaries.keyid(keys.from_pem(party.algorithm, party.pem)) == party.keyid
