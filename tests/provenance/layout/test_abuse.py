"""What must not be admitted of a supply chain."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.errors import StatementError
from provenance.errors import (
    ArtifactRuleFailed,
    EnvelopeMalformed,
    InspectionNotRun,
    LayoutExpired,
    LayoutMalformed,
    LinkMissing,
    LinksDisagree,
    LinkThresholdMissed,
    PredicateUnexpected,
    SignerUntrusted,
    StatementIncomplete,
    StatementMalformed,
    StatementSignatureInvalid,
)
from tests.provenance.layout import chains
from tests.provenance.layout.chains import ALICE, BOB, EVE, OWNER, SECOND_OWNER

both = pytest.mark.parametrize("dsse", [False, True], ids=["metablock", "dsse"])


def _refused(data: bytes, error: type[StatementError], **values: Any) -> StatementError:
    with pytest.raises(error) as caught:
        chains.admit(data, **values)
    return caught.value


def _chain(root: dict[str, Any], found: dict[str, Any] | None = None, *, dsse: bool = False) -> bytes:
    signed = chains.signed(root, OWNER, dsse=dsse)
    return chains.chain(signed, chains.links(dsse=dsse) if found is None else found)


# -- who signed the layout


@both
def test_a_layout_that_a_stranger_signed_is_refused(dsse: bool) -> None:
    root = chains.signed(chains.layout(), EVE, dsse=dsse)
    _refused(chains.chain(root), SignerUntrusted)


@both
def test_a_layout_that_names_the_owner_s_key_and_is_signed_by_another_is_refused(dsse: bool) -> None:
    root = chains.signed(chains.layout(), EVE, dsse=dsse, keyids=[OWNER.keyid])
    _refused(chains.chain(root), StatementSignatureInvalid)


def test_a_layout_that_was_changed_after_signing_is_refused() -> None:
    root = chains.signed(chains.layout(), OWNER)
    root["signed"]["expires"] = "2031-01-01T00:00:00Z"
    _refused(chains.chain(root), StatementSignatureInvalid)


@both
def test_one_owner_who_signs_twice_counts_once(dsse: bool) -> None:
    trusted = chains.policy({"owners": chains.owners(OWNER, SECOND_OWNER), "threshold": 2})
    root = chains.signed(chains.layout(), OWNER, OWNER, dsse=dsse)
    _refused(chains.chain(root), SignerUntrusted, trusted=trusted)
    root = chains.signed(chains.layout(), OWNER, SECOND_OWNER, dsse=dsse)
    chains.admit(chains.chain(root), trusted)


def test_functionaries_do_not_count_towards_the_policy_s_threshold() -> None:
    twice = [{"name": "one", "root": "owners"}, {"name": "two", "root": "owners"}]
    _refused(chains.chain(), SignerUntrusted, trusted=chains.policy(signers=twice, threshold=2))


def test_a_policy_without_a_layout_root_admits_no_layout() -> None:
    root = {"name": "owners", "kind": "public-key", "algorithm": OWNER.algorithm, "key": OWNER.pem}
    _refused(chains.chain(), SignerUntrusted, trusted=chains.policy(roots=[root]))


def test_the_policy_must_name_the_predicate_type() -> None:
    trusted = chains.policy(predicate_types=["https://slsa.dev/provenance/v1"])
    _refused(chains.chain(), PredicateUnexpected, trusted=trusted)


def test_an_age_cannot_be_proven_for_a_layout() -> None:
    _refused(chains.chain(), StatementIncomplete, trusted=chains.policy(max_age_seconds=1 << 40))


# -- time


@both
@pytest.mark.parametrize("expires", ["2026-01-02T03:04:05Z", "2020-01-01T00:00:00Z"])
def test_an_expired_layout_is_refused(dsse: bool, expires: str) -> None:
    _refused(_chain(chains.layout(expires=expires), dsse=dsse), LayoutExpired)


def test_expiry_is_judged_at_the_given_time_and_not_by_the_clock() -> None:
    data = _chain(chains.layout(expires="2020-01-01T00:00:00Z"))
    chains.admit(data, now=datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC))
    _refused(chains.chain(), LayoutExpired, now=datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "expires", ["", "never", "2030-01-01", "2030-02-30T00:00:00Z", "2030-01-01T00:00:00+00:00"]
)
def test_an_expiry_of_another_form_is_refused(expires: str) -> None:
    _refused(_chain(chains.layout(expires=expires)), LayoutMalformed)


# -- links


@both
def test_a_missing_link_is_refused(dsse: bool) -> None:
    found = chains.links(dsse=dsse)
    del found[chains.path("measure", BOB)]
    _refused(_chain(chains.layout(), found, dsse=dsse), LinkMissing)


@both
def test_a_tampered_link_does_not_count(dsse: bool) -> None:
    found = chains.links(dsse=dsse)
    other = chains.signed(chains.link("build", products={"vmlinuz": chains.SHA["values"]}), EVE, dsse=dsse)
    good = found[chains.path("build", ALICE)]
    found[chains.path("build", ALICE)] = other | {"signatures": good["signatures"]}
    error = _refused(_chain(chains.layout(), found, dsse=dsse), LinkThresholdMissed)
    assert [check.name for check in error.checks][-2:] == ["layout.link", "layout.threshold"]


@both
def test_a_functionary_whom_the_step_does_not_name_does_not_count(dsse: bool) -> None:
    found = chains.links(dsse=dsse)
    found[chains.path("build", ALICE)] = chains.signed(chains.link("build"), BOB, dsse=dsse)
    _refused(_chain(chains.layout(), found, dsse=dsse), LinkThresholdMissed)
    found[chains.path("build", ALICE)] = chains.signed(
        chains.link("build"), BOB, dsse=dsse, keyids=[ALICE.keyid]
    )
    _refused(_chain(chains.layout(), found, dsse=dsse), LinkThresholdMissed)


@both
def test_a_link_under_an_unauthorised_name_is_not_looked_at(dsse: bool) -> None:
    found = chains.links(dsse=dsse)
    del found[chains.path("build", ALICE)]
    found[chains.path("build", EVE)] = chains.signed(chains.link("build"), EVE, dsse=dsse)
    _refused(_chain(chains.layout(), found, dsse=dsse), LinkMissing)


def test_a_key_that_the_layout_does_not_list_does_not_count() -> None:
    steps = [chains.BUILD | {"pubkeys": [EVE.keyid]}, chains.MEASURE]
    found = chains.links() | {chains.path("build", EVE): chains.signed(chains.link("build"), EVE)}
    _refused(_chain(chains.layout(steps=steps), found), LinkThresholdMissed)


@both
def test_a_link_of_another_step_does_not_count(dsse: bool) -> None:
    steps = [chains.step("build", ALICE), chains.step("test", ALICE)]
    found = {
        chains.path("build", ALICE): chains.signed(chains.link("build"), ALICE, dsse=dsse),
        chains.path("test", ALICE): chains.signed(chains.link("build"), ALICE, dsse=dsse),
    }
    _refused(_chain(chains.layout(steps=steps), found, dsse=dsse), LinkThresholdMissed)


def test_one_key_under_two_key_ids_counts_once() -> None:
    alias = "00" * 32
    steps = [chains.BUILD | {"pubkeys": [ALICE.keyid, alias], "threshold": 2}, chains.MEASURE]
    keys = chains.layout()["keys"] | {alias: ALICE.listed | {"keyid": alias}}
    found = chains.links() | {
        "build.00000000.link": chains.signed(chains.link("build"), ALICE, keyids=[alias])
    }
    _refused(_chain(chains.layout(steps=steps, keys=keys), found), LinkThresholdMissed)


@both
def test_one_functionary_who_signs_a_link_twice_counts_once(dsse: bool) -> None:
    steps = [chains.BUILD | {"pubkeys": [ALICE.keyid, BOB.keyid], "threshold": 2}, chains.MEASURE]
    twice = chains.signed(chains.link("build"), ALICE, ALICE, dsse=dsse)
    found = chains.links(dsse=dsse) | {chains.path("build", ALICE): twice, chains.path("build", BOB): twice}
    _refused(_chain(chains.layout(steps=steps), found, dsse=dsse), LinkThresholdMissed)


@pytest.mark.parametrize("threshold", [1, 2])
def test_functionaries_of_one_step_must_agree(threshold: int) -> None:
    steps = [chains.BUILD | {"pubkeys": [ALICE.keyid, BOB.keyid], "threshold": threshold}, chains.MEASURE]
    other = chains.link("build", materials={"main.c": chains.SHA["values"]})
    found = chains.links() | {chains.path("build", BOB): chains.signed(other, BOB)}
    _refused(_chain(chains.layout(steps=steps), found), LinksDisagree)


# -- artefact rules


def test_a_material_that_no_step_made_is_refused() -> None:
    found = chains.links()
    other = chains.link("measure", materials={"vmlinuz": chains.SHA["values"]})
    found[chains.path("measure", BOB)] = chains.signed(other, BOB)
    error = _refused(_chain(chains.layout(), found), ArtifactRuleFailed)
    assert "'DISALLOW *' finds 'vmlinuz'" in error.message


@pytest.mark.parametrize(
    ("rules", "passes"),
    [
        ([["ALLOW", "*"], ["DISALLOW", "*"]], True),
        ([["DISALLOW", "*"], ["ALLOW", "*"]], False),
        ([["REQUIRE", "vmlinuz"], ["ALLOW", "*"]], True),
        ([["ALLOW", "*"], ["REQUIRE", "vmlinuz"]], False),
        ([["REQUIRE", "initrd"], ["ALLOW", "*"]], False),
    ],
)
def test_rules_are_applied_in_their_order(rules: list[list[str]], passes: bool) -> None:
    data = _chain(chains.layout(steps=[chains.BUILD | {"expected_products": rules}, chains.MEASURE]))
    if passes:
        chains.admit(data)
    else:
        _refused(data, ArtifactRuleFailed)


def test_artefacts_without_a_digest_do_not_match_each_other() -> None:
    found = chains.links()
    found[chains.path("build", ALICE)] = chains.signed(
        chains.link("build", products={"vmlinuz": {}}), ALICE
    )
    other = chains.link("measure", materials={"vmlinuz": {}})
    found[chains.path("measure", BOB)] = chains.signed(other, BOB)
    _refused(_chain(chains.layout(), found), LayoutMalformed)


@pytest.mark.parametrize(
    "digests", [{"sha1": "a" * 40}, {"sha256": "zz"}, {"sha256": "A" * 64}, {"sha256": "a"}]
)
def test_a_weak_or_malformed_digest_is_refused(digests: dict[str, str]) -> None:
    found = chains.links()
    found[chains.path("build", ALICE)] = chains.signed(
        chains.link("build", products={"vmlinuz": digests}), ALICE
    )
    _refused(_chain(chains.layout(), found), LayoutMalformed)


def test_a_chain_without_a_product_has_no_subject() -> None:
    steps = [chains.BUILD, chains.step("measure", BOB)]
    found = chains.links() | {
        chains.path("measure", BOB): chains.signed(chains.link("measure", products={}), BOB)
    }
    _refused(_chain(chains.layout(steps=steps), found), StatementMalformed)


# -- sublayouts

_INNER = chains.layout(
    steps=[chains.step("compile", BOB, expected_products=[["CREATE", "vmlinuz"], ["DISALLOW", "*"]])],
    keys={BOB.keyid: BOB.listed},
)
_COMPILED = chains.link(
    "compile", materials={"main.c": chains.SHA["source"]}, products={"vmlinuz": chains.SHA["vmlinuz"]}
)


def _nested(inner: dict[str, Any], by: chains.Party, *, dsse: bool = False) -> dict[str, Any]:
    folder = chains.path("build", ALICE).removesuffix(".link")
    return {
        chains.path("build", ALICE): chains.signed(inner, by, dsse=dsse, keyids=[ALICE.keyid]),
        f"{folder}/{chains.path('compile', BOB)}": chains.signed(_COMPILED, BOB, dsse=dsse),
        chains.path("measure", BOB): chains.signed(chains.link("measure"), BOB, dsse=dsse),
    }


@both
def test_a_sublayout_that_its_functionary_signed_stands_for_its_step(dsse: bool) -> None:
    admitted = chains.admit(_chain(chains.layout(), _nested(_INNER, ALICE, dsse=dsse), dsse=dsse))
    steps = {signer.claims.get("steps") for signer in admitted.authentic.signers}
    assert steps == {None, "build", "build/compile measure"}


@both
def test_a_sublayout_of_another_signer_is_refused(dsse: bool) -> None:
    _refused(_chain(chains.layout(), _nested(_INNER, EVE, dsse=dsse), dsse=dsse), LinkThresholdMissed)


def test_an_expired_sublayout_is_refused() -> None:
    found = _nested(_INNER | {"expires": "2025-01-01T00:00:00Z"}, ALICE)
    _refused(_chain(chains.layout(), found), LayoutExpired)


def test_a_sublayout_whose_link_is_missing_or_elsewhere_is_refused() -> None:
    found = _nested(_INNER, ALICE)
    inner = next(path for path in found if "/" in path)
    moved = {key: value for key, value in found.items() if key != inner} | {
        inner.rpartition("/")[2]: found[inner]
    }
    _refused(_chain(chains.layout(), moved), LinkMissing)


def test_sublayouts_nest_to_a_bound() -> None:
    folder, found = "", {}
    delegated = chains.layout(steps=[chains.step("build", ALICE)], keys={ALICE.keyid: ALICE.listed})
    for _ in range(6):
        found[folder + chains.path("build", ALICE)] = chains.signed(delegated, ALICE)
        folder += chains.path("build", ALICE).removesuffix(".link") + "/"
    error = _refused(_chain(delegated, found), LayoutMalformed)
    assert "nest deeper" in error.message


def test_inspections_of_a_sublayout_are_not_run_either(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    inspect = [{"_type": "inspection", "name": "look", "run": ["touch", str(canary)]}]
    _refused(_chain(chains.layout(), _nested(_INNER | {"inspect": inspect}, ALICE)), InspectionNotRun)
    assert not canary.exists()


# -- inspections


def test_the_command_of_an_inspection_is_never_run_unless_asked_for(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    inspect = [{"_type": "inspection", "name": "look", "run": ["touch", str(canary)]}]
    data = _chain(chains.layout(inspect=inspect))
    _refused(data, InspectionNotRun)
    admitted = chains.admit(data, chains.policy({"inspections": "skip"}))
    assert list(tmp_path.iterdir()) == []  # neither run, nor anything written to the current folder
    assert admitted.authentic.statement.predicate["inspections"] == {"run": [], "skipped": ["look"]}
    assert [check.verdict for check in admitted.checks if check.name == "layout.inspection"] == [
        "not-evaluated"
    ]


def test_a_command_that_differs_is_said_and_decides_nothing() -> None:
    steps = [chains.BUILD | {"expected_command": ["make"]}, chains.MEASURE]
    admitted = chains.admit(_chain(chains.layout(steps=steps)))
    assert [check.verdict for check in admitted.checks if check.name == "layout.command"] == ["warning"]


# -- documents


def test_a_member_that_stands_twice_is_refused() -> None:
    text = chains.chain().decode()
    _refused(
        text.replace('"threshold": 1', '"threshold": 1, "threshold": 1', 1).encode(), EnvelopeMalformed
    )


def test_a_member_that_stands_twice_inside_an_envelope_is_refused() -> None:
    import base64

    root = chains.signed(chains.layout(), OWNER, dsse=True)
    payload = base64.b64decode(root["payload"]).replace(
        b'"threshold": 1', b'"threshold": 9, "threshold": 1', 1
    )
    root["payload"] = base64.b64encode(payload).decode()
    _refused(chains.chain(root), LayoutMalformed)


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"steps": []},
        {"steps": [chains.BUILD, chains.BUILD]},
        {"steps": [chains.BUILD | {"unknown": 1}]},
        {"steps": [chains.BUILD | {"threshold": 0}]},
        {"steps": [chains.BUILD | {"threshold": "1"}]},
        {"steps": [chains.BUILD | {"pubkeys": [ALICE.keyid, ALICE.keyid]}]},
        {"steps": [chains.BUILD | {"expected_products": [["PERMIT", "*"]]}]},
        {"steps": [chains.BUILD | {"expected_products": [["ALLOW"]]}]},
        {"steps": [chains.BUILD | {"expected_products": [["DISALLOW", "{NAME}"]]}]},
        {"steps": [chains.BUILD | {"name": "../build"}]},
        {"steps": [chains.BUILD | {"name": "a/b"}]},
        {"steps": [chains.BUILD | {"name": ""}]},
        {"steps": [chains.BUILD | {"name": "a\0b"}]},
        {"keys": {EVE.keyid: ALICE.listed}},
        {"inspect": [{"_type": "inspection", "name": "build", "run": ["true"]}]},
        {"inspect": [{"_type": "inspection", "name": "look", "run": []}]},
        {"inspect": [{"_type": "inspection", "name": "look", "run": "true; touch x"}]},
    ],
)
def test_a_layout_that_is_not_strict_is_refused(changes: dict[str, Any]) -> None:
    _refused(_chain(chains.layout(**changes)), LayoutMalformed)


@pytest.mark.parametrize(
    "name", ["../vmlinuz", "/vmlinuz", "a/../vmlinuz", "a//b", "./a", "a\\b", "", "a\nb", "x" * 2000]
)
def test_an_artefact_s_path_stays_where_it_is(name: str) -> None:
    found = chains.links()
    made = chains.link("build", products={name: chains.SHA["vmlinuz"]})
    found[chains.path("build", ALICE)] = chains.signed(made, ALICE)
    _refused(_chain(chains.layout(), found), LayoutMalformed)


@pytest.mark.parametrize(
    "name",
    [
        "build.link",
        "../build.00000000.link",
        "/build.00000000.link",
        "build.0000000G.link",
        "build.00000000",
        ".link",
    ],
)
def test_a_link_s_path_is_one_that_in_toto_gives(name: str) -> None:
    found = chains.links() | {name: chains.signed(chains.link("build"), ALICE)}
    _refused(_chain(chains.layout(), found), LayoutMalformed)


def test_a_layout_in_place_of_a_link_and_the_reverse() -> None:
    _refused(chains.chain(chains.signed(chains.link("build"), OWNER)), LayoutMalformed)


@pytest.mark.parametrize(
    "key",
    [
        {"keytype": "ed25519", "scheme": "rsassa-pss-sha256"},
        {"keytype": "rsa", "scheme": "ed25519"},
        {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp384"},
        {"keyval": {"public": "none"}},
    ],
)
def test_a_functionary_s_key_has_one_scheme_that_fits_it(key: dict[str, Any]) -> None:
    keys = chains.layout()["keys"] | {ALICE.keyid: ALICE.listed | key}
    _refused(_chain(chains.layout(keys=keys)), LayoutMalformed)


def test_an_openpgp_key_is_refused() -> None:
    keys = {
        ALICE.keyid: {
            "keyid": ALICE.keyid,
            "type": "rsa",
            "method": "pgp+rsa-pkcsv1.5",
            "hashes": [],
            "keyval": {},
        }
    }
    _refused(_chain(chains.layout(keys=keys)), LayoutMalformed)


def test_a_float_has_no_canonical_form() -> None:
    found = chains.links()
    found[chains.path("build", ALICE)]["signed"]["byproducts"] = {"seconds": 1.5}
    _refused(_chain(chains.layout(), found), LayoutMalformed)
