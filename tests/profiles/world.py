"""A server with one profile installed as its files say, and a build whose workflow its trust policy names.

Two things differ from a deployment: the public-good Sigstore root is a test authority's, and the settings
name the test authority of the hardware as an extra anchor, which takes the development profile.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from common.binding import binding_digest
from common.encoding import b64url_decode, b64url_encode
from guest_agent.keys import EphemeralKey
from service import composition, settings
from service.app import create_app
from testkit.authority import TestAuthority, github_claims, slsa_v1_statement
from tests.service.harness import NOW, Answer, Clock, ContractClient
from verifier.ear import decode_unverified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.composition import Services
    from wire.evidence import EvidenceDocument

PROFILES = Path(__file__).resolve().parents[2] / "deploy" / "profiles"
NAMES = ("kata-csv", "kata-snp", "kata-tdx", "sgx-gramine", "sgx-inclavare", "sgx-occlum")
BINDING_BYTES = 64
AUTHORITY = TestAuthority(start=NOW - timedelta(days=30))


def toml(profile: str, name: str) -> dict[str, Any]:
    """A TOML file of a profile."""
    return tomllib.loads((PROFILES / profile / name).read_text(encoding="utf-8"))


def request_of(profile: str, name: str, group: str, **launch: Any) -> dict[str, Any]:
    """A derivation request of a profile, for a release and with changes to its launch shape."""
    found: dict[str, Any] = json.loads((PROFILES / profile / name).read_text(encoding="utf-8"))
    if launch:
        found["launch"] |= launch
    return found | {"group": group}


def trust_text(profile: str) -> str:
    """The profile's trust policy, as JSON, with the test authority in the public-good root's place."""
    policy = toml(profile, "trust.toml")
    assert [root["kind"] for root in policy["roots"]] == ["sigstore-public-good"]
    policy["roots"] = [
        {"name": policy["roots"][0]["name"], "kind": "sigstore", "trusted_root": AUTHORITY.trusted_root()}
    ]
    return json.dumps(policy)


@dataclass
class Release:
    """One build of the profile's source: its tag, its commit, what it attests.

    Attributes:
        profile: the profile.
        group: name of the release.
        tag: version tag.
        repository: another one than the policy's.
    """

    profile: str
    group: str
    tag: str
    repository: str | None = None

    @property
    def source(self) -> str:
        """The repository."""
        return self.repository or str(toml(self.profile, "trust.toml")["sources"][0]["uri"])

    @property
    def revision(self) -> str:
        """The commit."""
        return hashlib.sha1(self.group.encode()).hexdigest()  # noqa: S324 (as git names commits)

    def provenance(self, artefacts: Mapping[str, bytes]) -> bytes:
        """A Sigstore bundle with SLSA provenance of artefacts, by role."""
        subjects = {role: hashlib.sha256(data).hexdigest() for role, data in artefacts.items()}
        workflow = ".github/workflows/release.yml"
        return self.signed(
            slsa_v1_statement(
                subjects,
                builder=self.identity,
                source_uri=self.source,
                ref=f"refs/tags/{self.tag}",
                revision=self.revision,
                workflow=workflow,
            )
        )

    @property
    def identity(self) -> str:
        """What the certificate names."""
        return f"{self.source}/.github/workflows/release.yml@refs/tags/{self.tag}"

    def signed(self, statement: bytes) -> bytes:
        """A bundle over a statement, by the release workflow."""
        claims = github_claims(self.identity, revision=self.revision)
        return AUTHORITY.sign_statement(
            statement, identity=self.identity, now=NOW - timedelta(minutes=1), claims=claims
        )


@dataclass
class ProfileServer:
    """A running deployment of one profile."""

    profile: str
    services: Services
    client: ContractClient
    key: EphemeralKey = field(default_factory=lambda: EphemeralKey("P-256"))

    def publish(self, envelope: bytes, request: Any, artefacts: Mapping[str, bytes]) -> Answer:
        """Submit an attestation with artefacts by role."""
        body = {
            "envelope": b64url_encode(envelope),
            "artifacts": [
                {"role": role, "name": role, "data": b64url_encode(data)}
                for role, data in artefacts.items()
            ],
            "derivation": request,
        }
        return self.client.post("/v1/attestations", body)

    def release(
        self,
        release: Release,
        steps: Sequence[tuple[dict[str, Any], tuple[str, ...]]],
        artefacts: dict[str, bytes],
    ) -> list[dict[str, Any]]:
        """Publish one build: for each request, the artefacts that it takes."""
        envelope = release.provenance(artefacts)
        answers = []
        for request, roles in steps:
            answer = self.publish(envelope, request, {role: artefacts[role] for role in roles})
            assert answer.status in {200, 201}, answer.body
            answers.append(answer.json)
        return answers

    def appraise(self, evidence: Callable[[bytes], EvidenceDocument], **members: Any) -> Answer:
        """Challenge, evidence bound to it and to our key, appraisal under the settings' own policy."""
        tee = str(evidence(bytes(BINDING_BYTES)).__struct_config__.tag)
        challenge = self.client.call("POST", "/v1/challenges", {"tee": tee}, token=None)
        assert challenge.status == 201, challenge.body
        document, nonce = challenge.json, challenge.json["nonce"]
        given = members.get("init_data")
        digest = b""
        if given is not None:
            digest = hashlib.new(given["algorithm"], b64url_decode(given["data"])).digest()
        report_data = binding_digest(
            nonce=b64url_decode(nonce),
            tee_pubkey=self.key.public_jwk,
            audience=document["audience"],
            init_data_digest=digest,
            size=BINDING_BYTES,
        )
        body = {
            "evidence": msgspec.to_builtins(evidence(report_data)),
            "nonce": nonce,
            "tee_pubkey": dict(self.key.public_jwk),
            "explain": True,
        }
        answer = self.client.call("POST", "/v1/appraisals", body | members, token=None)
        assert answer.status == 200, answer.body
        return answer


def serve(profile: str, folder: Path, **sections: Any) -> ProfileServer:
    """A server with the profile's settings, trust policy and appraisal policy.

    Args:
        profile: name of the profile.
        folder: for its data.
        sections: settings laid over the profile's, section by section.
    """
    values: dict[str, Any] = toml(profile, "settings.toml")
    values |= {"profile": "development", "storage": {"data_dir": str(folder / "data")}}
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    made = settings.build(values)
    clock = Clock()
    composition.prepare(made, clock)
    services = composition.build(made, clock)
    token = (folder / "data" / "admin.token").read_text(encoding="ascii").strip()
    server = ProfileServer(profile, services, ContractClient(create_app(services), token))
    rego = (PROFILES / profile / "appraisal.rego").read_text(encoding="utf-8")
    for kind, name, text in (("trust", "default", trust_text(profile)), ("appraisal", profile, rego)):
        body = {"text": text, "activate": True}
        answer = server.client.put(f"/v1/policies/{kind}/{name}", body)
        assert answer.status == 201, answer.body
    return server


def values_of(server: ProfileServer, group: str) -> dict[str, list[Any]]:
    """The reference values of a release that the server keeps, by name."""
    found: dict[str, list[Any]] = {}
    for item in server.client.get("/v1/reference-values", limit=500).json["items"]:
        if item["group"] == group:
            found.setdefault(item["name"], []).append(item["value"])
    return found


def vector(answer: Answer) -> dict[str, int]:
    """The trust vector of a result, from its token; claims that say nothing are left out."""
    claims = decode_unverified(answer.json["token"])
    (submod,) = claims["submods"].values()
    found: dict[str, int] = submod["ear.trustworthiness-vector"]
    return {name: value for name, value in found.items() if value}


def not_affirmed(answer: Answer) -> set[str]:
    """Claims that a result speaks of and does not affirm."""
    assert answer.json["status"] != "affirming"
    return {name for name, value in vector(answer).items() if not -1 <= value <= 31}


def commits(answer: Answer) -> set[str]:
    """Source commits of the reference values that a result rests on."""
    relied = answer.json["explanation"]["reference_values"]["relied_on"]
    return {item["lineage"]["source_revision"] for item in relied}


def failed(answer: Answer) -> set[str]:
    """Names of the checks that failed."""
    return {check["name"] for check in answer.json["explanation"]["checks"] if check["verdict"] == "fail"}
