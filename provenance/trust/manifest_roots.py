"""Trust roots for reference-value manifests (docs/manifests.md), and what they must satisfy.

* ``manifest-key``: a public key, for formats that it is named for.
* ``x509``: CA certificates; signers are named by the subject of their certificate.
* ``unverified``: documents that are accepted although nobody's signature on them is verified, each named
  by its SHA-256. Their values are marked and never count as trusted ones.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Final

import msgspec

from common.encoding import hex_decode
from common.errors import InputError
from provenance import keys, x509_path
from provenance.errors import TrustPolicyInvalid
from provenance.manifests.corim import cose
from provenance.manifests.values import FORMATS
from provenance.sigstore import trust_root

if TYPE_CHECKING:
    from provenance.trust.model import TrustedSigner

_SHA256_BYTES: Final = 32
MAX_DIGESTS: Final = 4096


class _Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class ManifestKeyRoot(_Root, frozen=True, tag="manifest-key", tag_field="kind"):
    """A public key that signs manifests.

    Attributes:
        name: what signers refer to.
        algorithm: one of ``provenance.keys.ALGORITHMS``.
        key: SubjectPublicKeyInfo, PEM.
        formats: what it may sign, of ``FORMATS``.
        keyid: how signatures name it; the SHA-256 of the SubjectPublicKeyInfo always works.
        profiles: CoRIM profiles that are accepted (URI, or ``oid:...``).
        activation: CoMIDs count only if a tag list that is valid now names them.
        tag_lists: signed CoRIMs (base64) whose tag lists activate CoMIDs of others; signed by this root.
        not_before: RFC 3339; the key does not count before.
        not_after: RFC 3339; the key does not count after.
    """

    name: str
    algorithm: str
    key: str
    formats: tuple[str, ...]
    keyid: str | None = None
    profiles: tuple[str, ...] = ()
    activation: bool = False
    tag_lists: tuple[str, ...] = ()
    not_before: str | None = None
    not_after: str | None = None


class X509Root(_Root, frozen=True, tag="x509", tag_field="kind"):
    """CAs whose certificates sign manifests.

    Attributes:
        name: what signers refer to.
        certificates: CA certificates, PEM; each is an anchor by itself.
        formats: what their certificates may sign, of ``FORMATS``.
        eku: extended key usages (dotted) that the signer's certificate must have.
        alternative_names: globs, one of which an alternative name must match; any, if empty.
        crls: PEM; with one, every certificate of the path needs a CRL in force.
        profiles: as for a key.
        activation: as for a key.
        tag_lists: as for a key.
    """

    name: str
    certificates: tuple[str, ...]
    formats: tuple[str, ...]
    eku: tuple[str, ...] = ()
    alternative_names: tuple[str, ...] = ()
    crls: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    activation: bool = False
    tag_lists: tuple[str, ...] = ()


class UnverifiedRoot(_Root, frozen=True, tag="unverified", tag_field="kind"):
    """Documents that are accepted without a verified signature.

    Attributes:
        name: for records.
        formats: formats of the documents, of ``FORMATS``.
        digests: SHA-256 of each document, lower-case hex.
        profiles: as for a key.
    """

    name: str
    formats: tuple[str, ...]
    digests: tuple[str, ...]
    profiles: tuple[str, ...] = ()


ManifestRoot = ManifestKeyRoot | X509Root | UnverifiedRoot


def check(root: ManifestRoot) -> None:
    """Hold a root to its rules.

    Raises:
        TrustPolicyInvalid: unknown format, a key, certificate, digest or window that cannot be read.
    """
    if not root.formats or not set(root.formats) <= set(FORMATS):
        raise TrustPolicyInvalid(f"root {root.name!r}: formats is not of {', '.join(FORMATS)}")
    if isinstance(root, UnverifiedRoot):
        _check_digests(root)
        return
    if isinstance(root, ManifestKeyRoot):
        keys.from_pem(root.algorithm, root.key)
        trust_root.window(root.not_before, root.not_after, what=f"key {root.name!r}")
        if "swid" in root.formats:
            raise TrustPolicyInvalid(f"root {root.name!r}: SWID tags are signed with certificates")
        if "corim" in root.formats and root.algorithm not in cose.ALGORITHMS:
            raise TrustPolicyInvalid(f"root {root.name!r}: no COSE algorithm is read for {root.algorithm}")
    else:
        x509_path.anchors(root.certificates, root.crls, root.eku)
        if any(not pattern.replace("*", "").strip("/@:.") for pattern in root.alternative_names):
            raise TrustPolicyInvalid(f"root {root.name!r}: an alternative name would match everybody")
    if root.tag_lists and not root.activation:
        raise TrustPolicyInvalid(f"root {root.name!r}: tag_lists without activation would decide nothing")
    tag_lists(root)


def check_signer(root: ManifestRoot, signer: TrustedSigner) -> None:
    """Hold an entry of ``signers`` that names one of these roots to its rules.

    Raises:
        TrustPolicyInvalid: an issuer; an identity where there is none, or a missing or boundless one.
    """
    if signer.issuer is not None:
        raise TrustPolicyInvalid(f"signer {signer.name!r}: only OIDC identities have an issuer")
    if not isinstance(root, X509Root):
        if signer.identity is not None:
            raise TrustPolicyInvalid(f"signer {signer.name!r}: a key or unverified root has no identity")
        return
    if signer.identity is None or not signer.identity.replace("*", "").strip("/@:.,="):
        raise TrustPolicyInvalid(f"signer {signer.name!r}: identity is missing, or would match everybody")


def tag_lists(root: ManifestKeyRoot | X509Root) -> tuple[bytes, ...]:
    """The signed CoRIMs with tag lists that a root carries.

    Raises:
        TrustPolicyInvalid: not base64.
    """
    try:
        return tuple(b64decode(item, validate=True) for item in root.tag_lists)
    except (binascii.Error, ValueError) as error:
        raise TrustPolicyInvalid(f"root {root.name!r}: a tag list is not base64") from error


def _check_digests(root: UnverifiedRoot) -> None:
    if not 1 <= len(root.digests) <= MAX_DIGESTS or len(set(root.digests)) != len(root.digests):
        raise TrustPolicyInvalid(f"root {root.name!r}: digests are none, too many, or one stands twice")
    try:
        for digest in root.digests:
            hex_decode(digest, what="a digest of an unverified document", length=_SHA256_BYTES)
    except InputError as error:
        raise TrustPolicyInvalid(f"root {root.name!r}: {error.message}") from error
