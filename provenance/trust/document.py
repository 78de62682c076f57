"""Trust policies: strict parsing, identity, and files.

A policy is self-contained: trusted roots, keys and Rego stand inline, so that its digest (SHA-256 of
its canonical JSON, RFC 8785) names everything that admission depends on but this code and the pinned
public-good root. ``load_file`` is the edge: it reads TOML or JSON in which
``trusted_root_file``, ``key_file`` and ``rego_file`` name files, and inlines them.

What a policy may not do: match every identity, name a ref by half (``main`` for ``refs/heads/main``),
name one key twice, or ask for more signers than it names.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import InputError, NotFound, TooLarge
from common.files import read_limited
from provenance import keys
from provenance.errors import SourceUntrusted, TrustPolicyInvalid
from provenance.gcb import signing_keys
from provenance.predicates import source
from provenance.sigstore import trust_root
from provenance.trust import limits, manifest_roots, vsa_rules
from provenance.trust.model import (
    DEFAULT_BUILDER_REF,
    VERSION,
    GoogleCloudBuildRoot,
    KeyRoot,
    LayoutRoot,
    PublicGoodRoot,
    SigstoreRootDocument,
    TrustDocument,
    TrustedBuilder,
    TrustedSigner,
    TrustedSource,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provenance.sigstore.trust_root import PublicGood, Window

MAX_POLICY_BYTES: Final = 4 << 20
_FILE_MEMBERS: Final = ("trusted_root_file", "key_file")


class TrustPolicy:
    """A checked policy; made by ``parse`` and ``load_file``.

    Attributes:
        document: the typed document, as it decides where it is used.
        digest: SHA-256 of ``to_json()``, hex.
        environment: the environment that it is used in, if any.
        public_good: what stands for the public-good root; the pinned one if None.
    """

    __slots__ = ("_canonical", "digest", "document", "environment", "public_good")

    def __init__(self, document: TrustDocument, canonical: bytes) -> None:
        """Wrap a checked document and its canonical bytes."""
        self.document = document
        self._canonical = canonical
        self.digest = hashlib.sha256(canonical).hexdigest()
        self.environment: str | None = None
        self.public_good: PublicGood | None = None

    def used_in(self, environment: str | None, public_good: PublicGood | None = None) -> TrustPolicy:
        """The same policy, by digest, as it decides in an environment and with a public-good root.

        Raises:
            TrustPolicyInvalid: it has environments, and not this one.
        """
        used = TrustPolicy(limits.in_environment(self.document, environment), self._canonical)
        used.environment, used.public_good = environment, public_good
        return used

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.document.name

    def to_json(self) -> bytes:
        """The canonical document; ``parse`` of it gives the same policy and digest."""
        return self._canonical


def parse(data: bytes) -> TrustPolicy:
    """Parse a self-contained policy.

    Args:
        data: UTF-8 JSON.

    Raises:
        TrustPolicyInvalid: not JSON, a duplicate or unknown member, a missing or ill-typed member, or
            anything else that docs/trust-policy.md forbids.
    """
    try:
        value = strict_json.loads(data, what="the trust policy", max_bytes=MAX_POLICY_BYTES)
        return _from_value(value)
    except InputError as error:
        raise TrustPolicyInvalid(error.message) from error


def load_file(path: Path) -> TrustPolicy:
    """Read a policy file (``.toml``, otherwise JSON) and inline the files that it names.

    Names are relative to the policy file.

    Raises:
        NotFound: a file cannot be read.
        TooLarge: a file is over its limit.
        TrustPolicyInvalid: see ``parse``.
    """
    data = read_limited(path, what="trust policy", max_bytes=MAX_POLICY_BYTES)
    try:
        value = tomllib.loads(data.decode("utf-8")) if path.suffix == ".toml" else strict_json.loads(data)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, InputError) as error:
        raise TrustPolicyInvalid(f"{path.name} is not readable: {error}") from error
    if not isinstance(value, dict):
        raise TrustPolicyInvalid(f"{path.name} is not a table")
    try:
        _inline(value, path.parent)
        return _from_value(value)
    except (NotFound, TooLarge):
        raise
    except InputError as error:
        raise TrustPolicyInvalid(error.message) from error


def key_window(root: KeyRoot) -> Window:
    """When a key counts.

    Raises:
        TrustPolicyInvalid: a bound is not RFC 3339 with an offset.
    """
    return trust_root.window(root.not_before, root.not_after, what=f"key {root.name!r}")


def _from_value(value: Any) -> TrustPolicy:
    canonical = strict_json.canonical(value)
    try:
        document = msgspec.convert(value, TrustDocument)
    except msgspec.ValidationError as error:
        raise TrustPolicyInvalid(f"the trust policy is not of the schema: {str(error)[:200]}") from error
    _check(document)
    return TrustPolicy(document, canonical)


def _check(document: TrustDocument) -> None:
    if document.version != VERSION:
        raise TrustPolicyInvalid(f"version is not {VERSION}")
    if not document.name or not document.name.isprintable():
        raise TrustPolicyInvalid("name is empty or not printable")
    if not document.roots or not document.signers or not document.predicate_types:
        raise TrustPolicyInvalid("roots, signers and predicate_types need at least one member each")
    _require_unique("root", (root.name for root in document.roots))
    _require_unique("signer", (signer.name for signer in document.signers))
    _check_roots(document)
    for signer in document.signers:
        _check_signer(signer, document)
    for builder in document.builders:
        _check_builder(builder, document)
    for item in document.sources:
        _check_source(item, (*item.refs, *item.branches))
    if not 1 <= document.threshold <= len(document.signers):
        raise TrustPolicyInvalid("threshold is not between 1 and the number of signers")
    if document.max_age_seconds is not None and document.max_age_seconds < 1:
        raise TrustPolicyInvalid("max_age_seconds is not positive")
    limits.check(document)
    vsa_rules.check(document)
    for environment in document.environments.values():
        _check(limits.merged(document, environment))


def _check_roots(document: TrustDocument) -> None:
    digests, keyids = [], []
    instances = {
        root.name for root in document.roots if isinstance(root, (PublicGoodRoot, SigstoreRootDocument))
    }
    for root in document.roots:
        if isinstance(root, SigstoreRootDocument):
            trust_root.parse_document(root.trusted_root)
        elif isinstance(root, KeyRoot):
            key = keys.from_pem(root.algorithm, root.key)
            key_window(root)
            if root.log is not None and root.log not in instances:
                raise TrustPolicyInvalid(f"root {root.name!r}: log names no Sigstore root of this policy")
            digests.append(key.spki_sha256)
            keyids.append(root.keyid or key.spki_sha256)
        elif isinstance(root, LayoutRoot):
            _check_layout_root(root)
        elif isinstance(root, GoogleCloudBuildRoot):
            found = signing_keys.keys_of(root)
            digests.extend(item.key.spki_sha256 for item in found)
            keyids.extend(item.keyid for item in found)
        elif isinstance(root, manifest_roots.ManifestRoot):
            manifest_roots.check(root)
    # One key under two names would count as two signers.
    _require_unique("key", digests)
    _require_unique("keyid", keyids)


def _check_layout_root(root: LayoutRoot) -> None:
    owners = [keys.from_pem(owner.algorithm, owner.key).spki_sha256 for owner in root.owners]
    _require_unique("owner of a layout root", owners)
    _require_unique("keyid of a layout root", (owner.keyid for owner in root.owners if owner.keyid))
    if not 1 <= root.threshold <= len(root.owners):
        raise TrustPolicyInvalid(f"root {root.name!r}: threshold is not between 1 and the number of owners")


def _check_signer(signer: TrustedSigner, document: TrustDocument) -> None:
    root = next((root for root in document.roots if root.name == signer.root), None)
    if root is None:
        raise TrustPolicyInvalid(f"signer {signer.name!r}: no root of that name")
    if isinstance(root, manifest_roots.ManifestRoot):
        manifest_roots.check_signer(root, signer)
        return
    if isinstance(root, (KeyRoot, LayoutRoot)):
        if signer.issuer is not None or signer.identity is not None:
            raise TrustPolicyInvalid(f"signer {signer.name!r}: a key has neither issuer nor identity")
        return
    if isinstance(root, GoogleCloudBuildRoot):
        if signer.issuer is not None:
            raise TrustPolicyInvalid(f"signer {signer.name!r}: a Cloud Build key has no issuer")
        return
    if not signer.issuer or not signer.identity:
        raise TrustPolicyInvalid(f"signer {signer.name!r}: a certificate needs issuer and identity")
    if "*" in signer.issuer:
        raise TrustPolicyInvalid(f"signer {signer.name!r}: issuer is exact, no glob")
    if not signer.identity.replace("*", "").strip("/@:."):
        raise TrustPolicyInvalid(f"signer {signer.name!r}: identity would match everybody")


def _check_builder(builder: TrustedBuilder, document: TrustDocument) -> None:
    names = {signer.name for signer in document.signers}
    if not builder.id or "*" in builder.id:
        raise TrustPolicyInvalid("a builder's id is exact, no glob")
    if "@" in builder.id and builder.ref is not None:
        raise TrustPolicyInvalid("a builder's ref stands in its id or in ref, not in both")
    if not set(builder.signers) <= names:
        raise TrustPolicyInvalid("a builder names a signer that the policy does not have")
    if builder.delegated_by is not None and ("@" in builder.delegated_by or "*" in builder.delegated_by):
        raise TrustPolicyInvalid("delegated_by is exact and has no ref; use delegator_ref")
    for ref in (builder.ref, builder.delegator_ref):
        if ref is not None:
            _check_ref(ref)


def _check_source(item: TrustedSource, refs: Iterable[str]) -> None:
    try:
        location = source.split(item.uri)
    except SourceUntrusted as error:
        raise TrustPolicyInvalid(error.message) from error
    if location.ref is not None:
        raise TrustPolicyInvalid("a source's ref belongs in refs or branches")
    for path in item.workflows:
        if not path or path.startswith("/") or "@" in path:
            raise TrustPolicyInvalid(f"{path!a} is not a path in the repository (.github/workflows/x.yml)")
    for ref in refs:
        _check_ref(ref)


def _check_ref(ref: str) -> None:
    # ``main`` could be a branch or a tag of that name: only the full name says which.
    if not ref.startswith("refs/"):
        raise TrustPolicyInvalid(f"{ref!r} is not a full ref name ({DEFAULT_BUILDER_REF}, refs/heads/main)")


def _require_unique(what: str, names: Iterable[str]) -> None:
    seen = list(names)
    if len(set(seen)) != len(seen):
        raise TrustPolicyInvalid(f"one {what} stands twice in the policy")


def _inline(value: dict[str, Any], folder: Path) -> None:
    rego = value.pop("rego_file", None)
    if rego is not None:
        value["rego"] = _text(_read(folder, rego, "rego"), "rego")
    roots = value.get("roots")
    for root in roots if isinstance(roots, list) else ():
        if not isinstance(root, dict):
            continue
        named = {member: root.pop(member) for member in _FILE_MEMBERS if member in root}
        if "trusted_root_file" in named:
            data = _read(folder, named["trusted_root_file"], "trusted root")
            root["trusted_root"] = strict_json.loads(data, what="trusted root")
        if "key_file" in named:
            root["key"] = _text(_read(folder, named["key_file"], "key"), "key")
        owners = root.get("owners")
        for owner in owners if isinstance(owners, list) else ():
            if isinstance(owner, dict) and "key_file" in owner:
                owner["key"] = _text(_read(folder, owner.pop("key_file"), "key"), "key")


def _read(folder: Path, name: object, what: str) -> bytes:
    if not isinstance(name, str):
        raise TrustPolicyInvalid(f"the file of a {what} is not named by a string")
    return read_limited(folder / name, what=what, max_bytes=trust_root.MAX_ROOT_BYTES)


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrustPolicyInvalid(f"the file of a {what} is not UTF-8") from error


__all__ = ["TrustPolicy", "key_window", "load_file", "parse"]
