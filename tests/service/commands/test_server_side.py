"""Commands against a real server on loopback, and on its own files: publish, look, retract, audit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from common.encoding import b64url_encode
from common.files import write_private
from provenance.derivation import derive
from provenance.model import DerivationRequest
from storage.database import Database
from testkit.snp_firmware import SnpFirmware
from tests.provenance.manifests import material as manifests
from tests.service.running import RunningServer
from tests.service.world import GOOD, OTHER, Publisher, firmware_settings

pytestmark = pytest.mark.xdist_group("server")
_TOUCHSTONE = Path(sys.executable).with_name("touchstone")
SECRET = "the-secret-of-the-vault"
ATTESTATION = "attestation"


class Line:
    """The command line, pointed at one server by environment variables as a CI job would be."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.folder = server.folder
        self.environ = {
            "PATH": os.environ["PATH"],
            "TOUCHSTONE_SERVER": server.url,
            "TOUCHSTONE_TOKEN_FILE": str(server.folder / "data" / "admin.token"),
            "TOUCHSTONE_CONFIG": str(server.config),
        }

    def run(
        self, *arguments: object, stdin: str | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_TOUCHSTONE, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            input=stdin,
            env=self.environ | environ,
        )

    def json(self, *arguments: object, code: int = 0) -> Any:
        answer = self.run(*arguments, "--json")
        assert answer.returncode == code, answer.stderr + answer.stdout
        return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("line")
    sections = firmware_settings(SnpFirmware(), folder, datetime.now(UTC))
    with RunningServer(folder, sections, workers=1) as server:
        yield Line(server)


@pytest.fixture(scope="module")
def published(line: Line) -> dict[str, Any]:
    """Two attestations by a publisher whom the server was told to trust, all through the command line."""
    publisher = Publisher()
    policy = line.folder / "trust.json"
    policy.write_text(json.dumps(publisher.trust_policy()))
    assert line.json("policy", "put", "default", policy, "--kind", "trust", "--activate")["version"] == 1
    launch = line.folder / "launch.json"
    launch.write_text('{"rule": "reference-values"}')
    answers = {}
    for name, measurement, revision in (("good", GOOD, "a" * 40), ("other", OTHER, "b" * 40)):
        envelope = line.folder / f"{name}.dsse.json"
        envelope.write_bytes(publisher.envelope(measurement, now=datetime.now(UTC), revision=revision))
        answers[name] = line.json(
            "publish", "--policy", policy, "--attestation", envelope, "--launch", launch
        )
    return answers


def test_publish_prints_what_was_verified_and_stored(published: dict[str, Any]) -> None:
    good = published["good"]
    assert good["values"][0]["value"] == GOOD.hex()
    assert good["server"]["attestation"] == good["attestation"]
    assert good["server"]["created"] is True


def test_publisher_who_is_not_trusted_is_a_negative_answer(line: Line, published: dict[str, Any]) -> None:
    """The server decides by its own trust policy, whatever the publisher's says."""
    stranger = Publisher()
    (line.folder / "own.json").write_text(json.dumps(stranger.trust_policy()))
    (line.folder / "stranger.dsse.json").write_bytes(stranger.envelope(GOOD, now=datetime.now(UTC)))
    answer = line.run(
        "publish", "--policy", line.folder / "own.json", "--launch", line.folder / "launch.json",
        "--attestation", line.folder / "stranger.dsse.json",
    )  # fmt: skip
    assert answer.returncode == 1
    assert "[statement." in answer.stderr


def test_reference_values_are_listed_shown_and_have_a_history(
    line: Line, published: dict[str, Any]
) -> None:
    items = line.json("rv", "list", "--name", "snp_launch_measurement", "--tee", "snp")["items"]
    assert {item["value"] for item in items} == {GOOD.hex(), OTHER.hex()}
    one = next(item for item in items if item["value"] == GOOD.hex())
    assert line.json("rv", "show", one["id"])["lineage"]["attestation"] == published["good"]["attestation"]
    history = line.json("rv", "history", "--id", one["id"])["items"]
    assert history[0]["value"]["id"] == one["id"]
    assert history[0]["events"]
    for arguments in (("list",), ("show", one["id"]), ("history", "--name", "snp_launch_measurement")):
        answer = line.run("rv", *arguments)
        assert answer.returncode == 0
        assert one["id"] in answer.stdout


def test_impact_then_retraction_kills_the_value(line: Line, published: dict[str, Any]) -> None:
    digest = published["other"]["attestation"]
    before = line.json("rv", "impact", ATTESTATION, digest)
    assert len(before["affected"]["live"]) == 1
    assert "1 of them live" in line.run("rv", "impact", ATTESTATION, digest).stdout
    result = line.json("rv", "retract", ATTESTATION, digest, "--reason", "test", "--yes")
    assert result["reference_values"] == before["affected"]["live"]
    again = line.run("rv", "retract", ATTESTATION, digest, "--reason", "test", "--yes")
    assert "had been retracted before" in again.stdout
    dead = line.json("rv", "list", "--attestation", digest)["items"]
    assert [item["state"] for item in dead] == ["retracted"]
    assert line.json("rv", "impact", ATTESTATION, digest)["affected"]["live"] == []
    shown = line.run("rv", "show", dead[0]["id"]).stdout
    assert "retraction.reason" in shown


def test_impact_has_a_name_of_its_own_and_knows_every_kind(line: Line, published: dict[str, Any]) -> None:
    digest = published["good"]["attestation"]
    assert line.json("impact", ATTESTATION, digest) == line.json("rv", "impact", ATTESTATION, digest)
    value = line.json("rv", "list", "--attestation", digest)["items"][0]
    lineage = value["lineage"]
    for kind, target in (
        ("signer", lineage["signer"]),
        ("key", lineage["key"]),
        ("rule", lineage["rule"]),
        ("tool", lineage["tools"][-1]),
        ("submitter", lineage["submitted_by"]),
        ("reference_value", value["id"]),
    ):
        found = line.json("impact", kind, target)["affected"]
        assert value["id"] in found["reference_values"], kind
    for kind in ("builder", "source_uri", "source_revision", "material"):
        assert line.json("impact", kind, "nobody-named-this")["affected"]["reference_values"] == []


def test_history_shows_the_lineage_in_the_words_of_a_retraction(
    line: Line, published: dict[str, Any]
) -> None:
    digest = published["good"]["attestation"]
    shown = line.run("rv", "history", "--attestation", digest).stdout
    for word in ("attestation", "signer", "key", "rule", "tool", "touchstone/"):
        assert word in shown


def test_retraction_asks_first(line: Line, published: dict[str, Any]) -> None:
    digest = published["good"]["attestation"]
    answer = line.run("rv", "retract", ATTESTATION, digest, "--reason", "x", stdin="n\n")
    assert answer.returncode == 1
    items = line.json("rv", "list", "--attestation", digest)["items"]
    assert [item["state"] for item in items] == ["live"]


def test_impact_of_a_signer_can_be_limited_in_time(line: Line, published: dict[str, Any]) -> None:
    signer = published["good"]["signers"][0]
    later = line.json("rv", "impact", "signer", signer, "--since", "2099-01-01T00:00:00Z")
    assert later["affected"]["attestations"] == []
    assert len(line.json("rv", "impact", "signer", signer)["affected"]["attestations"]) == 2


def test_history_wants_exactly_one_filter(line: Line) -> None:
    assert line.run("rv", "history").returncode == 2
    assert line.run("rv", "history", "--id", "x", "--name", "y").returncode == 2


def test_unknown_value_is_a_typed_error_of_the_server(line: Line) -> None:
    answer = line.run("rv", "show", "rv-none", "--json")
    assert answer.returncode in (1, 2)
    error = json.loads(answer.stdout)["error"]
    assert error["code"].startswith(("reference.", "input."))
    assert error["advice"]


def test_secret_is_stored_listed_and_destroyed_and_never_shown(line: Line) -> None:
    file = line.folder / "secret"
    file.write_text(SECRET)
    answers = [
        line.run("resource", "put", "vault/key/one", file),
        line.run("resource", "put", "vault/key/one", "-", "--expected", "1", "--json", stdin=SECRET),
        line.run("resource", "list"),
        line.run("resource", "list", "--json"),
        line.run("resource", "show", "vault/key/one"),
        line.run("resource", "show", "vault/key/one", "--json"),
    ]
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
        assert SECRET not in answer.stdout + answer.stderr
        assert b64url_encode(SECRET.encode()) not in answer.stdout + answer.stderr
    assert json.loads(answers[1].stdout)["version"] == 2
    assert json.loads(answers[3].stdout)["items"][0]["latest_version"] == 2
    assert len(json.loads(answers[5].stdout)["versions"]) == 2
    stale = line.run("resource", "put", "vault/key/one", file, "--expected", "1")
    assert stale.returncode != 0
    assert "Traceback" not in stale.stderr
    assert line.run("resource", "delete", "vault/key/one", stdin="n\n").returncode == 1
    assert line.json("resource", "delete", "vault/key/one", "--yes") == {"deleted": "vault/key/one"}
    assert line.run("resource", "delete", "vault/none/one", "--yes").returncode in (1, 2)


def test_policy_versions_can_be_put_activated_and_rolled_back(line: Line) -> None:
    file = line.folder / "policy.rego"
    for value in (2, 3):
        file.write_text(f'package policy\n\ntrust_claims := {{"hardware": {value}}}\n')
        assert line.run("policy", "put", "mine", file, "--activate").returncode == 0
    assert line.run("policy", "activate", "mine", "1").returncode == 0
    assert line.json("policy", "rollback", "mine")["version"] == 2
    listed = {(item["kind"], item["name"]): item for item in line.json("policy", "list")["items"]}
    assert listed["appraisal", "mine"]["active"] == 2
    assert listed["release", "default"]["active"] == 1
    assert "mine" in line.run("policy", "list").stdout
    versions = line.json("policy", "versions", "mine")
    assert [item["version"] for item in versions["items"]] == [2, 1]
    assert "rollback" in line.run("policy", "versions", "mine").stdout


def test_refused_policy_is_a_negative_answer_with_its_code(line: Line) -> None:
    file = line.folder / "bad.rego"
    file.write_text("package policy\n\ntrust_claims := http.send({})\n")
    answer = line.run("policy", "put", "bad", file)
    assert answer.returncode == 1
    assert "[policy." in answer.stderr
    assert line.run("policy", "versions", "none").returncode == 1


def test_token_without_the_right_and_revoked_token_are_refused(line: Line) -> None:
    made = line.json("token", "create", "reader", "--role", "auditor")
    token = line.folder / "auditor.token"
    token.write_text(made["token"])
    narrow = line.run("resource", "delete", "a/b/c", "--yes", TOUCHSTONE_TOKEN_FILE=str(token))
    assert narrow.returncode == 1
    assert "[access." in narrow.stderr
    assert line.run("rv", "list", TOUCHSTONE_TOKEN_FILE=str(token)).returncode == 0
    assert line.run("token", "revoke", made["info"]["id"]).returncode == 0
    assert line.run("rv", "list", TOUCHSTONE_TOKEN_FILE=str(token)).returncode == 1
    assert made["token"] not in line.run("token", "list").stdout


def test_server_that_does_not_answer_is_unavailable(line: Line) -> None:
    answer = line.run("rv", "list", "--server", "http://127.0.0.1:1")
    assert answer.returncode == 4
    assert "[unavailable.fetch]" in answer.stderr


def test_plain_http_to_a_remote_host_is_refused(line: Line) -> None:
    assert line.run("rv", "list", "--server", "http://touchstone.example").returncode == 3


def test_data_dir_overrides_the_configuration(line: Line) -> None:
    answer = line.run("serve", "--check", "--data-dir", line.folder / "data", TOUCHSTONE_CONFIG="")
    assert answer.returncode == 0, answer.stderr
    tokens = line.json("token", "list", "--data-dir", line.folder / "data")["items"]
    assert tokens


def test_audit_log_is_read_and_holds(line: Line, published: dict[str, Any]) -> None:
    head = line.json("audit", "head")
    assert line.run("audit", "head").stdout.strip() == f"{head['sequence']} {head['digest']}"
    page = line.json("audit", "list", "--action", "policy.put")
    assert page["items"]
    assert all(item["entry"]["action"] == "policy.put" for item in page["items"])
    assert "policy.put" in line.run("audit", "list").stdout
    result = line.json("audit", "verify")
    assert result["holds"] is True
    assert result["log"]["records"] >= head["sequence"]
    assert "the log holds" in line.run("audit", "verify").stdout


def test_audit_on_a_folder_without_a_server_makes_nothing(line: Line, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    answer = line.run("audit", "verify", "--data-dir", folder)
    assert answer.returncode == 3
    assert "[configuration.invalid]" in answer.stderr
    assert not folder.exists()


def test_an_edited_reference_value_is_found(line: Line, published: dict[str, Any]) -> None:
    database = Database(f"sqlite:///{line.folder / 'data' / 'touchstone.db'}")
    digest = published["good"]["attestation"]
    change = "UPDATE reference_value SET release_group = {} WHERE attestation = :digest"
    with database.write() as connection:
        kept = "SELECT release_group FROM reference_value WHERE attestation = :digest"
        group = connection.execute(text(kept), {"digest": digest}).scalars().first()
        connection.execute(text(change.format("'other'")), {"digest": digest})
    try:
        answer = line.run("audit", "verify")
        assert answer.returncode == 1
        assert "altered" in answer.stdout
        result = line.json("audit", "verify", code=1)
        assert result["log"]["holds"]
        assert not result["reference_values"]["holds"]
    finally:
        with database.write() as connection:
            connection.execute(text(change.format(":group")), {"digest": digest, "group": group})
        database.close()


def test_altered_record_is_the_first_break(line: Line, published: dict[str, Any]) -> None:
    database = Database(f"sqlite:///{line.folder / 'data' / 'touchstone.db'}")
    kept = "SELECT entry FROM audit_record WHERE sequence = 1"
    change = "UPDATE audit_record SET entry = :entry WHERE sequence = 1"
    with database.write() as connection:
        entry = connection.execute(text(kept)).scalar_one()
        connection.execute(text(change), {"entry": entry.replace(b"policy", b"polity")})
    try:
        answer = line.run("audit", "verify")
        assert answer.returncode == 1
        assert "record 1:" in answer.stdout
        assert line.json("audit", "verify", code=1)["log"]["broken_at"] == 1
    finally:
        with database.write() as connection:
            connection.execute(text(change), {"entry": entry})
        database.close()


def test_live_values_are_exported_as_a_corim_that_reads_back(
    line: Line, published: dict[str, Any], tmp_path: Path
) -> None:
    assert published
    key, corim, mapping = (tmp_path / name for name in ("key.pem", "out.corim", "mapping.json"))
    private = ec.generate_private_key(ec.SECP256R1())
    write_private(
        key,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    arguments = ("rv", "export", "--format", "corim", "-o", corim, "--key", key, "--mapping", mapping)
    result = line.json(*arguments, "--valid-days", "30", "--name", "snp_launch_measurement")
    assert result["signed"] is True
    assert result["values"] >= 1
    admitted = manifests.admit(corim.read_bytes(), manifests.key_root(private), now=datetime.now(UTC))
    request = msgspec.json.decode(mapping.read_bytes(), type=DerivationRequest)
    live = line.json("rv", "list", "--state", "live", "--name", "snp_launch_measurement")["items"]
    assert {value.value for value in derive(admitted, request, [])} == {item["value"] for item in live}
    unsigned = line.json("rv", "export", "--format", "corim", "-o", corim)
    assert unsigned["signed"] is False
    assert corim.read_bytes().startswith(b"\xd9\x01\xf5")
    assert line.run("rv", "export", "--format", "corim", "-o", corim, "--valid-days", "3").returncode == 2
    nothing = line.run("rv", "export", "--format", "corim", "-o", corim, "--group", "no-such-release")
    assert nothing.returncode == 1
    assert "reference.not_exportable" in nothing.stderr
