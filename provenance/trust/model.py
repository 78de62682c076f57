"""The trust policy document: who may sign, which builder, from which source. See docs/trust-policy.md.

Plain structs; unknown members are refused. ``provenance.trust.parse`` checks what types cannot say
(names that refer to each other, keys and roots that load).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

VERSION: Final = 1
# A builder named without a ref is taken at a tag only: a branch moves, a tag is a release.
DEFAULT_BUILDER_REF: Final = "refs/tags/*"


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


Root = PublicGoodRoot | SigstoreRootDocument | KeyRoot


class TrustedSigner(_Document, frozen=True):
    """A signer.

    Attributes:
        name: what builders refer to.
        root: name of the root that vouches for it.
        issuer: OIDC issuer, exact. Needed for certificates, absent for keys.
        identity: subject alternative name; ``*`` stands for any characters but ``/``.
    """

    name: str
    root: str
    issuer: str | None = None
    identity: str | None = None


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
    """

    id: str
    ref: str | None = None
    delegated_by: str | None = None
    delegator_ref: str | None = None
    signers: tuple[str, ...] = ()


class TrustedSource(_Document, frozen=True):
    """A source repository.

    Attributes:
        uri: ``https://host/path`` (``git+`` and a bare host are understood).
        refs: globs of full ref names (``refs/tags/v*``); any, if empty.
        branches: globs of the branch (``refs/heads/main``), also of builds that a tag triggered; any,
            if empty.
    """

    uri: str
    refs: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()


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
