"""Steps a and b: a real Sigstore bundle against a trust policy; a build becomes a reference value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import narrator as tell
from material import vectors

from provenance import statement, trust
from provenance.errors import SubjectMismatch
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue
from provenance.pipeline import Pipeline
from testkit.authority import TestAuthority, slsa_v1_statement

_GITHUB = "https://token.actions.githubusercontent.com"
_BUNDLE = "slsa-verifier/gha_container-based/v1.10.0/binary-linux-amd64-push-v14.2.intoto.build.slsa"
_BUILDER = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml"
_SOURCE = "https://github.com/slsa-framework/example-package"
_OVMF = Path("/usr/share/OVMF/OVMF_CODE.fd")

OUR_REPOSITORY = "https://github.com/acme/confidential-image"
OUR_WORKFLOW = f"{OUR_REPOSITORY}/.github/workflows/build.yml"
OUR_TAG = "refs/tags/v1.0.0"


@dataclass(frozen=True)
class Build:
    """Our build: what was attested, by whose word, and what follows from it."""

    trust_policy: dict[str, Any]
    envelope: bytes
    artifacts: tuple[Artifact, ...]
    request: DerivationRequest
    admitted: AdmittedStatement
    values: tuple[DerivedValue, ...]
    real: bool


def verify_sigstore_bundle(authority: TestAuthority, now: datetime) -> None:
    """Step a."""
    tell.heading("a", "A Sigstore bundle with SLSA provenance, against a trust policy")
    folder = vectors()
    if folder is not None:
        tell.say(
            "A real bundle from a public build: verified offline with the public-good root, pinned by digest. The"
            " certificate, its SCT, the transparency-log entry, inclusion proof and checkpoint must all hold, then"
            " the trust policy decides whose word counts."
        )
        envelope, artefact = (folder / "provenance" / _BUNDLE).read_bytes(), b""
        policy = _policy("sigstore-public-good", None, f"{_BUILDER}@refs/tags/*", _BUILDER, _SOURCE)
    else:
        tell.say(
            "No third-party vectors here, so a test authority (its own certificate authority and transparency log)"
            " has signed a bundle on the spot; the checks are the same."
        )
        artefact = b"the artefact\n"
        envelope = _own_bundle(authority, {"artefact": hashlib.sha256(artefact).hexdigest()}, now)
        policy = _policy("sigstore", authority, f"{OUR_WORKFLOW}@refs/tags/*", OUR_WORKFLOW, OUR_REPOSITORY)
    admitted = Pipeline(trust.parse(json.dumps(policy).encode())).admit(envelope, now)
    _describe(admitted)
    _require_subject(admitted, artefact)
    tell.good(
        f"the artefact (sha256 {hashlib.sha256(artefact).hexdigest()[:16]}…) is a subject of the statement"
    )
    stranger = policy["signers"][0] | {
        "identity": "https://github.com/somebody/else/.github/workflows/x.yml@*"
    }
    with tell.refusal("another signer expected", "statement.untrusted_signer"):
        other = policy | {"signers": [stranger]}
        Pipeline(trust.parse(json.dumps(other).encode())).admit(envelope, now)
    with tell.refusal("a changed artefact", "statement.subject_mismatch"):
        _require_subject(admitted, artefact + b"!")
    changed = bytearray(envelope)
    changed[len(changed) // 2] ^= 1
    with tell.refusal(
        "a flipped bit in the bundle", "statement.signature", "statement.log", "statement.envelope"
    ):
        Pipeline(trust.parse(json.dumps(policy).encode())).admit(bytes(changed), now)


def derive_from_build(authority: TestAuthority, now: datetime) -> Build:
    """Step b."""
    tell.heading("b", "A build with a signed attestation becomes a reference value")
    folder = vectors()
    if folder is not None:
        tell.say(
            "The inputs of a published confidential VM image: a firmware descriptor, kernel, initrd and command"
            " line. A test authority signs SLSA provenance over them (its root is named by the trust policy); the"
            " SEV-SNP launch measurement is then computed from those verified artefacts and a launch shape."
        )
        artifacts, digests, request = _published_image(folder)
    else:
        tell.say(
            "No third-party vectors here: the build is the distribution's OVMF firmware. A test authority signs"
            " SLSA provenance over it, and the SEV-SNP launch measurement is computed from it and a launch shape."
        )
        artifacts, digests, request = _distribution_firmware()
    policy = _policy("sigstore", authority, f"{OUR_WORKFLOW}@refs/tags/*", OUR_WORKFLOW, OUR_REPOSITORY)
    envelope = _own_bundle(authority, digests, now)
    pipeline = Pipeline(trust.parse(json.dumps(policy).encode()))
    admitted = pipeline.admit(envelope, now)
    values = pipeline.derive(admitted, request, artifacts)
    _describe(admitted)
    for name, digest in digests.items():
        tell.fact(f"subject {name}", f"sha256 {digest}")
    tell.fact("launch shape", json.dumps(request.launch))
    for value in values:
        tell.fact(value.name, value.value)
    with tell.refusal(f"a {artifacts[-1].role} that was not attested", "statement.subject_mismatch"):
        pipeline.derive(admitted, request, [*artifacts[:-1], _with_other_bytes(artifacts[-1])])
    return Build(policy, envelope, artifacts, request, admitted, values, folder is not None)


def _describe(admitted: AdmittedStatement) -> None:
    authentic = admitted.authentic
    tell.good(f"{len(admitted.checks)} checks hold")
    tell.fact("signed by", authentic.signers[0].identity)
    tell.fact("builder", admitted.builder)
    tell.fact("source", f"{admitted.source_uri} @ {admitted.source_revision}")
    tell.fact("log entry", f"{authentic.log_index}, {authentic.log_time}")


def _require_subject(admitted: AdmittedStatement, artefact: bytes) -> None:
    digest = hashlib.sha256(artefact).hexdigest()
    if statement.find_subject(admitted.authentic.statement, "sha256", digest) is None:
        raise SubjectMismatch(f"sha256 {digest[:16]}… is no subject of the statement")


def _policy(
    kind: str, authority: TestAuthority | None, identity: str, builder: str, source: str
) -> dict[str, Any]:
    root: dict[str, Any] = {"name": "root", "kind": kind}
    if authority is not None:
        root["trusted_root"] = authority.trusted_root()
    return {
        "version": 1,
        "name": "demo",
        "roots": [root],
        "signers": [{"name": "workflow", "root": "root", "issuer": _GITHUB, "identity": identity}],
        "predicate_types": ["https://slsa.dev/provenance/v1"],
        "builders": [{"id": builder}],
        "sources": [{"uri": source}],
    }


def _own_bundle(authority: TestAuthority, digests: dict[str, str], now: datetime) -> bytes:
    identity = f"{OUR_WORKFLOW}@{OUR_TAG}"
    payload = slsa_v1_statement(digests, builder=identity, source_uri=OUR_REPOSITORY, ref=OUR_TAG)
    # Signed a minute ago: a value is valid from its signature's logged time on.
    return authority.sign_statement(payload, identity=identity, now=now - timedelta(minutes=1))


def _published_image(folder: Path) -> tuple[tuple[Artifact, ...], dict[str, str], DerivationRequest]:
    inputs = json.loads((folder / "evidence" / "measure" / "snp-dstack" / "input.json").read_bytes())
    descriptor = json.dumps(
        {
            "format": "urn:touchstone:snp-firmware:v1",
            "ovmf_hash": inputs["ovmf_hash"],
            "ovmf_sections": inputs["ovmf_sections"],
            "hashes_table_gpa": inputs["hashes_table_gpa"],
            "reset_eip": inputs["reset_eip"],
        }
    ).encode()
    cmdline = inputs["cmdline"].encode()
    artifacts = (
        Artifact("firmware-descriptor", "firmware.json", descriptor),
        Artifact("cmdline", "cmdline", cmdline),
    )
    digests = {artifact.name: hashlib.sha256(artifact.data).hexdigest() for artifact in artifacts}
    digests |= {"vmlinuz": inputs["kernel_hash"], "initrd.img": inputs["initrd_hash"]}
    request = DerivationRequest(
        rule="snp-launch-digest",
        launch={
            "vmm": "QEMU",
            "vcpus": inputs["vcpus"],
            "vcpu_type": inputs["vcpu_type"],
            "guest_features": inputs["guest_features"],
            "kernel_hashes": True,
        },
        subjects={"kernel": "vmlinuz", "initrd": "initrd.img"},
        group="image-v1.0.0",
    )
    return artifacts, digests, request


def _distribution_firmware() -> tuple[tuple[Artifact, ...], dict[str, str], DerivationRequest]:
    firmware = Artifact("firmware", _OVMF.name, _OVMF.read_bytes())
    request = DerivationRequest(
        rule="snp-launch-digest",
        launch={
            "vmm": "QEMU",
            "vcpus": 2,
            "vcpu_type": "EPYC-v4",
            "guest_features": 1,
            "kernel_hashes": False,
        },
        group="image-v1.0.0",
    )
    return (firmware,), {firmware.name: hashlib.sha256(firmware.data).hexdigest()}, request


def _with_other_bytes(artifact: Artifact) -> Artifact:
    return Artifact(artifact.role, artifact.name, artifact.data + b" init=/bin/sh")


def now_of_the_demonstration() -> datetime:
    """The present, in whole seconds as certificates count them."""
    return datetime.now(UTC).replace(microsecond=0)
