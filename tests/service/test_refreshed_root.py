"""A server uses the public-good root that was refreshed before its start, or the pinned one and says so."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64url_encode
from provenance.sigstore import tuf_refresh
from service.app import create_app
from testkit.authority import GITHUB_ISSUER, TestAuthority
from tests.provenance.builds import IDENTITY, WORKFLOW, sign
from tests.provenance.sigstore.tuf_repository import URL, FileFetcher, Repository
from tests.service.conftest import MakeServices
from tests.service.harness import NOW, ContractClient

AUTHORITY = TestAuthority("refreshed", start=NOW - timedelta(days=1))
POLICY = {
    "version": 1,
    "name": "default",
    "roots": [{"name": "public-good", "kind": "sigstore-public-good"}],
    "signers": [
        {
            "name": "ci",
            "root": "public-good",
            "issuer": GITHUB_ISSUER,
            "identity": f"{WORKFLOW}@refs/tags/*",
        }
    ],
    "predicate_types": ["https://slsa.dev/provenance/v1"],
}


@pytest.fixture
def refreshed(tmp_path: Path) -> dict[str, Any]:
    """Settings over a data folder in which the root was refreshed."""
    repository = Repository(AUTHORITY.trusted_root_json())
    (tmp_path / "tuf-root.json").write_bytes(repository.tuf_root)
    tuf_refresh.refresh(
        tmp_path / "data" / "sigstore-tuf",
        FileFetcher(repository.files),
        url=URL,
        tuf_root=repository.tuf_root,
    )
    return {"sigstore": {"tuf_root": str(tmp_path / "tuf-root.json")}}


def submit(make_services: MakeServices, prepared: Path, **sections: Any) -> tuple[Any, ContractClient]:
    token = (prepared / "admin.token").read_text(encoding="ascii").strip()
    client = ContractClient(create_app(make_services(**sections)), token)
    body = {"text": json.dumps(POLICY), "activate": True}
    assert client.put("/v1/policies/trust/default", body).status == 201
    envelope = sign(AUTHORITY, identity=IDENTITY, now=NOW - timedelta(hours=1))
    return client.post("/v1/attestations", {"envelope": b64url_encode(envelope)}), client


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> None:
    """The prepared folder, before anything else is put beside it."""
    import shutil

    shutil.copytree(prepared, tmp_path / "data")


@pytest.mark.usefixtures("data")
def test_refreshed_root_admits_and_the_record_says_so(
    refreshed: dict[str, Any], make_services: MakeServices, prepared: Path
) -> None:
    answer, client = submit(make_services, prepared, **refreshed)
    assert answer.status == 201, answer.body
    stored = client.get(f"/v1/attestations/{answer.json['attestation']}").json
    (record,) = [check for check in stored["checks"] if check["name"] == "root.public_good"]
    assert (record["verdict"], record["observed"]["refreshed"]) == ("pass", True)


@pytest.mark.usefixtures("data", "refreshed")
def test_root_that_the_settings_do_not_vouch_for_is_not_used_and_the_log_says_so(
    make_services: MakeServices, prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer, _ = submit(make_services, prepared)
    assert (answer.status, answer.code) == (422, "statement.log")
    assert "the pinned one is used" in caplog.text


def test_without_a_refresh_nothing_is_said(
    make_services: MakeServices, prepared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer, _ = submit(make_services, prepared)
    assert answer.code == "statement.log"
    assert "pinned" not in caplog.text
