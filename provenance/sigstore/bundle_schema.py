"""The Sigstore bundle as it stands on the wire, in protobuf JSON: bytes are base64, 64-bit integers text.

Unknown members are refused. Each docstring names the protobuf message.

Source: sigstore/protobuf-specs, protos/sigstore_bundle.proto, sigstore_rekor.proto,
sigstore_common.proto.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Wire(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class RawDocument(_Wire):
    """Bytes of a certificate."""

    raw_bytes: str


class ChainDocument(_Wire):
    """X509CertificateChain."""

    certificates: tuple[RawDocument, ...]


class HintDocument(_Wire):
    """PublicKeyIdentifier."""

    hint: str = ""


class KeyIdDocument(_Wire):
    """LogId."""

    key_id: str


class KindVersionDocument(_Wire):
    """KindVersion."""

    kind: str
    version: str


class PromiseDocument(_Wire):
    """InclusionPromise."""

    signed_entry_timestamp: str


class CheckpointDocument(_Wire):
    """Checkpoint."""

    envelope: str


class ProofDocument(_Wire):
    """InclusionProof."""

    log_index: str
    root_hash: str
    tree_size: str
    hashes: tuple[str, ...] = ()
    checkpoint: CheckpointDocument | None = None


class EntryDocument(_Wire):
    """TransparencyLogEntry."""

    log_index: str
    log_id: KeyIdDocument
    kind_version: KindVersionDocument
    canonicalized_body: str
    integrated_time: str | None = None
    inclusion_promise: PromiseDocument | None = None
    inclusion_proof: ProofDocument | None = None


class TimestampDocument(_Wire):
    """RFC3161SignedTimestamp."""

    signed_timestamp: str


class TimestampsDocument(_Wire):
    """TimestampVerificationData."""

    rfc3161_timestamps: tuple[TimestampDocument, ...] = msgspec.field(name="rfc3161Timestamps", default=())


class MaterialDocument(_Wire):
    """VerificationMaterial."""

    certificate: RawDocument | None = None
    x509_certificate_chain: ChainDocument | None = msgspec.field(name="x509CertificateChain", default=None)
    public_key: HintDocument | None = None
    tlog_entries: tuple[dict[str, Any], ...] = ()
    timestamp_verification_data: TimestampsDocument | None = None


class DigestDocument(_Wire):
    """HashOutput."""

    algorithm: str
    digest: str


class MessageDocument(_Wire):
    """MessageSignature."""

    signature: str
    message_digest: DigestDocument | None = None


class BundleDocument(_Wire):
    """Bundle."""

    media_type: str
    verification_material: MaterialDocument
    message_signature: MessageDocument | None = None
    dsse_envelope: dict[str, Any] | None = None
