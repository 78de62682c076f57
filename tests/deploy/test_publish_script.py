"""The CI script: runs the real `touchstone publish`, refuses what is missing, leaves no secret behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from provenance import trust
from provenance.model import DerivationRequest
from provenance.pipeline import Pipeline
from provenance.predicates.reference import PREDICATE_TYPE
from testkit.authority import TestKey, sign_dsse, slsa_v1_statement
from tests.provenance.derivation import material

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "ci" / "publish.sh"
TOUCHSTONE = Path(sys.executable).parent / "touchstone"
BUILDER = "https://builder.example/v1"
SOURCE = "https://github.com/acme/cvm"
TOKEN = "tst_" + "s3cret" * 6
SECRET = re.compile(r"s3cret|PRIVATE KEY")

# Prints what it was given as JSON and exits as told; reads the secret files, as touchstone would.
ECHO = """#!{python}
import json, os, stat, sys
arguments = sys.argv[1:]
secrets = {{}}
for option in ("--token-file", "--signing-key"):
    if option in arguments:
        path = arguments[arguments.index(option) + 1]
        with open(path) as file:
            secrets[option] = [path, file.read(), stat.S_IMODE(os.stat(path).st_mode)]
kept = sorted(name for name in os.environ if name in ("PUBLISH_TOKEN", "PUBLISH_SIGNING_KEY"))
with open({record!r}, "w") as file:
    json.dump({{"arguments": arguments, "secrets": secrets, "environment": kept}}, file)
print("{{}}")
sys.exit({code})
"""


@pytest.fixture
def build(tmp_path: Path) -> dict[str, str]:
    """A signed build in a folder, and the variables that publish it."""
    files = {
        "firmware": material.image(),
        "kernel": material.KERNEL,
        "initrd": material.INITRD,
        "cmdline": material.CMDLINE,
    }
    for role, data in files.items():
        (tmp_path / f"the {role}").write_bytes(data)  # a space: names are not words
    key = TestKey()
    statement = slsa_v1_statement(
        {role: hashlib.sha256(data).hexdigest() for role, data in files.items()},
        builder=BUILDER,
        source_uri=SOURCE,
        ref="refs/tags/v1",
    )
    (tmp_path / "attestation.json").write_bytes(sign_dsse(statement, [(key, key.spki_sha256)]))
    policy = {
        "version": 1,
        "name": "test",
        "roots": [key.root("builder-key")],
        "signers": [{"name": "builder", "root": "builder-key"}],
        "predicate_types": ["https://slsa.dev/provenance/v1"],
        "builders": [{"id": BUILDER}],
        "sources": [{"uri": SOURCE, "refs": ["refs/tags/*"]}],
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    launch = {"rule": "snp-launch-digest", "launch": material.LAUNCH, "group": "release-1"}
    (tmp_path / "launch.json").write_text(json.dumps(launch))
    return {
        "PUBLISH_POLICY": "policy.json",
        "PUBLISH_ATTESTATION": "attestation.json",
        "PUBLISH_LAUNCH": "launch.json",
        "PUBLISH_ARTIFACTS": "".join(f"{role}=the {role}\n" for role in files),
    }


@pytest.fixture
def signing_key() -> tuple[ed25519.Ed25519PrivateKey, str]:
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, pem.decode()


def _run(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [str(SCRIPT)],
        cwd=folder,
        env={"PATH": f"{TOUCHSTONE.parent}:{os.environ['PATH']}", "TMPDIR": str(temporary)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _echo(folder: Path, code: int = 0) -> tuple[Path, Path]:
    """A program that records its arguments, and the record."""
    program, record = folder / "echo-touchstone", folder / "record.json"
    program.write_text(ECHO.format(python=sys.executable, record=str(record), code=code))
    program.chmod(0o755)
    return program, record


def _left_behind(folder: Path) -> list[Path]:
    return list((folder / "temporary").rglob("*"))


# -- with the real touchstone


def test_a_build_becomes_a_signed_statement_that_a_receiver_admits(
    tmp_path: Path, build: dict[str, str], signing_key: tuple[ed25519.Ed25519PrivateKey, str]
) -> None:
    private, pem = signing_key
    done = _run(
        tmp_path,
        build
        | {
            "PUBLISH_OUTPUT": "statement.json",
            "PUBLISH_SIGNING_KEY": pem,
            "PUBLISH_RESULT": "result.json",
        },
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    policy = {
        "version": 1,
        "name": "receiver",
        "roots": [{"name": "site", "kind": "public-key", "algorithm": "ed25519", "key": public.decode()}],
        "signers": [{"name": "publisher", "root": "site"}],
        "predicate_types": [PREDICATE_TYPE],
    }
    receiver = Pipeline(trust.parse(json.dumps(policy).encode()))
    admitted = receiver.admit((tmp_path / "statement.json").read_bytes(), datetime.now(UTC))
    (value,) = receiver.derive(admitted, DerivationRequest(rule="reference-values"), [])
    assert value.value == result["values"][0]["value"]
    assert (value.group, len(value.value)) == ("release-1", 96)
    assert not SECRET.search(done.stdout + done.stderr + (tmp_path / "result.json").read_text())
    assert _left_behind(tmp_path) == []


def test_a_changed_artefact_fails_the_step_and_writes_nothing(
    tmp_path: Path, build: dict[str, str], signing_key: tuple[ed25519.Ed25519PrivateKey, str]
) -> None:
    (tmp_path / "the kernel").write_bytes(material.KERNEL + b"!")
    done = _run(
        tmp_path,
        build
        | {
            "PUBLISH_OUTPUT": "statement.json",
            "PUBLISH_SIGNING_KEY": signing_key[1],
            "PUBLISH_RESULT": "result.json",
        },
    )
    assert done.returncode == 1
    assert "statement.subject_mismatch" in done.stdout + done.stderr
    assert not (tmp_path / "statement.json").exists()
    assert not (tmp_path / "result.json").exists()
    assert _left_behind(tmp_path) == []


def test_a_server_that_does_not_answer_fails_the_step_with_its_own_code(
    tmp_path: Path, build: dict[str, str]
) -> None:
    # Port 9 (discard) of loopback: nothing listens there.
    done = _run(tmp_path, build | {"PUBLISH_SERVER": "http://127.0.0.1:9", "PUBLISH_TOKEN": TOKEN})
    assert done.returncode == 4, done.stderr
    assert not SECRET.search(done.stdout + done.stderr)
    assert _left_behind(tmp_path) == []


# -- what is refused before anything runs


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"PUBLISH_POLICY": ""}, "PUBLISH_POLICY"),
        ({"PUBLISH_ATTESTATION": ""}, "PUBLISH_ATTESTATION"),
        ({"PUBLISH_LAUNCH": ""}, "PUBLISH_LAUNCH"),
        ({"PUBLISH_POLICY": "absent.toml"}, "absent.toml"),
        ({"PUBLISH_SERVER": "", "PUBLISH_TOKEN": ""}, "neither"),
        ({"PUBLISH_SERVER": ""}, "without PUBLISH_SERVER"),
        ({"PUBLISH_OUTPUT": "o.json"}, "not both"),
        ({"PUBLISH_TOKEN": ""}, "PUBLISH_TOKEN_FILE"),
        ({"PUBLISH_TOKEN_FILE": "policy.json"}, "not both"),
        ({"PUBLISH_TOKEN": "", "PUBLISH_TOKEN_FILE": "absent"}, "absent"),
        ({"PUBLISH_SIGNING_KEY": "k"}, "without PUBLISH_OUTPUT"),
        ({"PUBLISH_SERVER": "", "PUBLISH_OUTPUT": "o.json"}, "without PUBLISH_SERVER"),
        (
            {"PUBLISH_SERVER": "", "PUBLISH_TOKEN": "", "PUBLISH_OUTPUT": "o.json"},
            "PUBLISH_SIGNING_KEY_FILE",
        ),
        ({"PUBLISH_CA_FILE": "absent.pem"}, "absent.pem"),
        ({"PUBLISH_ARTIFACTS": "kernel"}, "ROLE=PATH"),
        ({"PUBLISH_ARTIFACTS": "=the kernel"}, "ROLE=PATH"),
        ({"PUBLISH_ARTIFACTS": "kernel="}, "ROLE=PATH"),
        ({"PUBLISH_ARTIFACTS": "--json=the kernel"}, "ROLE=PATH"),
        ({"PUBLISH_ARTIFACTS": "kernel=absent"}, "absent"),
        ({"TOUCHSTONE_BIN": "no-such-program"}, "no-such-program"),
    ],
    ids=str,
)
def test_a_missing_or_contradicting_variable_is_named_and_nothing_runs(
    tmp_path: Path, build: dict[str, str], change: dict[str, str], named: str
) -> None:
    program, record = _echo(tmp_path)
    variables = {
        "PUBLISH_SERVER": "https://touchstone.example",
        "PUBLISH_TOKEN": TOKEN,
        "TOUCHSTONE_BIN": str(program),
    }
    done = _run(tmp_path, build | variables | change)
    assert done.returncode == 2
    assert named in done.stderr
    assert not SECRET.search(done.stderr)
    assert not record.exists()
    assert _left_behind(tmp_path) == []


# -- what the program is given


def test_the_arguments_are_the_variables_one_for_one(tmp_path: Path, build: dict[str, str]) -> None:
    program, record = _echo(tmp_path)
    (tmp_path / "ca.pem").write_text("ca")
    hostile = tmp_path / "the $(touch injected) kernel"
    hostile.write_bytes(b"kernel")
    done = _run(
        tmp_path,
        build
        | {
            "TOUCHSTONE_BIN": str(program),
            "PUBLISH_SERVER": "https://touchstone.example",
            "PUBLISH_TOKEN": TOKEN,
            "PUBLISH_CA_FILE": "ca.pem",
            "PUBLISH_ARTIFACTS": f"\n  \nfirmware=the firmware\r\nkernel={hostile.name}",
        },
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(record.read_text())
    path, content, mode = seen["secrets"]["--token-file"]
    assert seen["arguments"] == [
        *("publish", "--policy", "policy.json", "--attestation", "attestation.json"),
        *("--launch", "launch.json"),
        *("--artifact", "firmware=the firmware", "--artifact", f"kernel={hostile.name}"),
        *("--server", "https://touchstone.example", "--token-file", path, "--ca-file", "ca.pem"),
        "--json",
    ]
    assert (content.strip(), mode) == (TOKEN, stat.S_IRUSR | stat.S_IWUSR)
    assert seen["environment"] == []
    assert not (tmp_path / "injected").exists()
    assert not Path(path).exists()


def test_a_secret_given_as_a_file_is_used_in_place(tmp_path: Path, build: dict[str, str]) -> None:
    program, record = _echo(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    variables = {"TOUCHSTONE_BIN": str(program), "PUBLISH_SERVER": "https://touchstone.example"}
    assert _run(tmp_path, build | variables | {"PUBLISH_TOKEN_FILE": "token"}).returncode == 0
    assert json.loads(record.read_text())["secrets"]["--token-file"][0] == "token"
    assert (tmp_path / "token").read_text() == TOKEN


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("result", ["", "result.json"])
def test_a_refusal_keeps_its_exit_code_and_leaves_no_result(
    tmp_path: Path, build: dict[str, str], code: int, result: str
) -> None:
    program, _ = _echo(tmp_path, code)
    variables = {
        "TOUCHSTONE_BIN": str(program),
        "PUBLISH_SERVER": "https://touchstone.example",
        "PUBLISH_TOKEN": TOKEN,
        "PUBLISH_RESULT": result,
    }
    assert _run(tmp_path, build | variables).returncode == code
    assert not (tmp_path / "result.json").exists()
    assert _left_behind(tmp_path) == []


# -- the templates that call it


def test_every_variable_that_the_templates_pass_is_one_that_the_script_reads() -> None:
    script = SCRIPT.read_text()
    action = yaml.safe_load((DEPLOY / "github-action" / "action.yml").read_text())
    gitlab = yaml.safe_load((DEPLOY / "gitlab" / "touchstone-publish.yml").read_text())
    passed = set(action["runs"]["steps"][1]["env"]) | set(gitlab[".touchstone-publish"]["variables"])
    passed |= set(re.findall(r"PUBLISH_[A-Z_]+", (DEPLOY / "gitlab/touchstone-publish.yml").read_text()))
    for name in passed - {"GIT_STRATEGY"}:
        assert re.search(rf"^#   {name.removesuffix('_FILE')}", script, re.MULTILINE), name


def test_the_action_passes_inputs_by_environment_alone_and_uses_each() -> None:
    action = yaml.safe_load((DEPLOY / "github-action" / "action.yml").read_text())
    steps = action["runs"]["steps"]
    assert all("${{" not in step["run"] for step in steps)
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", json.dumps([step["env"] for step in steps])))
    assert used == set(action["inputs"])
    for step in steps:
        for path in re.findall(r'"\$GITHUB_ACTION_PATH/([^"]+)"', step["run"]):
            assert os.access(DEPLOY / "github-action" / path, os.X_OK), path


def test_the_gitlab_job_takes_touchstone_at_a_commit_and_runs_the_script() -> None:
    job = yaml.safe_load((DEPLOY / "gitlab" / "touchstone-publish.yml").read_text())
    lines = job[".touchstone-publish"]["script"]
    assert any("TOUCHSTONE_COMMIT" in line and "fetch" in line for line in lines)
    assert lines[-1] == '"$source_folder/deploy/ci/publish.sh"'
    root = DEPLOY.parent
    for path in re.findall(r'"\$source_folder/((?:scripts|deploy)/[^"]+)"', "\n".join(lines)):
        assert os.access(root / path, os.X_OK), path
