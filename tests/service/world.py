"""The whole loop for tests: a publisher whose key is trusted, test firmware, a guest, an administrator."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from common.binding import binding_digest
from common.encoding import b64url_decode, b64url_encode
from guest_agent.keys import EphemeralKey
from provenance.predicates.reference import PREDICATE_TYPE
from service.composition import Services
from testkit.authority import TestKey, sign_dsse
from testkit.opa import OpaServer
from testkit.snp_firmware import SnpFirmware
from tests.service.harness import NOW, Answer, ContractClient

GOOD = hashlib.sha384(b"good build").digest()
OTHER = hashlib.sha384(b"other build").digest()
SECRET = b"the secret of the vault"
RESOURCE = "/v1/resources/vault/key/one"


def firmware_settings(firmware: SnpFirmware, folder: Path, now: datetime = NOW) -> dict[str, Any]:
    """Settings of a development profile that trusts this firmware; its CRL is written to ``folder``."""
    anchor = folder / "test-ark.pem"
    anchor.write_bytes(firmware.ark.public_bytes(Encoding.PEM))
    lists = folder / "collateral" / "crl"
    lists.mkdir(parents=True, exist_ok=True)
    name = firmware.ark.fingerprint(hashes.SHA256()).hex()
    (lists / f"{name}.crl").write_bytes(firmware.crl(this_update=now - timedelta(hours=1)))
    return {
        "profile": "development",
        "snp": {"extra_anchors": [str(anchor)], "collateral_dir": str(folder / "collateral")},
    }


@dataclass
class Publisher:
    """Signs reference-value statements with a key that the trust policy names."""

    key: TestKey = field(default_factory=TestKey)

    def trust_policy(self) -> dict[str, Any]:
        return {
            "version": 1,
            "name": "test",
            "roots": [self.key.root("release-key")],
            "signers": [{"name": "release", "root": "release-key"}],
            "predicate_types": [PREDICATE_TYPE],
        }

    def envelope(self, *measurements: bytes, now: datetime = NOW, revision: str = "a" * 40) -> bytes:
        """An envelope that vouches for launch measurements."""
        values = [
            {"name": "snp_launch_measurement", "value": item.hex(), "tee": "snp", "group": "release-1"}
            for item in measurements
        ]
        return self.envelope_of(values, now=now, revision=revision)

    def envelope_of(
        self, values: list[dict[str, Any]], *, now: datetime = NOW, revision: str = "a" * 40
    ) -> bytes:
        """An envelope that vouches for values."""
        source = {
            "attestation": hashlib.sha256(b"source" + revision.encode()).hexdigest(),
            "builder": "https://builder.example/v1",
            "sourceUri": "https://source.example/repo",
            "sourceRevision": revision,
        }
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "firmware", "digest": {"sha256": "0" * 64}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "values": values,
                "derivedFrom": [source],
                "rule": "snp-launch-digest/1",
                "inputs": {"launch": {"vcpus": 1}},
                "issuedAt": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }
        return sign_dsse(json.dumps(statement).encode(), [(self.key, self.key.spki_sha256)])

    def submission(self, *measurements: bytes, **options: Any) -> dict[str, Any]:
        return {
            "envelope": b64url_encode(self.envelope(*measurements, **options)),
            "derivation": {"rule": "reference-values"},
        }


@dataclass
class Guest:
    """A guest on test firmware, with an ephemeral key."""

    client: ContractClient
    firmware: SnpFirmware
    key: EphemeralKey = field(default_factory=lambda: EphemeralKey("P-256"))

    def challenge(self) -> dict[str, Any]:
        answer = self.client.call("POST", "/v1/challenges", {"tee": "snp"}, token=None)
        assert answer.status == 201, answer.body
        return answer.json

    def request(
        self, challenge: dict[str, Any], measurement: bytes = GOOD, **changes: Any
    ) -> dict[str, Any]:
        """Body of an appraisal of evidence bound to the challenge and our key."""
        report_data = binding_digest(
            nonce=b64url_decode(challenge["nonce"]),
            tee_pubkey=self.key.public_jwk,
            audience=challenge["audience"],
            size=64,
        )
        evidence = self.firmware.evidence(report_data, measurement=measurement)
        body = {
            "evidence": msgspec.to_builtins(evidence),
            "nonce": challenge["nonce"],
            "tee_pubkey": dict(self.key.public_jwk),
        }
        return body | changes

    def appraise(self, measurement: bytes = GOOD, **changes: Any) -> Answer:
        body = self.request(self.challenge(), measurement, **changes)
        return self.client.call("POST", "/v1/appraisals", body, token=None)

    def release(self, token: str, path: str = RESOURCE, **members: Any) -> Answer:
        return self.client.call("POST", f"{path}/release", {"token": token, **members}, token=None)

    def open(self, answer: Answer, token: str, name: str = "resource/vault/key/one") -> bytes:
        """The released secret."""
        jti = json.loads(b64url_decode(token.split(".")[1]))["jti"]
        return self.key.open_secret(answer.json["jwe"], resource=name, version=None, ear_jti=jti)


@dataclass
class World:
    """Everything together."""

    services: Services
    client: ContractClient
    publisher: Publisher
    firmware: SnpFirmware | None
    published: list[dict[str, Any]] = field(default_factory=list)
    opa: OpaServer | None = None

    def guest(self) -> Guest:
        return Guest(self.client, self.firmware)

    def trust_publisher(self) -> None:
        body = {"text": json.dumps(self.publisher.trust_policy()), "activate": True}
        answer = self.client.put("/v1/policies/trust/default", body)
        assert answer.status == 201, answer.body

    def publish(self, *measurements: bytes, **options: Any) -> dict[str, Any]:
        submission = self.publisher.submission(*measurements, **options)
        self.published.append(submission)
        answer = self.client.post("/v1/attestations", submission)
        assert answer.status == 201, answer.body
        return answer.json

    def store_secret(self, path: str = RESOURCE, secret: bytes = SECRET) -> None:
        answer = self.client.put(path, {"data": b64url_encode(secret)})
        assert answer.status == 201, answer.body
