"""Documents of the Confidential Containers KBS protocol (RCAR, version 0.4.0) as they go over the wire.

Byte strings are what each field says: the nonce and evidence blobs standard base64, JWK members and JWE
parts unpadded base64url. Members that are not known are ignored, as the reference implementations do: a
newer client may send more. Top-level members of the attestation are kebab-case, but the two of
``tee-evidence`` are snake_case.

Source: Confidential Containers, KBS attestation protocol; kbs-types 0.18.
"""

from __future__ import annotations

from typing import Any

import msgspec

SESSION_COOKIE = "kbs-session-id"
PROTOCOL_VERSION = "0.4.0"
BASE_PATH = "/kbs/v0"
ERROR_TYPE_PREFIX = "https://github.com/confidential-containers/kbs/errors/"

Jwk = dict[str, Any]


class Request(msgspec.Struct, frozen=True, rename="kebab"):
    """Body of ``POST /kbs/v0/auth``.

    Attributes:
        version: protocol version, semver.
        tee: TEE name.
        extra_params: any JSON; clients send ``{"supported-hash-algorithms": [...]}`` or ``""``.
    """

    version: str
    tee: str
    extra_params: Any = ""


class Challenge(msgspec.Struct, frozen=True, rename="kebab"):
    """Answer of ``POST /kbs/v0/auth``.

    Attributes:
        nonce: base64 of 32 bytes; for IBM SE the JSON text of its attestation request.
        extra_params: ``""``, or an object with ``selected-hash-algorithm``.
    """

    nonce: str
    extra_params: Any = ""


class InitData(msgspec.Struct, frozen=True):
    """Launch data in plain.

    Attributes:
        format: ``toml``.
        body: the TOML text, whose digest the evidence holds.
    """

    format: str
    body: str


class RuntimeData(msgspec.Struct, frozen=True, rename="kebab"):
    """What the evidence is bound to.

    Attributes:
        nonce: the challenge's, as given.
        tee_pubkey: the guest's public JWK.
    """

    nonce: str
    tee_pubkey: Jwk


class CompositeEvidence(msgspec.Struct, frozen=True):
    """Evidence of the CPU and of devices. The member names are snake_case.

    Attributes:
        primary_evidence: the TEE's own document.
        additional_evidence: JSON text of an object, TEE name to evidence; empty without devices.
    """

    primary_evidence: Any
    additional_evidence: str = ""


class Attestation(msgspec.Struct, frozen=True, rename="kebab"):
    """Body of ``POST /kbs/v0/attest``."""

    runtime_data: RuntimeData
    tee_evidence: CompositeEvidence
    init_data: InitData | None = None


class TokenAnswer(msgspec.Struct, frozen=True):
    """Answer of ``POST /kbs/v0/attest``: the attestation result, a compact JWS."""

    token: str


class EncryptedResource(msgspec.Struct, frozen=True):
    """A flattened JWE (RFC 7516 section 7.2.2), answer of ``GET /kbs/v0/resource/...``.

    Attributes:
        protected: base64url of the JSON header; its ASCII bytes are the additional authenticated data.
        encrypted_key: base64url.
        iv: base64url, 12 bytes.
        ciphertext: base64url.
        tag: base64url, 16 bytes.
    """

    protected: str
    encrypted_key: str
    iv: str
    ciphertext: str
    tag: str


class ErrorInformation(msgspec.Struct, frozen=True):
    """Body of every refusal.

    Attributes:
        type: ``ERROR_TYPE_PREFIX`` and the variant.
        detail: what is wrong.
    """

    type: str
    detail: str
