"""The trust policy document: who may sign, which builder, from which source. See docs/trust-policy.md.

Plain structs; unknown members are refused. ``provenance.trust.parse`` checks what types cannot say
(names that refer to each other, keys and roots that load).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from provenance.trust.manifest_roots import ManifestRoot

VERSION: Final = 1
# A builder named without a ref is taken at a tag only: a branch moves, a tag is a release.
DEFAULT_BUILDER_REF: Final = "refs/tags/*"
DEFAULT_DOMAIN: Final = "default"
MAX_DOMAINS: Final = 16
MAX_DOMAIN_CHARS: Final = 64
# slsa.dev/spec/v0.1/levels has 0 to 4, v1.0's build track 0 to 3.
MAX_LEVEL: Final = 4
# Rules that an exception can lift. Not among them: signatures, signers, predicate types, and the binding
# to the certificate.
EXCEPTABLE: Final = (
    "trust.age",
    "trust.builder",
    "trust.level",
    "trust.source",
    "trust.parameters",
    "trust.parameter_values",
    "trust.dispatch_inputs",
    "trust.rego",
)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class PublicGoodRoot(_Document, frozen=True, tag="sigstore-public-good", tag_field="kind"):
    """The public-good Sigstore instance, pinned in ``provenance.sigstore.trust_root``.

    Attributes:
        name: what signers refer to.
        legacy_bundles: take version 0.1 bundles with the log's promise and no inclusion proof.
    """

    name: str
    legacy_bundles: bool = False


class SigstoreRootDocument(_Document, frozen=True, tag="sigstore", tag_field="kind"):
    """Another Sigstore instance.

    Attributes:
        name: what signers refer to.
        trusted_root: its ``trusted_root.json``, inline.
        legacy_bundles: as for the public-good root.
    """

    name: str
    trusted_root: dict[str, Any]
    legacy_bundles: bool = False


class KeyRoot(_Document, frozen=True, tag="public-key", tag_field="kind"):
    """A public key.

    Attributes:
        name: what signers refer to.
        algorithm: one of ``provenance.keys.ALGORITHMS``.
        key: SubjectPublicKeyInfo, PEM.
        keyid: how envelopes name it (DSSE ``keyid``); the SHA-256 of the SubjectPublicKeyInfo in hex
            always works.
        log: a Sigstore root of this policy: the key signs Sigstore bundles, whose log entry and time
            are verified by that root. Without it the key signs bare DSSE envelopes.
        not_before: RFC 3339; the key does not count before.
        not_after: RFC 3339; the key does not count after.
    """

    name: str
    algorithm: str
    key: str
    keyid: str | None = None
    log: str | None = None
    not_before: str | None = None
    not_after: str | None = None


class LayoutOwner(_Document, frozen=True):
    """A project owner, who signs in-toto layouts.

    Attributes:
        algorithm: one of ``provenance.keys.ALGORITHMS``.
        key: SubjectPublicKeyInfo, PEM.
        keyid: how layouts name it, where neither the SHA-256 of the SubjectPublicKeyInfo nor in-toto's own
            id of the key does.
    """

    algorithm: str
    key: str
    keyid: str | None = None


class LayoutRoot(_Document, frozen=True, tag="in-toto-layout", tag_field="kind"):
    """Owners of in-toto layouts.

    Attributes:
        name: what signers refer to.
        owners: their keys.
        threshold: how many of them must have signed a layout.
        inspections: of a layout whose inspections cannot be run: ``refuse`` it, or ``skip`` them, which is
            recorded.
    """

    name: str
    owners: tuple[LayoutOwner, ...]
    threshold: int = 1
    inspections: Literal["refuse", "skip"] = "refuse"


class CloudBuildKey(_Document, frozen=True):
    """A signing key of Google Cloud Build.

    Attributes:
        keyid: resource name of the KMS key version (``projects/verified-builder/locations/...``).
        key: SubjectPublicKeyInfo, PEM; P-256.
    """

    keyid: str
    key: str


class GoogleCloudBuildRoot(_Document, frozen=True, tag="google-cloud-build", tag_field="kind"):
    """Google Cloud Build's signing keys, as carried in ``provenance.gcb``.

    Attributes:
        name: what signers refer to.
        keyids: only these of the carried keys; all, if empty.
        locations: only keys of these locations (``global``, ``us-west2``); all, if empty.
        keys: these keys instead of the carried ones.
    """

    name: str
    keyids: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    keys: tuple[CloudBuildKey, ...] = ()


Root = PublicGoodRoot | SigstoreRootDocument | KeyRoot | LayoutRoot | ManifestRoot | GoogleCloudBuildRoot


class TrustedSigner(_Document, frozen=True):
    """A signer.

    Attributes:
        name: what builders refer to.
        root: name of the root that vouches for it.
        issuer: OIDC issuer, exact. Needed for certificates, absent for keys.
        identity: subject alternative name; ``*`` stands for any characters but ``/``.
        domain: trust domain: signers of two domains are independent of each other, by the policy's
            word. Where a policy names any, all signers without one share one domain.
    """

    name: str
    root: str
    issuer: str | None = None
    identity: str | None = None
    domain: str | None = None


class TrustedBuilder(_Document, frozen=True):
    """A builder.

    Attributes:
        id: SLSA builder id, exact. With ``@ref`` it is the whole id; without, ``ref`` says which refs.
        ref: glob for what follows ``@`` in the statement's id.
        delegated_by: workflow that signs on this builder's behalf, without ref
            (slsa-github-generator's delegators). Without it a GitHub builder must be the very workflow
            that the certificate names.
        delegator_ref: glob for the delegator's ref.
        signers: names of the signers that may speak for it; all, if empty.
        level: SLSA build level that it is trusted to reach when these signers speak for it.
    """

    id: str
    ref: str | None = None
    delegated_by: str | None = None
    delegator_ref: str | None = None
    signers: tuple[str, ...] = ()
    level: int | None = None


class TrustedSource(_Document, frozen=True):
    """A source repository.

    Attributes:
        uri: ``https://host/path`` (``git+`` and a bare host are understood).
        refs: globs of full ref names (``refs/tags/v*``); any, if empty.
        branches: globs of the branch (``refs/heads/main``), also of builds that a tag triggered; any,
            if empty.
        workflows: globs of the path of the workflow or configuration in the repository that was built;
            any, if empty.
    """

    uri: str
    refs: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()


class TrustedVerification(_Document, frozen=True):
    """What is expected of verification summaries (SLSA VSA); see ``provenance.trust.vsa_rules``.

    Attributes:
        verifiers: verifier ids, exact.
        resources: globs of the resource URI.
        levels: levels that it must reach, all of them; a higher one of the same SLSA track does.
        signers: names of the signers that may speak for these verifiers; all, if empty.
        identifiers: kinds of subject identifier that count although they are no digests
            (``gce_image_id``).
        max_age_seconds: oldest accepted time of verification, by the verifier's word.
    """

    verifiers: tuple[str, ...]
    resources: tuple[str, ...]
    levels: tuple[str, ...]
    signers: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    max_age_seconds: int | None = None


class TrustException(_Document, frozen=True):
    """One statement that is admitted although named rules refuse it.

    Attributes:
        name: what check records call it.
        reason: why, for those who read the records.
        attestation: SHA-256 of the envelope, hex: this one and no other.
        rules: names of the checks that it lifts (``EXCEPTABLE``).
        expires: RFC 3339; from then on it does not count, nor do values that rest on it.
    """

    name: str
    reason: str
    attestation: str
    rules: tuple[str, ...]
    expires: str


class Environment(_Document, frozen=True):
    """What one environment demands instead; a member that is absent is the document's own.

    Attributes are those of ``TrustDocument``.
    """

    predicate_types: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    threshold: int | msgspec.UnsetType = msgspec.UNSET
    required_domains: int | msgspec.UnsetType = msgspec.UNSET
    required_domains_for: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    required_predicates: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    builders: tuple[TrustedBuilder, ...] | msgspec.UnsetType = msgspec.UNSET
    min_level: int | msgspec.UnsetType | None = msgspec.UNSET
    sources: tuple[TrustedSource, ...] | msgspec.UnsetType = msgspec.UNSET
    external_parameters: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    parameter_values: dict[str, tuple[Any, ...]] | msgspec.UnsetType = msgspec.UNSET
    dispatch_inputs: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    allow_self_hosted: bool | msgspec.UnsetType = msgspec.UNSET
    max_age_seconds: int | msgspec.UnsetType | None = msgspec.UNSET


class TrustDocument(_Document, frozen=True):
    """A trust policy.

    Attributes:
        version: 1.
        name: for people.
        roots: trust roots.
        signers: who may sign.
        predicate_types: what may be attested.
        threshold: distinct signers that are needed.
        builders: builders; any, if empty (still bound to the certificate).
        sources: sources; any, if empty (still bound to the certificate).
        external_parameters: names of external parameters that are expected beside those of the known
            build types.
        dispatch_inputs: inputs that a person may have typed when starting the build: name to the one
            accepted value, or null for any. Others refuse.
        allow_self_hosted: accept GitHub self-hosted runners, and certificates that do not tell.
        max_age_seconds: oldest accepted signature, by logged time.
        rego: a policy of kind ``trust``, evaluated last.
        serial: number of this issue of the policy; a server never goes back to a lower one.
        expires: RFC 3339; from then on the policy admits nothing.
        required_domains: distinct trust domains that must attest a subject before a value counts.
        required_domains_for: the same per predicate type, where it differs.
        required_predicates: predicate types that must all be attested for a subject before a value counts.
        supporting_predicates: predicate types that only support: they meet ``required_predicates``; no
            value is derived from them, and whoever signs them speaks for no trust domain.
        min_level: lowest accepted level of the builder.
        parameter_values: external parameter to the values that are accepted; it must be there.
        environments: name to what is demanded there instead.
        exceptions: single statements that are admitted although a rule refuses them.
        vsas: what is expected of verification summaries.
    """

    version: int
    name: str
    roots: tuple[Root, ...]
    signers: tuple[TrustedSigner, ...]
    predicate_types: tuple[str, ...]
    threshold: int = 1
    builders: tuple[TrustedBuilder, ...] = ()
    sources: tuple[TrustedSource, ...] = ()
    external_parameters: tuple[str, ...] = ()
    dispatch_inputs: dict[str, Any] = {}
    allow_self_hosted: bool = False
    max_age_seconds: int | None = None
    rego: str | None = None
    serial: int | None = None
    expires: str | None = None
    required_domains: int = 1
    required_domains_for: dict[str, int] = {}
    required_predicates: tuple[str, ...] = ()
    supporting_predicates: tuple[str, ...] = ()
    min_level: int | None = None
    parameter_values: dict[str, tuple[Any, ...]] = {}
    environments: dict[str, Environment] = {}
    exceptions: tuple[TrustException, ...] = ()
    vsas: tuple[TrustedVerification, ...] = ()
