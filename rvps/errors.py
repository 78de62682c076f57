"""Errors of the reference-value room."""

from __future__ import annotations

from common.errors import ReferenceValueError


class AlreadyRetracted(ReferenceValueError):
    """The attestation was retracted; ingesting it again does not bring it back."""

    code = "reference.retracted"
    advice = "Publish a new attestation; a retraction is never undone."


class UnknownAttestation(ReferenceValueError):
    """No attestation with that digest."""

    code = "reference.unknown_attestation"
    advice = "List attestations and use the full SHA-256 digest."


class UnknownReferenceValue(ReferenceValueError):
    """No reference value with that id."""

    code = "reference.unknown_value"
    advice = "List reference values with `touchstone rv list`."


class NotExportable(ReferenceValueError):
    """Values cannot be written in the format that is asked for."""

    code = "reference.not_exportable"
    advice = "Export fewer values: name a group, a TEE or a reference name."
