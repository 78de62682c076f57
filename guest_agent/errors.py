"""Errors of the guest agent: what stops a guest from making evidence or getting its secret."""

from __future__ import annotations

from common.errors import UnavailableError


class TeeUnavailable(UnavailableError):
    """The machine has no such TEE, or its interface cannot be opened."""

    code = "unavailable.tee"
    advice = "Check that the guest was started with the TEE and that the agent may open its device."


class EvidenceNotMade(UnavailableError):
    """The TEE's interface answered, but gave no usable evidence."""

    code = "unavailable.evidence"
    advice = "Retry; the message names the step and what the interface said."
