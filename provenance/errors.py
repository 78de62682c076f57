"""Errors of the provenance room."""

from __future__ import annotations

from common.errors import DerivationError, StatementError


class EnvelopeMalformed(StatementError):
    """Neither a DSSE envelope nor a Sigstore bundle that we read."""

    code = "statement.envelope"
    advice = "Submit the DSSE envelope or Sigstore bundle exactly as the builder wrote it."


class StatementMalformed(StatementError):
    """The payload is not a strict in-toto Statement."""

    code = "statement.malformed"
    advice = (
        "A Statement needs at least one subject with a SHA-256 or stronger hex digest, and a predicate."
    )


class PayloadTypeWrong(StatementError):
    """The envelope's payload type is not in-toto's."""

    code = "statement.payload_type"
    advice = "payloadType must be application/vnd.in-toto+json."


class StatementSignatureInvalid(StatementError):
    """A signature does not verify."""

    code = "statement.signature"
    advice = "The envelope was altered or signed with another key."


class StatementUnsigned(StatementError):
    """No signature at all."""

    code = "statement.unsigned"
    advice = "Only signed statements become reference values."


class SignerCertificateInvalid(StatementError):
    """The signer's certificate does not chain to the trust root, or was not valid when it signed."""

    code = "statement.certificate"
    advice = "Name the right trust root; the certificate must have been valid at the logged time."


class LogEntryInvalid(StatementError):
    """Transparency-log entry, inclusion proof, checkpoint or timestamp does not hold."""

    code = "statement.log"
    advice = "Submit the bundle with its log entry, from a log that the trust root names."


class StatementIncomplete(StatementError):
    """Authenticity cannot be decided from the file alone (no log entry): not a sign of tampering."""

    code = "statement.incomplete"
    advice = "Fetch a bundle that carries the log entry."


class SignerUntrusted(StatementError):
    """The signature is good, but the trust policy does not name this signer."""

    code = "statement.untrusted_signer"
    advice = "Add the identity and issuer to the trust policy if the signer is meant."


class BuilderUntrusted(StatementError):
    """The builder is not one that the trust policy names, or not the one the certificate proves."""

    code = "statement.untrusted_builder"
    advice = "Compare the builder id in the statement, the certificate and the trust policy."


class SourceUntrusted(StatementError):
    """Source repository, ref or workflow is not what the trust policy expects."""

    code = "statement.untrusted_source"
    advice = "Compare source URI, ref and workflow with the trust policy."


class PredicateUnexpected(StatementError):
    """A predicate type that the trust policy does not ask for, or that is malformed."""

    code = "statement.predicate"
    advice = "Submit the predicate type that the trust policy names."


class SubjectMismatch(StatementError):
    """An artefact is not a subject of the statement."""

    code = "statement.subject_mismatch"
    advice = "The artefact differs from the one that was attested: rebuild or fetch the right one."


class TrustRefused(StatementError):
    """A rule of the trust policy's Rego refuses."""

    code = "statement.policy"
    advice = "The reasons are those of the trust policy; run `touchstone policy explain`."


class TrustPolicyInvalid(StatementError):
    """The trust policy itself cannot be used."""

    code = "statement.trust_policy"
    advice = "docs/trust-policy.md gives the format."


class NotDerivable(DerivationError):
    """The artefacts and the launch shape do not determine the measurement."""

    code = "derivation.undetermined"
    advice = "Give the missing artefact or launch parameter; nothing is guessed."


class ArtifactInvalid(DerivationError):
    """An artefact cannot be parsed as what its role says."""

    code = "derivation.artifact"
    advice = "Give the unmodified file."


class RuleUnknown(DerivationError):
    """No derivation rule of that name."""

    code = "derivation.rule"
    advice = "docs/formats.md lists the rules."


class LaunchShapeInvalid(DerivationError):
    """The launch shape is not one that the rule reads, or contradicts itself."""

    code = "derivation.launch"
    advice = "docs/formats.md gives the members of a launch shape; every one that decides is required."


class ExpiryInvalid(DerivationError):
    """The requested end of validity is not RFC 3339, or not after the statement's signature."""

    code = "derivation.expiry"
    advice = "Give an RFC 3339 time with an offset, later than the statement was signed."
