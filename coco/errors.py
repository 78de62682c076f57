"""Errors of the Confidential Containers room.

Each names, in ``variant``, the ErrorInformation type under which the KBS API answers it; errors of other
rooms are mapped by class in ``coco.refusals``.
"""

from __future__ import annotations

from common.errors import (
    AccessError,
    ConfigurationError,
    EvidenceError,
    InputError,
    NotFound,
    ReferenceValueError,
    ReleaseError,
    UnavailableError,
)


class TeeUnknown(EvidenceError):
    """No TEE of Confidential Containers has that name."""

    code = "coco.tee_unknown"
    advice = "Use a name of the KBS protocol: snp, tdx, sgx, az-snp-vtpm, tpm and so on."


class ProtocolVersion(InputError):
    """The client speaks another version of the KBS protocol."""

    code = "coco.protocol_version"
    advice = "Use a client of KBS protocol 0.4.x; this server answers as 0.4.0."


class SessionInvalid(EvidenceError):
    """The session cookie is missing, not ours, expired, or its nonce is spent."""

    code = "coco.session"
    advice = "Begin a new handshake with POST /kbs/v0/auth: a nonce is good for one attestation."


class TokenMissing(AccessError):
    """Neither an attested session nor a bearer attestation token came with the request."""

    code = "coco.token_missing"
    advice = "Attest first, or send the token as `Authorization: Bearer`."


class TeeKeyRefused(ReleaseError):
    """The guest's public key is not one that this server encrypts to."""

    code = "coco.tee_key"
    advice = (
        "Use an EC key on P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or ML-KEM-768; public part only."
    )


class AdminDenied(AccessError):
    """The administrator's token does not hold, or no rule allows its role this call."""

    code = "coco.admin_denied"
    advice = (
        "Send a bearer token of a configured issuer with a role that an ACL rule allows for this method."
    )


class PluginUnknown(NotFound):
    """No plugin of that name is configured."""

    code = "coco.plugin_unknown"
    advice = "The first segment after /kbs/v0/ names the plugin; `resource` is always there."


class PluginFailed(InputError):
    """The plugin refuses or cannot do what was asked."""

    code = "coco.plugin"
    advice = "Check path and method against the plugin's documentation."


class PluginUnavailable(UnavailableError):
    """A plugin's backend (HSM, external server) does not answer; nothing was assumed in its place."""

    code = "coco.plugin_unavailable"
    advice = "Start the backend, and check endpoint, certificates, PIN file and time-out of the plugin."


class CocoSetting(ConfigurationError):
    """A setting of the Confidential Containers front ends is not usable."""

    code = "coco.setting"
    advice = "Correct the named setting; docs/configuration.md lists every one."


class MessageMalformed(InputError):
    """A reference-value message or its payload is not what its type says."""

    code = "coco.message"
    advice = (
        'Send {"version": "0.1.0", "type": ..., "payload": ...}; docs/reference-values.md has the types.'
    )


class MessageVersion(InputError):
    """A reference-value message is of another version."""

    code = "coco.message_version"
    advice = "Send messages of version 0.1.0."


class ExtractorUnknown(InputError):
    """No extractor reads messages of that type."""

    code = "coco.extractor_unknown"
    advice = (
        "Use sample, swid or corim, or a signed type: sigstore-bundle, in-toto, slsa, vsa, dsse, corim."
    )


class UnsignedRefused(ReferenceValueError):
    """The values of an unsigned message do not count here."""

    code = "coco.unsigned_refused"
    advice = "Send a signed message, or submit an attestation; or let the deployment count declared values."


class HandshakeRefused(InputError):
    """The first message of the handshake is malformed, of another version, or of an unknown TEE."""

    code = "coco.handshake"
    advice = 'Send {"version": "0.4.0", "tee": ..., "extra-params": ...} with a TEE of a CPU.'


class PolicyDocumentInvalid(InputError):
    """The body of a policy upload is not the documented JSON, or its policy not base64 of text."""

    code = "coco.policy_document"
    advice = 'Send {"policy": "<base64url of the Rego text>"}; attestation policies with "policy_id".'


class RvpsRefused(InputError):
    """The reference value service does not take the message."""

    code = "coco.rvps"
    advice = 'Send {"version": "0.1.0", "type": ..., "payload": ...} of a type that is taken here.'


class ReferenceValueUnknown(NotFound):
    """There is no live reference value of that id."""

    code = "coco.reference_value_unknown"
    advice = "Check the id; expired, replaced and retracted values are not served."


class ForeignTokenInvalid(AccessError):
    """A token of another attestation service does not hold, is of none that we trust, or binds no key."""

    code = "coco.foreign_token"
    advice = (
        "Attest at a service that [[coco.trusted_issuers]] names, and send a token that is in its time."
    )
