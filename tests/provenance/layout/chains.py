"""A supply chain of two steps, signed by keys of our own; each test changes the one thing it is about."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from provenance import trust
from provenance.layout import bundle
from provenance.layout.inspection import InspectionRunner
from provenance.layout.reader import PREDICATE_TYPE
from provenance.model import AdmittedStatement
from provenance.pipeline import Pipeline

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SHA = {name: {"sha256": f"{number:064x}"} for number, name in enumerate(("source", "vmlinuz", "values"), 1)}
Document = dict[str, Any]


class Party:
    """A key pair of one of the three kinds."""

    def __init__(self, algorithm: str) -> None:
        private = _PRIVATE[algorithm]()
        self.algorithm = algorithm
        self.pem = (
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        )
        self.signer = CryptoSigner(private)
        self.keyid = self.signer.public_key.keyid

    @property
    def listed(self) -> Document:
        return self.signer.public_key.to_dict() | {"keyid": self.keyid}

    def sign(self, message: bytes) -> bytes:
        return bytes.fromhex(self.signer.sign(message).signature)


_PRIVATE: dict[str, Callable[[], Any]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-p256-sha256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa-pss-sha256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
}
OWNER, SECOND_OWNER, ALICE, BOB, EVE = (
    Party(name) for name in ("ed25519", "ed25519", "ecdsa-p256-sha256", "rsa-pss-sha256", "ed25519")
)


def signed(document: Document, *parties: Party, dsse: bool = False, keyids: Sequence[str] = ()) -> Document:
    """A Metablock or an envelope; ``keyids`` stand in place of the parties' own."""
    names = list(keyids) or [party.keyid for party in parties]
    if not dsse:
        message = encode_canonical(document).encode()  # type: ignore[union-attr]
        signatures = [
            {"keyid": name, "sig": party.sign(message).hex()}
            for name, party in zip(names, parties, strict=True)
        ]
        return {"signed": document, "signatures": signatures}
    payload = json.dumps(document).encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {"keyid": name, "sig": base64.b64encode(party.sign(pae)).decode()}
            for name, party in zip(names, parties, strict=True)
        ],
    }


def step(name: str, *parties: Party, **changes: Any) -> Document:
    return {
        "_type": "step",
        "name": name,
        "pubkeys": [party.keyid for party in parties],
        "threshold": 1,
        "expected_materials": [],
        "expected_products": [],
        "expected_command": [],
    } | changes


BUILD = step(
    "build",
    ALICE,
    expected_materials=[["ALLOW", "main.c"], ["DISALLOW", "*"]],
    expected_products=[["CREATE", "vmlinuz"], ["DISALLOW", "*"]],
)
MEASURE = step(
    "measure",
    BOB,
    expected_materials=[["MATCH", "vmlinuz", "WITH", "PRODUCTS", "FROM", "build"], ["DISALLOW", "*"]],
    expected_products=[["CREATE", "values.json"], ["ALLOW", "vmlinuz"], ["DISALLOW", "*"]],
)


def layout(**changes: Any) -> Document:
    return {
        "_type": "layout",
        "steps": [BUILD, MEASURE],
        "inspect": [],
        "keys": {party.keyid: party.listed for party in (ALICE, BOB)},
        "expires": "2030-01-01T00:00:00Z",
        "readme": "",
    } | changes


def link(name: str, **changes: Any) -> Document:
    recorded = {
        "build": {"materials": {"main.c": SHA["source"]}, "products": {"vmlinuz": SHA["vmlinuz"]}},
        "measure": {
            "materials": {"vmlinuz": SHA["vmlinuz"]},
            "products": {"vmlinuz": SHA["vmlinuz"], "values.json": SHA["values"]},
        },
    }
    base = {"_type": "link", "name": name, "command": [], "byproducts": {}, "environment": {}}
    return base | recorded.get(name, {"materials": {}, "products": {}}) | changes


def path(name: str, party: Party) -> str:
    return f"{name}.{party.keyid[:8]}.link"


def links(*, dsse: bool = False) -> dict[str, Document]:
    return {
        path("build", ALICE): signed(link("build"), ALICE, dsse=dsse),
        path("measure", BOB): signed(link("measure"), BOB, dsse=dsse),
    }


def chain(root: Document | None = None, found: Mapping[str, Document] | None = None) -> bytes:
    document = {
        "format": bundle.FORMAT,
        "layout": signed(layout(), OWNER) if root is None else root,
        "links": links() if found is None else found,
    }
    return json.dumps(document).encode()


def owners(*parties: Party) -> list[Document]:
    return [{"algorithm": party.algorithm, "key": party.pem} for party in parties]


def policy(root: Document | None = None, **changes: Any) -> trust.TrustPolicy:
    document = {
        "version": 1,
        "name": "test",
        "roots": [{"name": "owners", "kind": "in-toto-layout", "owners": owners(OWNER)} | (root or {})],
        "signers": [{"name": "owner", "root": "owners"}],
        "predicate_types": [PREDICATE_TYPE],
    }
    return trust.parse(json.dumps(document | changes).encode())


def admit(
    data: bytes,
    trusted: trust.TrustPolicy | None = None,
    *,
    now: datetime = NOW,
    inspections: InspectionRunner | None = None,
) -> AdmittedStatement:
    return Pipeline(trusted or policy(), inspections=inspections).admit(data, now)
