"""Trust policies: what may not be said, identity, files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import NotFound, TouchstoneError
from provenance import trust
from provenance.errors import TrustPolicyInvalid
from provenance.pipeline import Pipeline
from testkit.authority import GITHUB_ISSUER, TestAuthority, TestKey
from tests.provenance.builds import NOW, WORKFLOW, policy, sign

SIGNER = {"name": "ci", "root": "pg", "issuer": GITHUB_ISSUER, "identity": f"{WORKFLOW}@refs/tags/*"}
GOOD: dict[str, Any] = {
    "version": 1,
    "name": "releases",
    "roots": [{"name": "pg", "kind": "sigstore-public-good"}],
    "signers": [SIGNER],
    "predicate_types": ["https://slsa.dev/provenance/v1"],
}
KEY = TestKey()


def parse(**changes: Any) -> trust.TrustPolicy:
    return trust.parse(json.dumps(GOOD | changes).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": "1"},
        {"name": ""},
        {"name": "a\nb"},
        {"roots": []},
        {"signers": []},
        {"predicate_types": []},
        {"unknown": 1},
        {"roots": [{"name": "pg", "kind": "something"}]},
        {"roots": [{"name": "pg", "kind": "sigstore-public-good", "extra": 1}]},
        {"roots": GOOD["roots"] * 2},
        {"roots": [{"name": "pg", "kind": "sigstore", "trusted_root": {}}]},
        {"roots": [KEY.root("pg", log="nobody")]},
        {"roots": [KEY.root("pg")]},
        {"roots": [KEY.root("pg") | {"key": "x"}], "signers": [{"name": "a", "root": "pg"}]},
        {"roots": [KEY.root("pg", not_after="2026-01-01")], "signers": [{"name": "a", "root": "pg"}]},
        {"signers": [SIGNER, SIGNER]},
        {"signers": [SIGNER | {"root": "other"}]},
        {"signers": [SIGNER | {"issuer": None}]},
        {"signers": [SIGNER | {"issuer": "https://*"}]},
        {"signers": [SIGNER | {"identity": None}]},
        {"signers": [SIGNER | {"identity": "*"}]},
        {"signers": [SIGNER | {"identity": "*@*.*"}]},
        {"threshold": 0},
        {"threshold": 2},
        {"threshold": True},
        {"max_age_seconds": 0},
        {"builders": [{"id": ""}]},
        {"builders": [{"id": "https://github.com/*"}]},
        {"builders": [{"id": f"{WORKFLOW}@refs/tags/v1", "ref": "refs/tags/*"}]},
        {"builders": [{"id": WORKFLOW, "ref": "main"}]},
        {"builders": [{"id": WORKFLOW, "signers": ["nobody"]}]},
        {"builders": [{"id": WORKFLOW, "delegated_by": f"{WORKFLOW}@refs/tags/v1"}]},
        {"sources": [{"uri": "ssh://github.com/a/b"}]},
        {"sources": [{"uri": "github.com/a/b@refs/heads/main"}]},
        {"sources": [{"uri": "github.com/a/b", "refs": ["main"]}]},
        {"max_age_seconds": 1.5},
    ],
    ids=lambda changes: json.dumps(changes)[:70],
)
def test_policy_that_says_too_little_or_too_much_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(TrustPolicyInvalid):
        parse(**changes)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"version":1,"version":1}', b"[" * 1000])
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(TrustPolicyInvalid):
        trust.parse(data)


def test_digest_names_the_canonical_document() -> None:
    policy = parse()
    assert policy.digest == hashlib.sha256(policy.to_json()).hexdigest()
    again = trust.parse(json.dumps(json.loads(policy.to_json()), indent=3).encode())
    assert (again.digest, again.document) == (policy.digest, policy.document)
    assert parse(threshold=1).digest != policy.digest
    assert parse(name="other").digest != policy.digest


def test_file_references_are_inlined_into_the_digest(tmp_path: Path, authority: TestAuthority) -> None:
    (tmp_path / "root.json").write_bytes(authority.trusted_root_json())
    (tmp_path / "key.pem").write_text(KEY.public_pem)
    (tmp_path / "trust.rego").write_text("package trust\n\nallow := true\n")
    path = tmp_path / "trust.toml"
    path.write_text(
        f"""
        version = 1
        name = "releases"
        predicate_types = ["https://slsa.dev/provenance/v1"]
        rego_file = "trust.rego"

        [[roots]]
        name = "ours"
        kind = "sigstore"
        trusted_root_file = "root.json"

        [[roots]]
        name = "key"
        kind = "public-key"
        algorithm = "ecdsa-p256-sha256"
        key_file = "key.pem"

        [[signers]]
        name = "ci"
        root = "ours"
        issuer = "{GITHUB_ISSUER}"
        identity = "{WORKFLOW}@refs/tags/*"
        """
    )
    loaded = trust.load_file(path)
    assert loaded.document.rego == "package trust\n\nallow := true\n"
    assert trust.parse(loaded.to_json()).digest == loaded.digest
    (tmp_path / "trust.rego").write_text("package trust\n\nallow := false\n")
    assert trust.load_file(path).digest != loaded.digest
    document = json.loads(loaded.to_json())
    del document["rego"]
    (tmp_path / "trust.json").write_text(json.dumps(document))
    authentic = Pipeline(trust.load_file(tmp_path / "trust.json")).authenticate(sign(authority), NOW)
    assert authentic.signers[0].root == "ours"


def test_missing_or_unreadable_files_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        trust.load_file(tmp_path / "absent.json")
    for name, text in (("a.toml", "= 1"), ("a.json", "{"), ("b.json", "[1]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(TrustPolicyInvalid):
            trust.load_file(tmp_path / name)
    broken = GOOD | {"roots": [{"name": "pg", "kind": "sigstore", "trusted_root_file": "root.json"}]}
    (tmp_path / "c.json").write_text(json.dumps(broken))
    with pytest.raises(NotFound):
        trust.load_file(tmp_path / "c.json")
    (tmp_path / "root.json").write_text("{")
    with pytest.raises(TrustPolicyInvalid):
        trust.load_file(tmp_path / "c.json")
    (tmp_path / "d.json").write_text(json.dumps(GOOD | {"rego_file": 7}))
    with pytest.raises(TrustPolicyInvalid):
        trust.load_file(tmp_path / "d.json")
    (tmp_path / "e.rego").write_bytes(b"\xff")
    (tmp_path / "e.json").write_text(json.dumps(GOOD | {"rego_file": "e.rego"}))
    with pytest.raises(TrustPolicyInvalid):
        trust.load_file(tmp_path / "e.json")


def test_rego_without_an_engine_is_a_configuration_error(authority: TestAuthority) -> None:
    with pytest.raises(TouchstoneError, match="no policy engine"):
        Pipeline(policy(authority, rego="package trust\n\nallow := true\n"))


@given(
    member=st.sampled_from([*sorted(GOOD), "builders", "sources", "dispatch_inputs", "rego"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda children: (
            st.lists(children, max_size=2)
            | st.dictionaries(
                st.sampled_from(["name", "kind", "id", "uri", "refs", "root"]), children, max_size=3
            )
        ),
        max_leaves=6,
    ),
)
@settings(max_examples=150, deadline=None)
def test_any_member_parses_or_raises_our_error(member: str, value: Any) -> None:
    try:
        parse(**{member: value})
    except TrustPolicyInvalid:
        return
