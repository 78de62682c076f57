"""``touchstone registry`` and ``touchstone publish --image``, through the real entry point and registry."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64_decode, b64_encode
from provenance.sigstore.bundle_format import V03
from testkit.authority import TestAuthority, sign_dsse
from testkit.registry import PASSWORD, USER, OciRegistry, Pusher
from tests.provenance.builds import policy
from tests.provenance.oci.layers import attestation_of, push_attestation, push_bundle, push_signature
from tests.service.world import GOOD, Publisher

_TOUCHSTONE = Path(sys.executable).with_name("touchstone")


@pytest.fixture(scope="module")
def authority() -> TestAuthority:
    return TestAuthority("ours", start=datetime(2026, 1, 1, tzinfo=UTC))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_TOUCHSTONE, *map(str, arguments)], capture_output=True, text=True, check=False)


def reference(pusher: Pusher) -> str:
    return f"{pusher.host}/{pusher.repository}:v1"


def test_everything_attached_is_listed_and_fetched_as_it_is(
    pusher: Pusher,
    authority: TestAuthority,
    tmp_path: Path,
) -> None:
    image = pusher.image("v1")
    push_bundle(pusher, authority, image)
    push_attestation(pusher, authority, image)
    push_signature(pusher, authority, image)
    listed = run("registry", "list", reference(pusher), "--plain-http", "--json")
    assert listed.returncode == 0, listed.stderr
    document = json.loads(listed.stdout)
    assert (document["image"], document["verified"]) == (image["digest"], False)
    assert [item["kind"] for item in document["found"]] == ["attestation", "attestation", "signature"]
    fetched = run("registry", "fetch", reference(pusher), "--plain-http", "--output", tmp_path / "out")
    assert fetched.returncode == 0, fetched.stderr
    names = sorted(path.name.partition(".")[2] for path in (tmp_path / "out").iterdir())
    assert names == ["cosign-signature.json", "dsse.json", "sigstore.json"]
    assert image["digest"] in fetched.stdout


def test_an_account_is_read_from_a_docker_configuration(
    account_pusher: Pusher,
    tmp_path: Path,
) -> None:
    account_pusher.image("v1")
    anonymous = run("registry", "list", reference(account_pusher), "--plain-http")
    assert (anonymous.returncode, "unavailable.registry_access" in anonymous.stderr) == (4, True)
    secret = b64_encode(f"{USER}:{PASSWORD}".encode())
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {account_pusher.host: {"auth": secret}}}))
    told = run(
        "registry", "list", reference(account_pusher), "--plain-http", "--registry-config", config
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "nothing that can be read is attached" in told.stdout
    config.write_text(json.dumps({"auths": {account_pusher.host: {"auth": b64_encode(b"reader:wrong")}}}))
    refused = run(
        "registry", "list", reference(account_pusher), "--plain-http", "--registry-config", config
    )  # fmt: skip
    assert refused.returncode == 4
    assert "wrong" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("registry", "list", "https://registry.test/x"), 2, "input.image_reference"),
        (("registry", "list", "127.0.0.1:1/acme/cvm", "--plain-http"), 4, "unavailable.registry"),
    ],
)
def test_a_refusal_has_its_code_and_exit_status(arguments: tuple[str, ...], status: int, code: str) -> None:
    answer = run(*arguments)
    assert answer.returncode == status
    assert f"[{code}]" in answer.stderr


def test_publish_takes_the_attestations_of_an_image_that_the_policy_admits(
    oci_registry: OciRegistry,
    pusher: Pusher,
    tmp_path: Path,
) -> None:
    image, publisher = pusher.image("v1"), Publisher()
    good = _reference_values(publisher, image["digest"])
    pusher.referrer(image, V03, [pusher.blob(good, "application/vnd.dsse.envelope.v1+json")])
    stray = _reference_values(Publisher(), image["digest"])
    pusher.referrer(image, V03, [pusher.blob(stray, "application/vnd.dsse.envelope.v1+json")])
    (tmp_path / "trust.json").write_text(json.dumps(publisher.trust_policy()))
    (tmp_path / "launch.json").write_text(json.dumps({"rule": "reference-values"}))
    arguments = (
        "publish", "--policy", tmp_path / "trust.json", "--image", reference(pusher), "--plain-http",
        "--launch", tmp_path / "launch.json", "--dry-run", "--json",
    )  # fmt: skip
    answer = run(*arguments)
    assert answer.returncode == 0, answer.stderr
    assert [value["value"] for value in json.loads(answer.stdout)["values"]] == [GOOD.hex()]
    assert "statement.untrusted_signer" in answer.stderr
    assert oci_registry.host in reference(pusher)


def test_publish_refuses_an_image_whose_attestations_are_about_another(
    pusher: Pusher,
    authority: TestAuthority,
    tmp_path: Path,
) -> None:
    image, other = pusher.image("v1"), pusher.image("v2", b"other")
    push_bundle(pusher, authority, image, attestation_of(other["digest"]))
    (tmp_path / "trust.json").write_bytes(policy(authority).to_json())
    (tmp_path / "launch.json").write_text("[]")
    arguments = (
        "publish", "--policy", tmp_path / "trust.json", "--plain-http",
        "--launch", tmp_path / "launch.json", "--dry-run", "--image",
    )  # fmt: skip
    answer = run(*arguments, reference(pusher))
    assert answer.returncode == 1
    assert "[statement.subject_mismatch]" in answer.stderr
    bare = run(*arguments, f"{pusher.host}/{pusher.repository}:v2")
    assert (bare.returncode, "[input.not_found]" in bare.stderr) == (2, True)


def test_publish_wants_an_attestation_or_an_image(tmp_path: Path) -> None:
    answer = run("publish", "--policy", tmp_path / "p", "--launch", tmp_path / "l")
    assert (answer.returncode, "--image" in answer.stderr) == (2, True)


def _reference_values(publisher: Publisher, image: str) -> bytes:
    """The publisher's envelope with the image as subject."""
    envelope: dict[str, Any] = json.loads(publisher.envelope(GOOD, now=datetime(2026, 1, 2, tzinfo=UTC)))
    statement = json.loads(b64_decode(envelope["payload"]))
    statement["subject"] = [{"name": "image", "digest": {"sha256": image.removeprefix("sha256:")}}]
    return sign_dsse(json.dumps(statement).encode(), [(publisher.key, publisher.key.spki_sha256)])
