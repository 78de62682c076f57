"""What cosign pushes, made of the test authority's bundles: layers of the old form, referrers."""

from __future__ import annotations

import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common.encoding import b64_decode
from provenance.oci import signature
from provenance.oci.cosign import DSSE_LAYER, SIMPLE_SIGNING_LAYER
from provenance.sigstore.bundle_format import V01, V03
from testkit.authority import SigningOptions, TestAuthority
from testkit.registry import Pusher
from tests.provenance.builds import IDENTITY, NOW, statement

OLD = SigningOptions(media_type=V01, proof=False)
OLD_INTOTO = SigningOptions(media_type=V01, proof=False, log_kind="intoto")


def attestation_of(image: str, **changes: Any) -> bytes:
    """Provenance whose subject is an image digest."""
    return statement(subjects={"registry.test/acme/cvm": image.removeprefix("sha256:")}, **changes)


def payload_of(image: str, /, **changes: Any) -> bytes:
    """A simple-signing payload, as cosign writes it."""
    critical = {
        "identity": {"docker-reference": "registry.test/acme/cvm"},
        "image": {"docker-manifest-digest": image},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": critical | changes, "optional": None}).encode()


def annotations_of(bundle: bytes) -> dict[str, str]:
    """Certificate and log bundle of a version 0.1 bundle, as cosign's annotations."""
    material = json.loads(bundle)["verificationMaterial"]
    entry = material["tlogEntries"][0]
    raw = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
    certificate = x509.load_der_x509_certificate(b64_decode(raw))
    log = {
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logIndex": int(entry["logIndex"]),
            "logID": b64_decode(entry["logId"]["keyId"]).hex(),
        },
    }
    return {
        "dev.sigstore.cosign/certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "dev.sigstore.cosign/chain": "",
        "dev.sigstore.cosign/bundle": json.dumps(log),
    }


def old_attestation(
    authority: TestAuthority, payload: bytes, options: SigningOptions = OLD
) -> tuple[bytes, dict[str, str]]:
    """DSSE envelope and annotations of an ``.att`` layer."""
    bundle = authority.sign_statement(payload, identity=IDENTITY, now=NOW, options=options)
    envelope = json.loads(bundle)["dsseEnvelope"]
    marks = annotations_of(bundle) | {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": "https://slsa.dev/provenance/v1",
    }
    return json.dumps(envelope).encode(), marks


def old_signature(authority: TestAuthority, payload: bytes) -> tuple[bytes, dict[str, str]]:
    """Payload and annotations of a ``.sig`` layer."""
    bundle = authority.sign_artifact(payload, identity=IDENTITY, now=NOW, options=OLD)
    signed = json.loads(bundle)["messageSignature"]["signature"]
    return payload, annotations_of(bundle) | {"dev.cosignproject.cosign/signature": signed}


def signature_document(authority: TestAuthority, payload: bytes) -> bytes:
    return signature.document_of_layer(*old_signature(authority, payload))


def push_bundle(
    pusher: Pusher, authority: TestAuthority, image: dict[str, Any], payload: bytes | None = None
) -> dict[str, Any]:
    """Attach a version 0.3 bundle as a referrer, as GitHub and cosign do; its descriptor."""
    signed = payload or attestation_of(image["digest"])
    bundle = authority.sign_statement(signed, identity=IDENTITY, now=NOW)
    return pusher.referrer(image, V03, [pusher.blob(bundle, V03)])


def push_attestation(pusher: Pusher, authority: TestAuthority, image: dict[str, Any]) -> None:
    """Attach under ``.att``."""
    data, marks = old_attestation(authority, attestation_of(image["digest"]))
    pusher.cosign(image, ".att", [pusher.blob(data, DSSE_LAYER, **marks)])


def push_signature(
    pusher: Pusher, authority: TestAuthority, image: dict[str, Any], payload: bytes | None = None
) -> None:
    """Attach under ``.sig``."""
    data, marks = old_signature(authority, payload or payload_of(image["digest"]))
    pusher.cosign(image, ".sig", [pusher.blob(data, SIMPLE_SIGNING_LAYER, **marks)])
