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


class SignerCertificateExpired(SignerCertificateInvalid):
    """A certificate of the path of a manifest's signer is outside its validity at the moment of use."""

    code = "statement.certificate_expired"
    advice = "Get the manifest signed anew: such a signature carries no proof of when it was made."


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


class LayoutMalformed(StatementError):
    """A supply-chain bundle, layout or link is not strict."""

    code = "statement.layout"
    advice = "Make the bundle with `touchstone layout bundle` from what in-toto wrote."


class LayoutExpired(StatementError):
    """The layout, or one that a functionary delegated to, has expired."""

    code = "statement.layout_expired"
    advice = "The project owner signs a new layout with a later `expires`."


class LinkMissing(StatementError):
    """A step has fewer links of its functionaries than its threshold."""

    code = "statement.layout_link_missing"
    advice = "Add the links of the step's functionaries to the bundle; others do not count."


class LinkThresholdMissed(StatementError):
    """Too few distinct functionaries of a step signed a link for it that verifies."""

    code = "statement.layout_threshold"
    advice = "A link was altered, or signed by another key or for another step: get the right ones."


class LinksDisagree(StatementError):
    """Functionaries of one step recorded different materials or products."""

    code = "statement.layout_disagreement"
    advice = "The functionaries did not see the same artefacts: find out why before anything else."


class ArtifactRuleFailed(StatementError):
    """An artefact rule of a step or an inspection refuses."""

    code = "statement.layout_rule"
    advice = "Compare the links' materials and products with the rules of the layout."


class InspectionNotRun(StatementError):
    """The layout demands inspections, and no sandbox was given to run their commands in."""

    code = "statement.layout_inspection"
    advice = "Run `touchstone layout verify --sandbox`, or let the trust root skip inspections."


class InspectionFailed(StatementError):
    """The command of an inspection failed, timed out, or left something that is not a file."""

    code = "statement.layout_inspection_failed"
    advice = "Run the inspection's command by hand on the final product."


class TrustPolicyExpired(StatementError):
    """The trust policy's own time is over: it admits nothing."""

    code = "statement.trust_policy_expired"
    advice = "Issue the policy anew with a later `expires` and a higher `serial`, and activate it."


class TrustPolicyUnsigned(StatementError):
    """The trust policy is not signed, and the settings pin keys that must have signed it."""

    code = "statement.trust_policy_unsigned"
    advice = "Sign it with `touchstone policy sign`, with as many of the pinned keys as are demanded."


class TrustPolicySignatureInvalid(StatementError):
    """A signed trust policy is not signed by enough of the pinned keys, or a signature does not verify."""

    code = "statement.trust_policy_signature"
    advice = "Run `touchstone policy verify` with the pinned keys; it says which of them signed."


class BuilderLevelTooLow(StatementError):
    """The builder's level in the trust policy is below the one that it demands."""

    code = "statement.level"
    advice = "Build with a builder of that level, or correct the builder's level in the trust policy."


class DomainsMissing(StatementError):
    """Fewer independent trust domains attest an artefact than the trust policy demands."""

    code = "statement.domains"
    advice = "Submit the attestations of further domains' builds of the same artefact."


class RebuildersDisagree(StatementError):
    """Two attestations name one artefact and give it different digests."""

    code = "statement.disagreement"
    advice = "Find out which build differs before trusting either; a reproducible build gives one digest."


class PredicatesMissing(StatementError):
    """An artefact lacks attestations of predicate types that the trust policy requires."""

    code = "statement.required_predicates"
    advice = "Submit the missing kinds of attestation for the same artefact."


class RootRefreshRefused(StatementError):
    """A TUF repository's metadata or target does not hold: the trusted root is not refreshed."""

    code = "statement.root_refresh"
    advice = "The root in use stays. Check the URL and root metadata of the repository, and the clock."


class ManifestMalformed(StatementError):
    """A reference-value manifest (CoRIM, SWID, measurement file) is not strict, or says nothing usable."""

    code = "statement.manifest"
    advice = "Submit the manifest exactly as its issuer wrote it; docs/manifests.md says what is read."


class ManifestNotValid(StatementError):
    """A manifest, or the signature on it, is outside its own validity period, or not activated."""

    code = "statement.manifest_validity"
    advice = "Get the issuer's current manifest, or the tag list that activates this one."


class ImageSummaryMismatch(StatementError):
    """What Google Cloud printed around its signed provenance is about something else."""

    code = "statement.image_summary"
    advice = "Submit the output of `gcloud artifacts docker images describe` unmodified."


class TextMismatch(StatementError):
    """The readable copy of a statement is not what was signed."""

    code = "statement.text_mismatch"
    advice = "The readable copy was altered; only the signed payload counts."


class BuildTypeUnexpected(StatementError):
    """A build type that the builder does not have."""

    code = "statement.build_type"
    advice = "Compare build type, builder version and signing key."


class RefNotStated(SourceUntrusted):
    """The trust policy asks for a tag or branch that this provenance does not prove."""

    code = "statement.ref_unstated"
    advice = "Build from a trigger on a tag, or leave refs and branches of this source open."


class VerificationNotPassed(StatementError):
    """A verification summary whose result is not PASSED."""

    code = "statement.vsa_result"
    advice = "The verifier refused the artefact: ask it why."


class VerifierUntrusted(StatementError):
    """A verification summary of a verifier that the trust policy does not name for this signer."""

    code = "statement.vsa_verifier"
    advice = "Compare verifier id and signer with `vsas` of the trust policy."


class ResourceUnexpected(StatementError):
    """A verification summary about another resource."""

    code = "statement.vsa_resource"
    advice = "Compare the resource URI with `vsas` of the trust policy."


class VerifiedLevelTooLow(StatementError):
    """A verification summary without a level that the trust policy demands."""

    code = "statement.vsa_level"
    advice = "Compare the verified levels with `vsas` of the trust policy."


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


class IdBlockInvalid(DerivationError):
    """An SNP ID block or its ID authentication is malformed, or a signature in it does not hold."""

    code = "derivation.id_block"
    advice = "Give the 96-byte ID block and the 4096-byte ID authentication that were signed together."


class SigstructInvalid(DerivationError):
    """An SGX SIGSTRUCT is malformed, or its own signature does not hold."""

    code = "derivation.sigstruct"
    advice = "Give the signed enclave, or its 1808-byte SIGSTRUCT, unmodified."
