"""Errors of the guest agent: what stops a guest from making evidence or getting its secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import (
    AccessError,
    ConfigurationError,
    EvidenceError,
    InputError,
    NotFound,
    ReleaseError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class TeeUnavailable(UnavailableError):
    """The machine has no such TEE, or its interface cannot be opened."""

    code = "unavailable.tee"
    advice = "Check that the guest was started with the TEE and that the agent may open its device."


class EvidenceNotMade(UnavailableError):
    """The TEE's interface answered, but gave no usable evidence."""

    code = "unavailable.evidence"
    advice = "Retry; the message names the step and what the interface said."


class ServerRefused(UnavailableError):
    """The server answered with a problem; its own code and advice are kept.

    Attributes:
        remote_code: the server's error code (``release.denied``); empty where it gave none.
        status: the HTTP status.
    """

    code = "unavailable.server_refused"
    advice = "The message is the server's; its code is in docs/errors.md."

    def __init__(
        self,
        message: str,
        *,
        remote_code: str,
        status: int,
        advice: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Take over what the server said."""
        super().__init__(message, advice=advice, details=details)
        self.remote_code = remote_code
        self.status = status


class ServerAnswerInvalid(UnavailableError):
    """The server answered with something that the protocol does not have."""

    code = "unavailable.server_answer"
    advice = "Check that --server names a Touchstone server of this version, without a proxy's login page."


class ServerTimeout(UnavailableError):
    """The server did not finish its answer in time."""

    code = "unavailable.server_timeout"
    advice = "Retry; if it lasts, check the server's load and the network between."


class AudienceUnexpected(AccessError):
    """The challenge is of another relying party than the one that was meant."""

    code = "access.audience"
    advice = "Check --server; evidence made for this audience would serve the other party."


class SecretMismatch(ReleaseError):
    """The encrypted secret is not the one asked for, or was made for another session."""

    code = "release.mismatch"
    advice = "Something between guest and server replays or swaps answers: use TLS and check the server."


class SecretUndecryptable(ReleaseError):
    """The encrypted secret does not decrypt with this session's key, or has a form that is refused."""

    code = "release.undecryptable"
    advice = "Attest again; if it lasts, the answer is altered on its way."


class SealedSecretMalformed(InputError):
    """What was given as a sealed secret has not its form."""

    code = "input.sealed_secret"
    advice = (
        "A sealed secret is sealed.HEADER.PAYLOAD.SIGNATURE, as `touchstone-guest secret seal` makes it."
    )


class Unsupported(InputError):
    """A provider, type, version or algorithm that this guest agent does not have."""

    code = "input.unsupported"
    advice = "docs/guest-agent.md lists what sealed secrets and wrapped keys may name."


class SealedSecretUntrusted(ReleaseError):
    """A sealed secret's signature does not hold, or its key is not usable: nothing of it was used."""

    code = "release.sealed_untrusted"
    advice = "Seal it again with the key that `kid` names; if it was not changed by you, somebody else did."


class UnwrapFailed(ReleaseError):
    """What was encrypted does not decrypt under the key that it names."""

    code = "release.unwrap"
    advice = "Check that the key in the KBS is the one that encrypted it, 32 bytes for A256GCM."


class NotConfigured(ConfigurationError):
    """The guest agent was not told of the service that this needs."""

    code = "configuration.absent"
    advice = "Set it in the guest agent's configuration file: docs/guest-agent.md."


class DevelopmentOnly(ConfigurationError):
    """A setting that takes protection away, outside a development installation."""

    code = "configuration.development_only"
    advice = "Remove the setting; only `touchstone-guest serve --development` accepts it."


class PeerRefused(AccessError):
    """The caller, or the name under which it called, is not local."""

    code = "access.peer"
    advice = "Call from inside the guest as 127.0.0.1; docs/guest-agent.md says how to allow others."


class Busy(UnavailableError):
    """As many requests as allowed are being worked on."""

    code = "unavailable.busy"
    advice = "Retry in a moment; if it lasts, the KBS is slow or something floods the guest agent."


class AddressInUse(UnavailableError):
    """Another process serves the address."""

    code = "unavailable.address"
    advice = "Stop the other process, or set another address."


class KbsAnswered:
    """Mixed into errors that repeat what a KBS answered.

    Attributes:
        variant: last part of the answer's ``type`` (``PolicyDeny``); empty where it gave none.
        status: the HTTP status.
    """

    variant: str = ""
    status: int = 0


class KbsDenied(KbsAnswered, ReleaseError):
    """The KBS's resource policy does not release this to this guest."""

    code = "release.kbs_denied"
    advice = "Attesting again changes nothing: compare the attestation result with the resource policy."


class KbsResourceUnknown(KbsAnswered, NotFound):
    """The KBS has no such resource or plugin."""

    code = "input.kbs_resource"
    advice = "Check repository, type and tag; the reference KBS says the same of a failed backend."


class KbsUnauthenticated(KbsAnswered, AccessError):
    """The KBS accepts neither the session nor the evidence or token of this guest."""

    code = "access.kbs_unauthenticated"
    advice = "The KBS's log says which check failed: its answer does not."


class KbsRefused(KbsAnswered, UnavailableError):
    """The KBS refused for a reason that is neither policy nor authentication."""

    code = "unavailable.kbs_refused"
    advice = "The message is the KBS's own."


class KbsUnreachable(UnavailableError):
    """The KBS did not answer, in every attempt."""

    code = "unavailable.kbs"
    advice = "Check the URL, the network, and the certificate authority for a private one."


class KbsHostForbidden(AccessError):
    """A resource URI names a KBS that is not configured: evidence goes to configured servers alone."""

    code = "access.kbs_host"
    advice = "Add the host to kbs_hosts if it is meant; never because an image or annotation asks for it."


class RuntimeRegisterInvalid(InputError):
    """The platform has no such measurement register, or software may not extend it."""

    code = "input.runtime_register"
    advice = "Use a PCR of 8 to 23; on TDX and CSV 16 and above are the last register."


class EventLogBroken(UnavailableError):
    """The agent's event log does not explain the register that it extended."""

    code = "unavailable.event_log"
    advice = "Restart the guest: a register cannot be taken back. Let one agent alone extend the register."


class InitDataDiffers(EvidenceError):
    """The TEE carries other init-data than the agent was given."""

    code = "evidence.launched_otherwise"
    advice = "Start the guest with the digest of exactly this init-data text, byte for byte."
