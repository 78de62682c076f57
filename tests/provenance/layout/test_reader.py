"""What a verified supply chain is given as."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from policy.regorus_engine import RegorusEngine
from provenance import keys, trust
from provenance.errors import TrustPolicyInvalid, TrustRefused
from provenance.layout.reader import PREDICATE_TYPE
from provenance.pipeline import Pipeline
from tests.provenance.layout import chains
from tests.provenance.layout.chains import ALICE, BOB, EVE, OWNER, SECOND_OWNER, Party


def _identity(party: Party) -> str:
    return "key:" + keys.from_pem(party.algorithm, party.pem).spki_sha256


@pytest.mark.parametrize("dsse", [False, True], ids=["metablock", "dsse"])
def test_products_are_subjects_and_the_predicate_says_who_did_what(dsse: bool) -> None:
    root = chains.signed(chains.layout(), OWNER, dsse=dsse)
    found = chains.links(dsse=dsse)
    data = chains.chain(root, found)
    authentic = chains.admit(data).authentic
    assert authentic.attestation == hashlib.sha256(data).hexdigest()
    assert {item.name: item.digest for item in authentic.statement.subjects} == {
        "vmlinuz": chains.SHA["vmlinuz"],
        "values.json": chains.SHA["values"],
    }
    predicate = authentic.statement.predicate
    assert authentic.statement.predicate_type == PREDICATE_TYPE
    assert predicate["expires"] == "2030-01-01T00:00:00Z"
    assert predicate["materials"] == [{"name": "main.c", "digest": chains.SHA["source"]}]
    assert [(step["name"], [link["keyid"] for link in step["links"]]) for step in predicate["steps"]] == [
        ("build", [ALICE.keyid]),
        ("measure", [BOB.keyid]),
    ]
    signed = json.dumps(chains.layout()).encode() if dsse else None
    if signed is not None:
        assert predicate["layout"] == {"sha256": hashlib.sha256(signed).hexdigest()}
    assert (authentic.signed_at, authentic.log_time) == (chains.NOW, None)


def test_owners_and_functionaries_are_signers_of_different_kinds() -> None:
    signers = chains.admit(chains.chain()).authentic.signers
    assert [(item.kind, item.identity, item.claims) for item in signers] == [
        ("key", _identity(OWNER), {}),
        ("functionary", _identity(ALICE), {"steps": "build"}),
        ("functionary", _identity(BOB), {"steps": "measure"}),
    ]


def test_links_that_nobody_asked_for_are_said() -> None:
    found = chains.links() | {chains.path("build", EVE): chains.signed(chains.link("build"), EVE)}
    checks = chains.admit(chains.chain(found=found)).checks
    (unused,) = [check for check in checks if check.name == "layout.unused_link"]
    assert (unused.verdict, unused.observed) == ("warning", chains.path("build", EVE))


def test_the_first_root_whose_owners_signed_counts() -> None:
    roots = [
        {"name": "others", "kind": "in-toto-layout", "owners": chains.owners(SECOND_OWNER)},
        {"name": "owners", "kind": "in-toto-layout", "owners": chains.owners(OWNER)},
    ]
    admitted = chains.admit(chains.chain(), chains.policy(roots=roots))
    assert {signer.root for signer in admitted.authentic.signers} == {"owners"}


@pytest.mark.parametrize("keyid", ["spki", "own"])
def test_an_owner_may_be_named_by_another_key_id(keyid: str) -> None:
    name = keys.from_pem(OWNER.algorithm, OWNER.pem).spki_sha256 if keyid == "spki" else "abcdef0123456789"
    owner = chains.owners(OWNER)[0] | ({} if keyid == "spki" else {"keyid": name})
    root = chains.signed(chains.layout(), OWNER, keyids=[name])
    chains.admit(chains.chain(root), chains.policy({"owners": [owner]}))


def test_the_policy_s_rego_sees_the_steps() -> None:
    text = (
        "package trust\nimport rego.v1\ndefault allow := false\n"
        "allow if input.statement.predicate.steps[0].name == %s"
    )
    for name, passes in (("build", True), ("other", False)):
        pipeline = Pipeline(chains.policy(rego=text % json.dumps(name)), RegorusEngine())
        if passes:
            pipeline.admit(chains.chain(), chains.NOW)
        else:
            with pytest.raises(TrustRefused):
                pipeline.admit(chains.chain(), chains.NOW)


@pytest.mark.parametrize(
    "root",
    [
        {"owners": []},
        {"owners": chains.owners(OWNER, OWNER)},
        {"threshold": 0},
        {"threshold": 2},
        {"inspections": "run"},
        {"owners": [{"algorithm": "ed25519", "key": ALICE.pem}]},
        {"owners": [{"algorithm": "ed25519", "key": "none"}]},
        {"owners": [chains.owners(OWNER)[0] | {"unknown": 1}]},
    ],
)
def test_a_root_that_could_not_be_meant_is_refused(root: dict[str, Any]) -> None:
    with pytest.raises(TrustPolicyInvalid):
        chains.policy(root)


def test_a_layout_root_vouches_for_no_certificate() -> None:
    with pytest.raises(TrustPolicyInvalid):
        chains.policy(signers=[{"name": "owner", "root": "owners", "issuer": "x", "identity": "y"}])


def test_owners_keys_may_stand_in_files(tmp_path: Any) -> None:
    (tmp_path / "owner.pem").write_text(OWNER.pem)
    (tmp_path / "trust.toml").write_text(f"""
version = 1
name = "chain"
predicate_types = ["{PREDICATE_TYPE}"]
[[roots]]
name = "owners"
kind = "in-toto-layout"
[[roots.owners]]
algorithm = "ed25519"
key_file = "owner.pem"
[[signers]]
name = "owner"
root = "owners"
""")
    chains.admit(chains.chain(), trust.load_file(tmp_path / "trust.toml"))
