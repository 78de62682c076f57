"""``touchstone publish`` with several attestations: who agreed, who is missing, who disagreed."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from provenance.errors import (
    DomainsMissing,
    PredicatesMissing,
    RebuildersDisagree,
    TrustPolicySignatureInvalid,
    TrustPolicyUnsigned,
)
from provenance.trust import signed
from service.cli import cli
from testkit.authority import TestKey, sign_dsse
from tests.service.world import GOOD, Publisher

REVIEW = "https://acme.example/review/v1"
DIGEST = hashlib.sha256(b"firmware").hexdigest()
KEYS = {"ci": TestKey(), "rebuilder": TestKey()}


class Site:
    """A folder with a policy, a request and attestations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "launch.json").write_text('{"rule": "reference-values"}')
        self.policy()

    def policy(self, **changes: Any) -> Path:
        document = Publisher().trust_policy() | {
            "roots": [key.root(name) for name, key in KEYS.items()],
            "signers": [{"name": name, "root": name, "domain": name} for name in KEYS],
            "required_domains": 2,
        }
        file = self.folder / "trust.json"
        file.write_text(json.dumps(document | changes))
        return file

    def attest(self, name: str, digest: str = DIGEST, kind: str | None = None) -> Path:
        envelope = json.loads(Publisher(KEYS[name]).envelope(GOOD, now=datetime.now(UTC)))
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["subject"] = [{"name": "firmware.bin", "digest": {"sha256": digest}}]
        if kind is not None:
            statement |= {"predicateType": kind, "predicate": {"by": name}}
        key = KEYS[name]
        file = self.folder / f"{name}-{digest[:4]}-{'values' if kind is None else 'review'}.json"
        file.write_bytes(sign_dsse(json.dumps(statement).encode(), [(key, key.spki_sha256)]))
        return file

    def publish(self, *attestations: Path, options: tuple[object, ...] = ("--dry-run",)) -> Result:
        arguments: list[object] = ["publish", "--policy", self.folder / "trust.json", "--json"]
        for item in attestations:
            arguments += ["--attestation", item]
        arguments += ["--launch", self.folder / "launch.json", *options]
        return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_two_domains_that_agree_are_named(site: Site) -> None:
    result = site.publish(site.attest("ci"), site.attest("rebuilder"))
    assert result.exit_code == 0, result.exception
    agreement = json.loads(result.stdout)["agreement"]
    assert (agreement["required"], agreement["missing"]) == (2, {})
    assert agreement["votes"][0]["domains"] == ["ci", "rebuilder"]


def test_one_domain_is_published_and_said_to_be_missing_one(site: Site) -> None:
    result = site.publish(site.attest("ci"))
    assert json.loads(result.stdout)["agreement"]["missing"] == {DIGEST: 1}


def test_disagreement_is_an_error_of_its_own(site: Site) -> None:
    result = site.publish(site.attest("ci"), site.attest("rebuilder", "1" * 64))
    assert isinstance(result.exception, RebuildersDisagree)
    assert "rebuilder" in result.exception.message


def test_statement_for_a_closed_site_is_written_only_with_agreement(site: Site) -> None:
    key = site.folder / "signing.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    key.chmod(0o600)
    output = site.folder / "values.json"
    options = ("--output", output, "--signing-key", key)
    assert isinstance(site.publish(site.attest("ci"), options=options).exception, DomainsMissing)
    assert not output.exists()
    result = site.publish(site.attest("ci"), site.attest("rebuilder"), options=options)
    assert result.exit_code == 0, result.exception
    assert output.exists()


def test_required_predicates_are_asked_for_before_anything_is_derived(site: Site) -> None:
    types = Publisher().trust_policy()["predicate_types"]
    site.policy(
        required_domains=1,
        predicate_types=[*types, REVIEW],
        required_predicates=[*types, REVIEW],
        supporting_predicates=[REVIEW],
    )
    values, review = site.attest("ci"), site.attest("rebuilder", kind=REVIEW)
    assert isinstance(site.publish(values).exception, PredicatesMissing)
    elsewhere = site.attest("rebuilder", "1" * 64, kind=REVIEW)
    assert isinstance(site.publish(values, elsewhere).exception, (PredicatesMissing, RebuildersDisagree))
    result = site.publish(values, review)
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    assert (len(document["attestations"]), len(document["supporting"])) == (1, 1)


def test_policy_must_be_signed_where_keys_are_given(site: Site) -> None:
    private, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    for name, key in (("good", private), ("bad", stranger)):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (site.folder / f"{name}.pub").write_bytes(pem)
    attestation = site.attest("ci")
    options = ("--dry-run", "--policy-key", site.folder / "good.pub")
    assert isinstance(site.publish(attestation, options=options).exception, TrustPolicyUnsigned)
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    policy = site.policy(serial=1, expires=end)
    policy.write_bytes(signed.sign(policy.read_bytes(), private))
    assert site.publish(attestation, options=options).exit_code == 0
    assert site.publish(attestation).exit_code == 0
    wrong = ("--dry-run", "--policy-key", site.folder / "bad.pub")
    assert isinstance(site.publish(attestation, options=wrong).exception, TrustPolicySignatureInvalid)


def test_environment_of_the_policy_decides(site: Site) -> None:
    site.policy(environments={"prod": {"max_age_seconds": 60}, "dev": {"required_domains": 1}})
    attestation = site.attest("ci")
    for name, code in ((None, 1), ("prod", 1), ("dev", 0)):
        options = ("--dry-run",) if name is None else ("--dry-run", "--environment", name)
        assert (site.publish(attestation, options=options).exit_code != 0) == bool(code)
