"""The error model: one root, one class per failure class, one stable code per class.

The tree (each room's ``errors.py`` hangs its own classes below one of these)::

    TouchstoneError
    ├── InputError            the caller sent something malformed        input.*
    ├── EvidenceError         evidence is not authentic or not bound     evidence.*
    ├── EndorsementError      certificates, CRLs, collateral             endorsement.*
    ├── StatementError        attestations, envelopes, trust policy      statement.*
    ├── DerivationError       artefacts to measurements                  derivation.*
    ├── ReferenceValueError   the reference-value store                  reference.*
    ├── PolicyError           Rego: upload, compile, evaluate            policy.*
    ├── ReleaseError          secrets and the decision to release them   release.*
    ├── AccessError           admin tokens, roles, scopes                access.*
    ├── AuditError            the audit log                              audit.*
    ├── ConfigurationError    settings, files, keys at start             configuration.*
    └── UnavailableError      something we depend on does not answer     unavailable.*

Invariants:

* ``code`` is part of the API: it never changes meaning and two classes never share one.
* ``str(error)`` says what is wrong, ``error.advice`` says what to do next. Neither holds a secret:
  messages are built from names, sizes, digests and public values only.
* The mapping to HTTP statuses and exit codes lives at the edge (``service``), by category.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.checks import Check

_REGISTRY: dict[str, type[TouchstoneError]] = {}


class TouchstoneError(Exception):
    """Root of every error this project raises on purpose.

    Attributes:
        code: stable, dotted, lower case (``evidence.signature``). Empty on abstract categories.
        advice: what the reader can do next. A class default, or given per error.
        checks: the check records made before the failure, for an explanation.
        details: further public, JSON-compatible facts (names, sizes, digests).
    """

    code: ClassVar[str] = ""
    advice: str = "See docs/errors.md for this code."

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        checks: Sequence[Check] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Build the error; ``message`` must hold no secret."""
        super().__init__(message)
        if advice is not None:
            self.advice = advice
        self.checks: tuple[Check, ...] = tuple(checks)
        self.details: dict[str, object] = dict(details or {})

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Register the code; refuse a duplicate at import, not in production."""
        super().__init_subclass__(**kwargs)
        code = cls.__dict__.get("code", "")
        if not code:
            return
        if code in _REGISTRY:
            raise TypeError(f"error code {code!r} belongs to {_REGISTRY[code].__name__} already")
        _REGISTRY[code] = cls

    @property
    def message(self) -> str:
        """The message alone."""
        return str(self.args[0])


def registry() -> Mapping[str, type[TouchstoneError]]:
    """Every code that is loaded, with its class (used by docs, the API and their tests)."""
    return dict(sorted(_REGISTRY.items()))


class InputError(TouchstoneError):
    """The caller sent something malformed."""


class EvidenceError(TouchstoneError):
    """Evidence is not authentic, not bound, or not parseable as what it claims to be."""


class EndorsementError(TouchstoneError):
    """A certificate, CRL or other collateral does not hold."""


class StatementError(TouchstoneError):
    """An attestation (envelope, signature, statement, signer) does not hold."""


class DerivationError(TouchstoneError):
    """Verified artefacts and a launch shape do not determine a measurement."""


class ReferenceValueError(TouchstoneError):
    """The reference-value store refuses."""


class PolicyError(TouchstoneError):
    """A policy cannot be accepted, compiled or evaluated."""


class ReleaseError(TouchstoneError):
    """A secret is not released."""


class AccessError(TouchstoneError):
    """The caller may not do this."""


class AuditError(TouchstoneError):
    """The audit log cannot be written or does not hold."""


class ConfigurationError(TouchstoneError):
    """Settings, files or keys are not usable."""


class UnavailableError(TouchstoneError):
    """Something we depend on does not answer."""


class Malformed(InputError):
    """The bytes are not what they should be."""

    code = "input.malformed"
    advice = "Check that the file or field is complete and in the documented format."


class DuplicateKey(InputError):
    """A JSON or CBOR object names one key twice."""

    code = "input.duplicate_key"
    advice = "Remove the duplicate member: which of the two was meant cannot be known."


class TooLarge(InputError):
    """The input is over its documented size, count or depth."""

    code = "input.too_large"
    advice = "Send less: the limits are in docs/limitations.md."


class UnknownField(InputError):
    """A document has a member that its schema does not."""

    code = "input.unknown_field"
    advice = "Remove or rename the member; the schema is in /openapi.json and docs/formats.md."


class InvalidIdentifier(InputError):
    """An identifier has a character or shape that is not allowed."""

    code = "input.identifier"
    advice = "Use letters, digits, '-', '_' and '.', starting with a letter or digit."


class NotFound(InputError):
    """The named thing does not exist."""

    code = "input.not_found"
    advice = "List what exists and check the spelling."


class Conflict(InputError):
    """The request contradicts the present state."""

    code = "input.conflict"
    advice = "Read the present state and decide again."


class DependencyMissing(UnavailableError):
    """A program or package that this needs is not installed."""

    code = "unavailable.dependency"
    advice = "Install the named program or package."


class FetchFailed(UnavailableError):
    """A fetch from an allowed host failed; nothing was assumed in its place."""

    code = "unavailable.fetch"
    advice = "Retry later, or provide the file offline."


class FetchForbidden(ConfigurationError):
    """A URL points outside the allow-list (no redirects are followed)."""

    code = "configuration.fetch_forbidden"
    advice = "Add the host to [fetch] allowed_hosts if it is meant; URLs in evidence are never fetched."


class DatabaseUnavailable(UnavailableError):
    """The database does not answer, is locked for too long, full or damaged; nothing was committed."""

    code = "unavailable.database"
    advice = "Retry; if it lasts, check the database server, or the data directory's disk and rights."


class SchemaMismatch(ConfigurationError):
    """The database's schema is not the one this version works with."""

    code = "configuration.schema"
    advice = "Start `touchstone serve` once to migrate; never run an older version on a newer schema."


class InvalidSetting(ConfigurationError):
    """A configuration value is not usable."""

    code = "configuration.invalid"
    advice = "Correct the named setting; docs/configuration.md lists every one."
