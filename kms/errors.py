"""Errors of the secrets room: release decisions, secrets at rest, the audit log."""

from __future__ import annotations

from common.errors import AuditError, ConfigurationError, ReleaseError


class SecretNotFound(ReleaseError):
    """No secret with that id, or no such version of it."""

    code = "release.not_found"
    advice = "List what is stored with `touchstone resource list`, and check the spelling."


class VersionUnusable(ReleaseError):
    """The version is disabled or destroyed. No older version takes its place."""

    code = "release.version_state"
    advice = "Enable the version, or put a new one; a destroyed version never comes back."


class ReleaseDenied(ReleaseError):
    """The release policy, or a floor that no policy can lower, says no."""

    code = "release.denied"
    advice = "The reasons name what the policy missed in the attestation result."


class ReleaseStale(ReleaseError):
    """What the attestation result rests on changed since: values retracted, or a policy replaced."""

    code = "release.stale"
    advice = "Attest again: the new result rests on the present values and policies."


class SessionUnbound(ReleaseError):
    """The attestation result is not bound to a session of ours and a key of the guest."""

    code = "release.unbound"
    advice = "Attest with a challenge's nonce and tee_pubkey; other results release nothing."


class RecipientKeyRefused(ReleaseError):
    """The guest's public key is not one that secrets are encrypted to."""

    code = "release.recipient_key"
    advice = "Use an EC key on P-256, P-384 or P-521, or RSA of 3072 to 8192 bits, public part only."


class QuotaExceeded(ReleaseError):
    """This identity got this secret as often as the window allows."""

    code = "release.quota"
    advice = "Wait for the window to pass, or raise the quota if the load is real."


class SecretUnreadable(ReleaseError):
    """The stored blob does not open: altered, moved from another row, or another root key's."""

    code = "release.integrity"
    advice = "Run `touchstone audit verify`; restore the row and the root key from the same backup."


class AuditUnavailable(AuditError):
    """The audit record could not be committed, so nothing was done."""

    code = "audit.unavailable"
    advice = "Make the database writable again; until then nothing is released."


class CheckpointInvalid(AuditError):
    """A checkpoint is not signed by the checkpoint key, or cannot be read."""

    code = "audit.checkpoint"
    advice = "Compare the checkpoint file and key with the copies kept elsewhere."


class RootKeyInvalid(ConfigurationError):
    """The root key file cannot be used, or lacks the key that a record names."""

    code = "configuration.root_key"
    advice = "Restore the root key file that belongs to this database, mode 0600."
