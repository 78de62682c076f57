"""``touchstone policy init``, ``sign``, ``verify``, ``explain`` and ``test`` on trust policies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common.errors import InvalidSetting, StatementError, TouchstoneError
from provenance import trust
from provenance.pipeline import Pipeline
from provenance.trust import signed
from service.cli import cli
from testkit.authority import TestAuthority, TestKey, sign_dsse
from tests.provenance.builds import REF, REPOSITORY, WORKFLOW, sign, statement

NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = TestAuthority("cli", start=NOW - timedelta(days=1))
EXAMPLE = sign(AUTHORITY, now=NOW - timedelta(hours=1))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["policy", *map(str, arguments)])


def key_files(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (tmp_path / "root.json").write_bytes(AUTHORITY.trusted_root_json())
    (tmp_path / "example.json").write_bytes(EXAMPLE)
    return tmp_path / "example.json"


@pytest.fixture
def policy(example: Path) -> Path:
    output = example.parent / "trust.toml"
    root = example.parent / "root.json"
    result = run("init", "--attestation", example, "--trusted-root", root, "-o", output)
    assert result.exit_code == 0, result.output
    return output


def test_init_writes_a_policy_that_admits_the_example_and_explains_itself(
    policy: Path, example: Path
) -> None:
    assert run("explain", "--policy", policy, "--attestation", example).exit_code == 0
    text = policy.read_text()
    for section in ("roots", "signers", "builders", "sources"):
        before = text[: text.index(f"[[{section}]]")].rstrip().splitlines()[-1]
        assert before.startswith("# ")
    assert 'trusted_root_file = "root.json"' in text
    other = f"https://github.com/evil/cvm/.github/workflows/build.yml@{REF}"
    payload = statement(builder=other, source_uri="https://github.com/evil/cvm")
    example.write_bytes(sign(AUTHORITY, payload, identity=other, now=NOW - timedelta(hours=1)))
    result = run("explain", "--policy", policy, "--attestation", example)
    assert result.exit_code == 1
    assert "statement.untrusted_signer" in result.output


def test_init_of_what_the_root_does_not_vouch_for_writes_nothing(tmp_path: Path, example: Path) -> None:
    for options in ((), ("--trusted-root", tmp_path / "other.json")):
        (tmp_path / "other.json").write_bytes(TestAuthority("other").trusted_root_json())
        result = run("init", "--attestation", example, "-o", tmp_path / "out.toml", *options)
        assert isinstance(result.exception, StatementError)
    assert not (tmp_path / "out.toml").exists()


def test_init_with_a_key_for_envelopes_and_for_bundles(tmp_path: Path, example: Path) -> None:
    key = TestKey()
    (tmp_path / "key.pem").write_text(key.public_pem)
    envelope = sign_dsse(statement(), [(key, key.spki_sha256)])
    bundle = AUTHORITY.sign_statement_with_key(statement(), key, now=NOW - timedelta(hours=1))
    for data, options in (
        (envelope, ()),
        (bundle, ("--trusted-root", tmp_path / "root.json")),
    ):
        example.write_bytes(data)
        output = tmp_path / "out.toml"
        result = run(
            "init", "--attestation", example, "--key", tmp_path / "key.pem", "-o", output, *options
        )
        assert result.exit_code == 0, result.exception
        assert trust.load_file(output).document.sources[0].uri == REPOSITORY


_FAMILIES = {
    "bcr": "bcr/rules_lint-v1.3.1.tar.gz.intoto.jsonl",
    "container": "gha_container-based/v2.1.0/binary-linux-amd64-push-v14.intoto.build.slsa",
    "delegator": "gha_delegator/v2.1.0/binary-linux-amd64-push-v14.2.build.slsa",
    "maven": "gha_maven/v2.1.0/binary-linux-amd64-push-v14.build.slsa",
    "gradle": "gha_gradle/v2.0.0/binary-linux-amd64-push-v14.2.build.slsa",
}


def test_proposals_from_real_builds_admit_their_own_and_no_other_builder(
    vectors: Path, tmp_path: Path
) -> None:
    bundles = {name: vectors / "provenance" / "slsa-verifier" / path for name, path in _FAMILIES.items()}
    now = datetime.now(UTC)
    for name, bundle in bundles.items():
        output = tmp_path / f"{name}.toml"
        result = run("init", "--attestation", bundle, "-o", output)
        assert result.exit_code == 0, result.exception
        pipeline = Pipeline(trust.load_file(output))
        admitted = {other for other, data in bundles.items() if _admits(pipeline, data.read_bytes(), now)}
        assert admitted == {name}


def _admits(pipeline: Pipeline, envelope: bytes, now: datetime) -> bool:
    try:
        pipeline.admit(envelope, now)
    except StatementError:
        return False
    return True


# --- sign and verify -----------------------------------------------------------------------------


def test_signed_policy_verifies_with_its_key_and_no_other(policy: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path, "one")
    _, stranger = key_files(tmp_path, "two")
    output = tmp_path / "trust.signed.json"
    assert run("sign", policy, "--key", private, "-o", output).exit_code == 0
    result = run("verify", output, "--key", public, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["digest"] == trust.load_file(policy).digest
    for refused in (
        run("verify", output, "--key", stranger),
        run("verify", output, "--key", public, "--key", stranger, "--threshold", 2),
        run("verify", policy, "--key", public),
    ):
        assert isinstance(refused.exception, StatementError)


def test_signatures_add_up(policy: Path, tmp_path: Path) -> None:
    pairs = [key_files(tmp_path, name) for name in ("one", "two")]
    output = tmp_path / "trust.signed.json"
    run("sign", policy, "--key", pairs[0][0], "-o", output)
    run("sign", output, "--key", pairs[1][0], "-o", output)
    keys = [option for _, public in pairs for option in ("--key", public)]
    result = run("verify", output, *keys, "--threshold", 2)
    assert result.exit_code == 0
    assert result.stdout.count("signed by") == 2


def test_expired_policy_verifies_and_is_called_expired(policy: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path, "one")
    document = json.loads(trust.load_file(policy).to_json()) | {"expires": "2026-01-01T00:00:00Z"}
    (tmp_path / "old.json").write_text(json.dumps(document))
    output = tmp_path / "old.signed.json"
    run("sign", tmp_path / "old.json", "--key", private, "-o", output)
    result = run("verify", output, "--key", public)
    assert result.exit_code == 1
    assert "EXPIRED" in result.stdout


def test_key_that_others_can_read_signs_nothing(policy: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path, "one")
    private.chmod(0o644)
    assert isinstance(run("sign", policy, "--key", private, "-o", tmp_path / "x").exception, InvalidSetting)
    public.chmod(0o600)
    assert isinstance(run("sign", policy, "--key", public, "-o", tmp_path / "x").exception, InvalidSetting)
    assert not (tmp_path / "x").exists()


def test_signed_policy_is_checked_explained_and_read_by_its_keys(policy: Path, example: Path) -> None:
    private, public = key_files(policy.parent, "one")
    _, stranger = key_files(policy.parent, "two")
    output = policy.parent / "trust.signed.json"
    run("sign", policy, "--key", private, "-o", output)
    assert signed.is_signed(output.read_bytes())
    assert run("check", output, "--kind", "trust").exit_code == 0
    arguments = ("explain", "--policy", output, "--attestation", example)
    assert run(*arguments).exit_code == 0
    assert run(*arguments, "--policy-key", public).exit_code == 0
    assert isinstance(run(*arguments, "--policy-key", stranger).exception, StatementError)


# --- explain and test ----------------------------------------------------------------------------


def test_explain_shows_every_check_and_what_to_change(policy: Path, example: Path) -> None:
    identity = f"{WORKFLOW}@refs/heads/main"
    payload = statement(builder=identity, ref="refs/heads/main")
    example.write_bytes(sign(AUTHORITY, payload, identity=identity, now=NOW - timedelta(hours=1)))
    result = run("explain", "--policy", policy, "--attestation", example, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    failed = [check for check in document["checks"] if check["verdict"] == "fail"]
    assert {check["name"] for check in failed} == {"trust.signers", "trust.builder", "trust.source"}
    assert all("expected" in check and "observed" in check for check in failed)
    assert document["advice"][0]["change"].count(identity) == 1
    text = run("explain", "--policy", policy, "--attestation", example).stdout
    assert "only if that is meant" in text


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--policy", "x"),
        ("--attestation", "x"),
        ("file.rego",),
        ("file.rego", "--input", "x", "--policy", "y", "--attestation", "z"),
    ],
)
def test_explain_wants_one_of_its_two_shapes(arguments: tuple[str, ...]) -> None:
    assert run("explain", *arguments).exit_code == 2


def test_cases_of_a_trust_policy(policy: Path, example: Path) -> None:
    def decide(expect: str) -> Any:
        text = f'[[cases]]\nname = "example"\nattestation = "{example.name}"\nexpect = "{expect}"\n'
        (policy.parent / "cases.toml").write_text(text)
        return run("test", policy, "--kind", "trust", "--cases", policy.parent, "--json")

    assert decide("admitted").exit_code == 0
    failed = decide("statement.untrusted_source")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["failed"] == 1


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"[]", b'{"payloadType": 1}'])
def test_wrong_files_are_typed_errors(tmp_path: Path, policy: Path, example: Path, data: bytes) -> None:
    private, public = key_files(tmp_path, "one")
    (tmp_path / "bad.json").write_bytes(data)
    bad = tmp_path / "bad.json"
    for result in (
        run("init", "--attestation", bad),
        run("init", "--attestation", example, "--trusted-root", bad),
        run("init", "--attestation", example, "--key", bad),
        run("sign", bad, "--key", private, "-o", tmp_path / "x"),
        run("verify", bad, "--key", public),
        run("verify", policy, "--key", bad),
        run("explain", "--policy", bad, "--attestation", example),
        run("test", bad, "--kind", "trust", "--cases", bad),
        run("test", policy, "--kind", "trust", "--cases", bad),
    ):
        assert isinstance(result.exception, TouchstoneError), result.output
    assert run("explain", "--policy", policy, "--attestation", bad).exit_code == 1
