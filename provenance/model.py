"""What flows through the provenance pipeline.

``envelope bytes -> AuthenticStatement -> AdmittedStatement -> DerivedValue``: each step takes the type
of the step before, so that no value can be derived from a statement that nobody verified.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import Any

import msgspec

from common.checks import Check  # noqa: TC001 (msgspec resolves it at run time)


class Subject(msgspec.Struct, frozen=True):
    """One subject of a statement.

    Attributes:
        name: artefact name; may be empty in the wild.
        digest: algorithm to lower-case hex; at least one of sha256, sha384, sha512.
            A verification summary's subject may have an identifier instead (``gce_image_id``).
    """

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True):
    """An in-toto Statement, v0.1 or v1, strictly parsed.

    Attributes:
        type: ``https://in-toto.io/Statement/v1`` or ``.../v0.1``.
        subjects: at least one.
        predicate_type: URI.
        predicate: the predicate as JSON; typed models live in ``provenance.predicates.slsa``.
    """

    type: str
    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, Any]


class Signer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who signed, as proven by certificate or key.

    Attributes:
        kind: ``certificate`` or ``key``; ``functionary`` for a key that a layout authorises and the trust
            policy does not name: it never counts as a signer of the policy.
        identity: the certificate's SAN (URI or e-mail), ``key:<sha256 of SPKI DER>``, or the KMS resource
            name of a Google Cloud Build key.
        root: name of the trust root in the trust policy that vouches for it.
        issuer: OIDC issuer (OID 1.3.6.1.4.1.57264.1.8, else .1.1).
        claims: Fulcio certificate extensions by name (OIDs 1.3.6.1.4.1.57264.1.9 to .1.22):
            ``build_signer_uri``, ``build_signer_digest``, ``runner_environment``,
            ``source_repository_uri``, ``source_repository_digest``, ``source_repository_ref``,
            ``build_config_uri``, ``build_trigger``, ``run_invocation_uri`` ...
        certificate: SHA-256 of the signing certificate's DER, hex.
        serial: the certificate's serial number, lower-case hex without leading zeros.
        key: SHA-256 of the key's SubjectPublicKeyInfo (DER), hex; of a ``key`` it is in the identity.
    """

    kind: str
    identity: str
    root: str
    issuer: str | None = None
    claims: dict[str, str] = {}
    certificate: str | None = None
    serial: str | None = None
    key: str | None = None


class AuthenticStatement(msgspec.Struct, frozen=True):
    """A statement whose signature, signer, time and log entry were verified. Not yet trusted.

    Attributes:
        envelope: the bytes received, exactly.
        attestation: SHA-256 of ``envelope``, hex.
        statement: parsed from the signed payload.
        signers: distinct verified signers.
        checks: every check made.
        log_index: transparency-log index, if logged.
        log_time: integrated or timestamped time, if any.
        signed_at: the instant at which the signer's certificate was judged.
        unverified: nobody's signature was verified: a source that the trust policy opts in to as such.
            ``signers`` is then empty, and its values never count as trusted ones.
        log_id: id of the transparency log (SHA-256 of its key), hex, if logged.
    """

    envelope: bytes
    attestation: str
    statement: Statement
    signers: tuple[Signer, ...]
    checks: tuple[Check, ...]
    signed_at: datetime
    log_index: int | None = None
    log_time: datetime | None = None
    unverified: bool = False
    log_id: str | None = None


class Material(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a build consumed, by its builder's word.

    Attributes:
        uri: as stated, not normalised; where it came from.
        digest: algorithm to lower-case hex, as stated; may be empty.
    """

    uri: str | None = None
    digest: dict[str, str] = {}


class AdmittedStatement(msgspec.Struct, frozen=True):
    """An authentic statement that the trust policy admits.

    Attributes:
        authentic: the statement.
        trust_policy: digest of the policy.
        builder: SLSA builder id, bound to the certificate where the builder is hosted.
        source_uri: normalised source repository.
        source_revision: commit digest.
        checks: all checks, those of authenticity first.
        domains: trust domains that the admitted signers belong to (independent of each other by the
            policy's word), without repetition.
        required_domains: how many distinct domains must attest a value before it counts.
        required_predicates: predicate types that must still be attested for the same artefacts before a
            value can be derived (``provenance.trust.domains.together``).
        supporting: nothing is derived from it: it is one of the policy's ``supporting_predicates``.
        valid_until: end of validity of everything derived, where an exception of the policy admitted
            the statement.
        materials: resolved dependencies of the build.
    """

    authentic: AuthenticStatement
    trust_policy: str
    checks: tuple[Check, ...]
    builder: str | None = None
    source_uri: str | None = None
    source_revision: str | None = None
    domains: tuple[str, ...] = ()
    required_domains: int = 1
    required_predicates: tuple[str, ...] = ()
    supporting: bool = False
    valid_until: datetime | None = None
    materials: tuple[Material, ...] = ()


class Artifact(msgspec.Struct, frozen=True):
    """An artefact at hand: its role in a launch and its bytes.

    Attributes:
        role: ``firmware``, ``firmware-descriptor``, ``kernel``, ``initrd``, ``cmdline``, or a name.
        name: file name, for messages.
        data: the bytes.
    """

    role: str
    name: str
    data: bytes


class DerivationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to derive from an admitted statement.

    Attributes:
        rule: ``snp-launch-digest`` or ``reference-values`` (our own predicate, taken over as stated).
        launch: launch shape of the rule, see docs/formats.md.
        subjects: artefact role to subject name in the statement, where they differ.
        group: name for the release; the attestation's digest otherwise.
        expires: RFC 3339; no later than the trust policy allows.
    """

    rule: str
    launch: dict[str, Any] = {}
    subjects: dict[str, str] = {}
    group: str | None = None
    expires: str | None = None


class DerivedValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measurement that an admitted statement determines.

    Attributes:
        name: reference name (``snp_launch_measurement``).
        value: JSON scalar; digests as lower-case hex.
        tee: what it is a value of: ``snp``, ``tpm``, ``sgx``, ``tdx``.
        group: release it belongs to.
        rule: rule and version (``snp-launch-digest/1``).
        inputs: artefact role to digest, and the launch shape, as used.
        not_before: start of validity (the statement's ``signed_at``).
        expires: end of validity, if bounded.
        scalar: a single value (a minimum) rather than a member of a set.
    """

    name: str
    value: Any
    tee: str
    group: str
    rule: str
    inputs: dict[str, Any]
    not_before: datetime
    expires: datetime | None = None
    scalar: bool = False
