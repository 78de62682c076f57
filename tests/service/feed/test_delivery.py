"""Two real servers: what one ingests and retracts arrives at the other, at once and in a file."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.client import ApiClient
from tests.service.running import RunningServer
from tests.service.world import GOOD, Publisher

_SITE = "site-a"


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not arrive"
        time.sleep(0.1)


def _live(admin: ApiClient) -> set[str]:
    return {str(item["value"]) for item in admin.pages("/v1/reference-values", query={"state": "live"})}


def _trust(admin: ApiClient, document: dict[str, object]) -> None:
    body = {"text": json.dumps(document), "activate": True}
    admin.call("PUT", "/v1/policies/trust/default", body=body)


@pytest.fixture
def source() -> Publisher:
    return Publisher()


def _follower_policy(source: Publisher, pem: str) -> dict[str, object]:
    document = source.trust_policy()
    document["roots"].append({"name": _SITE, "kind": "public-key", "algorithm": "ed25519", "key": pem})
    document["signers"].append({"name": _SITE, "root": _SITE})
    return document


def test_changes_are_sent_as_they_happen_and_carried_in_a_file(tmp_path: Path, source: Publisher) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    key = tmp_path / "site-a.pem"
    # The follower runs first, to have a token for the other; it learns the key when that one has run.
    second = RunningServer(folders[1], {}, workers=1)
    with second:
        token = second.folder / "data" / "admin.token"
        assert token.is_file()
        feed = {"subscriptions": [{"url": second.url, "token_file": str(token)}], "interval_s": 0.2}
        with RunningServer(folders[0], {"token": {"issuer": _SITE}, "feed": feed}, workers=2) as first:
            admin = first.admin()
            pem = str(admin.call("GET", "/v1/changes/key")["key"])
            key.write_text(pem)
            _trust(admin, source.trust_policy())
            digest = admin.call("POST", "/v1/attestations", body=source.submission(GOOD))["attestation"]
            second.stop()
            second.reconfigure({"feed": {"peers": [{"instance": _SITE, "key": str(key)}]}})
            second.start()
            follower = second.admin()
            _trust(follower, _follower_policy(source, pem))
            _wait(lambda: GOOD.hex() in _live(follower))
            admin.call("POST", f"/v1/attestations/{digest}/retract", body={"reason": "broken into"})
            _wait(lambda: GOOD.hex() not in _live(follower))
            file = tmp_path / "changes.jsonl"
            told = _feed(first, "export", "-o", str(file))
            assert (told["instance"], told["events"]) == (_SITE, 2)
            assert len(file.read_bytes().splitlines()) == 2
    taken = None
    with second:
        taken = _feed(second, "import", str(file))
    assert [item["result"] for item in taken["outcomes"]] == ["repeated", "repeated"]


def _feed(server: RunningServer, *arguments: str) -> dict[str, object]:
    token = server.folder / "data" / "admin.token"
    touchstone = Path(sys.executable).with_name("touchstone")
    told = subprocess.run(
        [touchstone, "feed", *arguments, "--server", server.url, "--token-file", token, "--json"],
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)
