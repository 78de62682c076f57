"""One build of a Cloud Build of our own: its keys, what it signs, and what `gcloud` would print of it."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.encoding import b64_encode
from provenance import trust
from provenance.dsse import DsseEnvelope
from provenance.pipeline import Pipeline

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUILDER = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
REPOSITORY = "https://github.com/acme/cvm"
COMMIT = "a" * 40
DIGEST = "ab" * 32
IMAGE = "us-docker.pkg.dev/acme/images/cvm"
V01 = "https://slsa.dev/provenance/v0.1"
V1 = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def keyid(location: str, name: str = "builtByGCB") -> str:
    return (
        f"projects/verified-builder/locations/{location}/keyRings/attestor"
        f"/cryptoKeys/{name}/cryptoKeyVersions/1"
    )


EAST = keyid("test-east1")
WEST = keyid("test-west1")
SIGNER = keyid("global", "provenanceSigner")
WORKER = keyid("global", "google-hosted-worker")


@cache
def private(name: str) -> ec.EllipticCurvePrivateKey:
    del name  # one key per name and test process
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def statement_v01(**changes: Any) -> dict[str, Any]:
    predicate = {
        "builder": {"id": f"{BUILDER}@v0.3"},
        "materials": [{"uri": REPOSITORY, "digest": {"sha1": COMMIT}}],
        "metadata": {"buildInvocationId": "11f6", "buildStartedOn": "2026-01-01T00:00:00Z"},
        "recipe": {
            "type": "https://cloudbuild.googleapis.com/CloudBuildYaml@v0.1",
            "entryPoint": "cloudbuild.yaml",
            "arguments": {
                "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build",
                "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}],
                "substitutions": {"COMMIT_SHA": COMMIT, "TAG_NAME": "v1.2.3", "TRIGGER_NAME": "Tag"},
            },
        },
    }
    return _statement("https://in-toto.io/Statement/v0.1", V01, predicate | changes)


def statement_v1(ref: str = "refs/tags/v1.2.3", **substitutions: str) -> dict[str, Any]:
    system = {"COMMIT_SHA": COMMIT, "TAG_NAME": "v1.2.3"} | substitutions
    predicate = {
        "buildDefinition": {
            "buildType": "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
            "externalParameters": {
                "buildConfigSource": {
                    "path": "cloudbuild.yaml",
                    "ref": ref,
                    "repository": f"git+{REPOSITORY}",
                },
                "substitutions": {},
            },
            "internalParameters": {"systemSubstitutions": system, "triggerUri": "projects/1/triggers/2"},
            "resolvedDependencies": [
                {"uri": f"git+{REPOSITORY}@{ref}", "digest": {"gitCommit": COMMIT}},
                {"uri": "gcr.io/cloud-builders/docker@sha256:00", "digest": {"sha256": "0" * 64}},
            ],
        },
        "runDetails": {"builder": {"id": BUILDER}, "metadata": {"invocationId": "https://build/1"}},
    }
    return _statement("https://in-toto.io/Statement/v1", V1, predicate)


def _statement(kind: str, predicate_type: str, predicate: dict[str, Any]) -> dict[str, Any]:
    return {
        "_type": kind,
        "subject": [{"name": f"https://{IMAGE}:v1", "digest": {"sha256": DIGEST}}],
        "predicateType": predicate_type,
        "predicate": copy.deepcopy(predicate),
    }


def signature(
    payload: bytes, named: str, *, key: str | None = None, payload_type: str = PAYLOAD_TYPE
) -> Any:
    """A signature as the key named signs, made by ``key`` where that is another."""
    message = payload
    if "builtByGCB" not in named:
        message = DsseEnvelope(payload_type=payload_type, payload=payload, signatures=()).pae
    made = private(key or named).sign(message, ec.ECDSA(hashes.SHA256()))
    return {"keyid": named, "sig": b64_encode(made)}


def occurrence(statement: dict[str, Any], *signatures: Any, named: str = SIGNER) -> dict[str, Any]:
    """A provenance with its readable copy; signed by the key ``named`` unless signatures are given."""
    old = statement["predicateType"] == V01
    signed = statement | ({"slsaProvenance": statement["predicate"]} if old else {})
    payload = json.dumps(signed).encode()
    text = copy.deepcopy(statement)
    if old:
        text["slsaProvenance"] = text.pop("predicate")
    return {
        "build": {"intotoStatement" if old else "inTotoSlsaProvenanceV1": text},
        "createTime": "2026-01-01T00:00:00Z",
        "envelope": {
            "payload": b64_encode(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": list(signatures) or [signature(payload, named)],
        },
        "kind": "BUILD",
        "resourceUri": f"https://{IMAGE}@sha256:{DIGEST}",
    }


def described(*occurrences: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What ``gcloud`` prints of the image."""
    return {
        "image_summary": {
            "digest": f"sha256:{DIGEST}",
            "fully_qualified_digest": f"{IMAGE}@sha256:{DIGEST}",
            "registry": "us-docker.pkg.dev",
        },
        "provenance_summary": {"provenance": list(occurrences)},
    } | changes


def policy(**changes: Any) -> trust.TrustPolicy:
    document: dict[str, Any] = {
        "version": 1,
        "name": "test",
        "predicate_types": [V01, V1],
        "roots": [
            {
                "name": "cloud-build",
                "kind": "google-cloud-build",
                "keys": [
                    {"keyid": name, "key": pem(private(name))} for name in (EAST, WEST, SIGNER, WORKER)
                ],
            }
        ],
        "signers": [{"name": "google", "root": "cloud-build"}],
        "builders": [{"id": BUILDER}],
        "sources": [{"uri": REPOSITORY}],
    }
    return trust.parse(json.dumps(document | changes).encode())


def admit(document: dict[str, Any], **changes: Any) -> Any:
    return Pipeline(policy(**changes)).admit(json.dumps(document).encode(), NOW)
