"""Which roots of a trust policy speak for a format, and what they have in common.

Order of ``judge``: the document's SHA-256 stands in an ``unverified`` root -> accepted unverified, whatever
signature it carries; otherwise a signature by a root of the format is demanded. Which root is asked, the
signature says by what it carries: a certificate chain is for ``x509`` roots, a bare signature for keys.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from provenance import keys, x509_path
from provenance.errors import SignerCertificateInvalid, SignerUntrusted
from provenance.model import AuthenticStatement, Signer
from provenance.predicates.source import glob_matches
from provenance.sigstore import trust_root
from provenance.trust.manifest_roots import ManifestKeyRoot, UnverifiedRoot, X509Root

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from common.checks import Checks
    from provenance.keys import VerificationKey
    from provenance.model import Statement
    from provenance.trust import TrustPolicy


class KeyAnchor(msgspec.Struct, frozen=True):
    """A key root with its key loaded."""

    root: ManifestKeyRoot
    key: VerificationKey

    @property
    def signer(self) -> Signer:
        """Who signed, if this key did."""
        return Signer(kind="key", identity=f"key:{self.key.spki_sha256}", root=self.root.name)


class CertificateAnchor(msgspec.Struct, frozen=True):
    """An X.509 root with its certificates loaded."""

    root: X509Root
    anchors: x509_path.Anchors

    def signer(self, chain: Sequence[x509.Certificate], now: datetime) -> Signer:
        """Who signed, if the first certificate's key did.

        The identity is the subject's distinguished name as text (RFC 4514).

        Raises:
            SignerCertificateInvalid: no path, or no alternative name that the root asks for.
        """
        x509_path.validate(chain, self.anchors, now)
        names = x509_path.names_of(chain[0])
        wanted = self.root.alternative_names
        if wanted and not any(glob_matches(pattern, name) for pattern in wanted for name in names):
            raise SignerCertificateInvalid(
                "no alternative name of the certificate is one that the root asks for"
            )
        leaf = chain[0]
        return Signer(
            kind="certificate",
            identity=leaf.subject.rfc4514_string(),
            root=self.root.name,
            certificate=hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
            serial=f"{leaf.serial_number:x}",
            key=keys.from_certificate(leaf).spki_sha256,
        )


class FormatRoots:
    """The roots of a trust policy that are for one format. Loaded once; thread-safe."""

    def __init__(self, trust: TrustPolicy, name: str) -> None:
        """Load the roots of ``trust`` for the format ``name``."""
        self._format = name
        self._keys: list[KeyAnchor] = []
        self._certificates: list[CertificateAnchor] = []
        self._unverified: dict[str, UnverifiedRoot] = {}
        for root in trust.document.roots:
            if isinstance(root, ManifestKeyRoot) and name in root.formats:
                self._keys.append(KeyAnchor(root, keys.from_pem(root.algorithm, root.key)))
            elif isinstance(root, X509Root) and name in root.formats:
                anchors = x509_path.anchors(root.certificates, root.crls, root.eku)
                self._certificates.append(CertificateAnchor(root, anchors))
            elif isinstance(root, UnverifiedRoot) and name in root.formats:
                self._unverified |= dict.fromkeys(root.digests, root)

    def unverified(self, document: bytes) -> UnverifiedRoot | None:
        """The root that accepts this very document without a verified signature, or None."""
        return self._unverified.get(hashlib.sha256(document).hexdigest())

    def keys(self, now: datetime) -> tuple[KeyAnchor, ...]:
        """Keys that count at ``now``."""
        return tuple(
            anchor
            for anchor in self._keys
            if trust_root.window(anchor.root.not_before, anchor.root.not_after, what="key").contains(now)
        )

    def certified(
        self, chain: Sequence[x509.Certificate], now: datetime
    ) -> tuple[CertificateAnchor, Signer]:
        """The first X.509 root that the chain leads to, and who signed.

        Raises:
            SignerUntrusted: no such root is for this format.
            SignerCertificateInvalid: it leads to none; the first root's reason.
        """
        first: SignerCertificateInvalid | None = None
        for anchor in self._certificates:
            try:
                return anchor, anchor.signer(chain, now)
            except SignerCertificateInvalid as error:
                first = first or error
        raise first or SignerUntrusted(
            f"the {self._format} manifest carries a certificate, and no X.509 root is for this format"
        )


def authentic_statement(
    document: bytes, statement: Statement, signer: Signer | None, checks: Checks, now: datetime
) -> AuthenticStatement:
    """What a reader of manifests returns. Such signatures carry no time of their own: they count from now.

    Args:
        document: the bytes received.
        statement: the normal form.
        signer: None where nobody's signature was verified.
        checks: every check made.
        now: the instant of judgement.
    """
    return AuthenticStatement(
        envelope=document,
        attestation=hashlib.sha256(document).hexdigest(),
        statement=statement,
        signers=() if signer is None else (signer,),
        checks=checks.records,
        signed_at=now,
        unverified=signer is None,
    )


def accept_unverified(root: UnverifiedRoot, checks: Checks) -> None:
    """Record that nothing was verified, and by whose leave."""
    checks.skip(
        "manifest.signature",
        f"accepted without a verified signature: the unverified root {root.name!a} names its SHA-256",
        source="trust policy, roots of kind unverified",
    )
