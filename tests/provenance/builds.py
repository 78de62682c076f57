"""One build, its statement and its trust policy; each test changes the one thing that it is about."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from provenance import trust
from provenance.pipeline import Pipeline
from testkit.authority import GITHUB_ISSUER, TestAuthority, slsa_v1_statement

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPOSITORY = "https://github.com/acme/cvm"
WORKFLOW = REPOSITORY + "/.github/workflows/build.yml"
REF = "refs/tags/v1.2.3"
IDENTITY = f"{WORKFLOW}@{REF}"
SUBJECTS = {"vmlinuz": "ab" * 32}


def statement(**changes: Any) -> bytes:
    values: dict[str, Any] = {"builder": IDENTITY, "source_uri": REPOSITORY, "ref": REF} | changes
    return slsa_v1_statement(values.pop("subjects", SUBJECTS), **values)


def policy(authority: TestAuthority | None, **changes: Any) -> trust.TrustPolicy:
    document: dict[str, Any] = {
        "version": 1,
        "name": "test",
        "predicate_types": ["https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"],
        "signers": [
            {"name": "ci", "root": "ours", "issuer": GITHUB_ISSUER, "identity": f"{WORKFLOW}@refs/tags/*"}
        ],
        "builders": [{"id": WORKFLOW}],
        "sources": [{"uri": REPOSITORY, "refs": ["refs/tags/v*"]}],
    }
    if authority is not None:
        document["roots"] = [{"name": "ours", "kind": "sigstore", "trusted_root": authority.trusted_root()}]
    return trust.parse(json.dumps(document | changes).encode())


def sign(authority: TestAuthority, payload: bytes | None = None, **changes: Any) -> bytes:
    values: dict[str, Any] = {"identity": IDENTITY, "now": NOW} | changes
    return authority.sign_statement(statement() if payload is None else payload, **values)


def admit(authority: TestAuthority, envelope: bytes, now: datetime = NOW, **changes: Any) -> Any:
    return Pipeline(policy(authority, **changes)).admit(envelope, now)
