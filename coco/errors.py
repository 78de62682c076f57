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
