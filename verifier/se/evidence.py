"""The evidence document of Secure Execution."""

from __future__ import annotations

from wire.evidence import EvidenceDocument


class SeEvidence(EvidenceDocument, frozen=True, tag="se"):
    """IBM Secure Execution evidence: the Ultravisor's answer to a request of ours. Base64url throughout.

    Attributes:
        measurement: HMAC-SHA-512 of the Ultravisor (64 bytes).
        additional_data: what the request asked for, host-key hashes among them.
        user_data: what the guest gave: 64 bytes of report data; the digest of its init-data may follow.
        cuid: configuration unique id (16 bytes).
        image_hdr_tags: tags of the image's header (208 bytes).
        encr_measurement_key: the request's measurement key, as the challenge sealed it.
        encr_request_nonce: the request's nonce, as the challenge sealed it.
    """

    measurement: str
    additional_data: str
    user_data: str
    cuid: str
    image_hdr_tags: str
    encr_measurement_key: str
    encr_request_nonce: str
