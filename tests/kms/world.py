"""Everything a release needs, of real parts: database, policies on regorus, EAR keys, reference values.

Evidence is the one thing made up (``VerifiedEvidence``): its verification is tested in its own room.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe as reference_jwe
from joserfc import jws
from joserfc.jwk import ECKey

from common.encoding import b64url_encode
from kms import jwe, secret_id
from kms.audit import AuditLog
from kms.release import ReleaseService
from kms.root_key import FileRootKey
from kms.secrets import SecretStore
from policy import shipped
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from policy.store import PolicyStore
from rvps.ingest import ingest
from rvps.lookup import DatabaseReferenceLookup
from service.active_policies import ActivePolicies
from storage.database import Database
from testkit.reference_values import admitted_statement, derived_value, measurement
from verifier.appraisal import Appraiser
from verifier.ear import EarSigner, EarVerifier, decode_unverified
from verifier.model import VerifiedEvidence

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
AUDIENCE = "https://kbs.example"
ISSUER = "touchstone"
MEASUREMENT = measurement("release", 0)
REF = secret_id.resource("default/disk/key")
SECRET = b"correct horse battery staple"

APPRAISAL = """package policy

import rego.v1

default executables := 33

executables := 3 if input.snp.measurement in object.keys(input.reference.snp_launch_measurement)

trust_claims := {
	"executables": executables,
	"hardware": 2,
	"configuration": 2,
	"instance-identity": 2,
}
"""


class World:
    """One deployment: key files in a folder, the rest in a migrated database."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.database = database
        self.audit = AuditLog(self.database)
        self.secrets = SecretStore(self.database, FileRootKey.open_or_create(folder / "root.key"))
        self.store = PolicyStore(self.database)
        self.policies = ActivePolicies(self.store, RegorusEngine())
        self.signer = EarSigner(
            ec.generate_private_key(ec.SECP256R1()), issuer=ISSUER, developer="test", build="0"
        )
        self.ears = EarVerifier([self.signer.public_jwk], issuer=ISSUER, audience=AUDIENCE)
        self.appraiser = Appraiser(
            verifiers={},
            policies=self.policies,
            references=DatabaseReferenceLookup(self.database),
            audience=AUDIENCE,
            signer=self.signer,
        )
        self.service = self.release_service()

    def release_service(self, **parts: Any) -> ReleaseService:
        named = {"secrets": self.secrets, "audit": self.audit, "ears": self.ears} | parts
        return ReleaseService(database=self.database, policies=self.policies, **named)

    def populate(self) -> None:
        """A reference value, both policies, and a secret."""
        self.admitted = admitted_statement("release")
        self.ingested = ingest(
            self.database, self.admitted, [derived_value(MEASUREMENT)], submitted_by="ci", now=NOW
        )
        self.activate(PolicyKind.APPRAISAL, APPRAISAL)
        self.activate(PolicyKind.RELEASE, shipped.load(PolicyKind.RELEASE, "default").text)
        self.secrets.put(REF, SECRET, by="admin", now=NOW)

    def activate(self, kind: PolicyKind, text: str, name: str = "default") -> None:
        version = self.store.put(kind, name, text, by="admin", now=NOW)
        self.store.activate(kind, name, version.version, by="admin", now=NOW)

    def token(self, key: ECKey, *, now: datetime = NOW, **changes: Any) -> str:
        """A result about a guest with ``key``, by the real appraiser, fresh each time."""
        verified = VerifiedEvidence(
            **(
                {
                    "tee": "snp",
                    "evidence_digest": "ab" * 32,
                    "claims": {"snp": {"measurement": MEASUREMENT}},
                    "comparable": ("snp",),
                    "checks": (),
                    "floors": {},
                    "bound": "session",
                    "init_data": "absent",
                    "endorsements": (),
                    "identity": "snp-chip:" + "cd" * 64,
                    "tee_pubkey": public_of(key),
                }
                | changes
            )
        )
        nonce = b64url_encode(b"n" * 32) if verified.bound == "session" else None
        return self.appraiser.appraise_verified(verified, now, nonce=nonce).token

    def forged(self, token: str, patch: Any, *, lifetime: timedelta = timedelta(minutes=5)) -> str:
        """The claims of ``token``, patched, signed by our own key: only later checks can stop it."""
        claims = decode_unverified(token)
        claims["exp"] = int((NOW + lifetime).timestamp())
        patch(claims)
        header = {"alg": "ES256", "typ": "ear+jwt", "kid": self.signer.kid}
        key = ECKey.import_key(self.signer._key)
        return jws.serialize_compact(header, json.dumps(claims), key, algorithms=["ES256"])

    def entries(self) -> list[dict[str, Any]]:
        from kms.queries import audit_page

        with self.database.read() as connection:
            return [item.entry for item in reversed(audit_page(connection, limit=500).items)]


def guest_key(curve: ec.EllipticCurve | None = None) -> ECKey:
    return ECKey.import_key(ec.generate_private_key(curve or ec.SECP384R1()))


def public_of(key: ECKey) -> dict[str, str]:
    return {name: str(value) for name, value in key.as_dict(private=False).items()}


def opened(token: str, key: ECKey) -> reference_jwe.CompactEncryption:
    registry = reference_jwe.JWERegistry(
        algorithms=["ECDH-ES+A256KW", "A256GCM"], header_registry=jwe._HEADER
    )
    return reference_jwe.decrypt_compact(token, key, registry=registry)
