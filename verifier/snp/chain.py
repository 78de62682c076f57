"""From a leaf to a pinned root: VCEK -> ASK -> ARK, VLEK -> ASVK -> ARK of one product.

Order: take the certificates apart; choose the anchor; root, intermediate, leaf against their profiles;
names and signatures downwards. Dates are not looked at here: the window is held against ``now``
at every use, so that a chain may be cached.

Invariants:

* An ARK is trusted because its bytes equal a pinned one, never because of what it says. One that comes
  with evidence can only select among the anchors.
* Without an ARK in the evidence AMD's own is meant; an extra anchor (test firmware) must be named by
  sending its ARK.
* An intermediate that evidence leaves out is the pinned one, for AMD's anchors alone.
* The report's SIGNING_KEY decides which slot is used; the two are never tried in turn.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509  # noqa: TC002 (msgspec resolves it at run time)
from cryptography.hazmat.primitives.serialization import Encoding

from common.checks import Check, Checks, Verdict
from common.encoding import b64url_decode
from common.errors import InvalidSetting, Malformed, TooLarge
from common.snp_certificate_table import parse_certificate_table
from verifier import vendor_roots
from verifier.errors import CertificateInvalid, EndorsementMissing, RootUntrusted
from verifier.snp.certificates import (
    check_authority,
    common_name,
    load_certificate,
    verify_issued,
)
from verifier.snp.products import Product, SigningKey
from verifier.snp.vek import Vek, check_vek

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.errors import TouchstoneError
    from wire.evidence import SnpCertificate

KDS: Final = "https://kdsintf.amd.com"
_TYPES: Final = frozenset({"VCEK", "VLEK", "ASK", "ARK"})
# 64 KiB of evidence before base64 (verification checklist, common rules).
_MAX_TEXT: Final = 64 * 1024 * 4 // 3
_SOURCE: Final = "AMD 57230 section 3; RFC 5280 section 6"


class Anchor(msgspec.Struct, frozen=True):
    """A root that is trusted.

    Attributes:
        product: product line it endorses.
        certificate: the ARK.
        der: its bytes, which are what is compared.
        sha256: of ``der``, hex.
        amd: AMD's own, as opposed to one trusted by explicit configuration.
    """

    product: Product
    certificate: x509.Certificate
    der: bytes
    sha256: str
    amd: bool


class VerifiedChain(msgspec.Struct, frozen=True):
    """A leaf whose signatures lead to an anchor. Its dates and revocation are judged at each use.

    Attributes:
        leaf: the VCEK or VLEK.
        issuer: the ASK or ASVK.
        anchor: the root.
        not_before: latest start of the three.
        not_after: earliest end of the three.
        endorsements: SHA-256 of leaf, intermediate, root, hex.
        checks: records of what was verified.
    """

    leaf: Vek
    issuer: x509.Certificate
    anchor: Anchor
    not_before: datetime
    not_after: datetime
    endorsements: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def certificates(self) -> tuple[tuple[str, x509.Certificate], ...]:
        """Leaf, intermediate and root with their names."""
        return (
            (str(self.leaf.kind), self.leaf.certificate),
            ("ASVK" if self.leaf.kind is SigningKey.VLEK else "ASK", self.issuer),
            ("ARK", self.anchor.certificate),
        )


class Anchors:
    """The trusted roots of every product.

    Args:
        extra: further ARKs (test firmware), trusted as if they were AMD's.

    Raises:
        InvalidSetting: an extra anchor does not meet the profile of an ARK.
    """

    def __init__(self, extra: Sequence[x509.Certificate] = ()) -> None:
        """Load the pinned certificates and compare their digests."""
        self._amd = {product: _amd_anchor(product) for product in Product}
        self._extra = [_extra_anchor(certificate) for certificate in extra]
        self._intermediates = {
            (product, kind): vendor_roots.load(_file(_issuer_role(kind), product))
            for product in Product
            for kind in SigningKey
        }

    def select(self, product: Product, ark: bytes | None) -> Anchor | None:
        """The anchor of ``product`` that equals ``ark``; AMD's own where none is given."""
        if ark is None:
            return self._amd[product]
        candidates = [self._amd[product], *self._extra]
        return next((a for a in candidates if a.product is product and a.der == ark), None)

    def amd(self, product: Product) -> Anchor:
        """AMD's own root of ``product``."""
        return self._amd[product]

    def by_digest(self, sha256: str) -> Anchor:
        """The anchor whose DER has this SHA-256 (hex), one that ``select`` returned before."""
        return next(a for a in (*self._amd.values(), *self._extra) if a.sha256 == sha256)

    def intermediate(self, anchor: Anchor, kind: SigningKey) -> x509.Certificate | None:
        """The pinned ASK or ASVK below one of AMD's anchors."""
        return self._intermediates[anchor.product, kind] if anchor.amd else None


def certificates_of(certificates: tuple[SnpCertificate, ...], auxblob: str | None) -> dict[str, bytes]:
    """Certificates that came with evidence, by type; from the list or the raw table, not both.

    Raises:
        TooLarge: more than 64 KiB in all.
        Malformed: both forms, an unknown or repeated type, not base64url, a broken table.
    """
    size = sum(len(entry.data) for entry in certificates) + len(auxblob or "")
    if size > _MAX_TEXT:
        raise TooLarge("the certificates of the evidence have more than 64 KiB")
    if auxblob is not None:
        if certificates:
            raise Malformed("certificates and auxblob are alternatives: send one")
        return parse_certificate_table(b64url_decode(auxblob, what="auxblob"))
    found: dict[str, bytes] = {}
    for entry in certificates:
        if entry.type not in _TYPES or entry.type in found:
            raise Malformed("a certificate's type is unknown, or occurs twice")
        found[entry.type] = b64url_decode(entry.data, what=f"{entry.type} certificate")
    return found


def verify_chain(
    certificates: dict[str, bytes], kind: SigningKey, product: Product, anchors: Anchors
) -> VerifiedChain:
    """Verify everything about a chain that does not depend on the time.

    Raises:
        EndorsementMissing: no leaf of ``kind``, or no intermediate.
        RootUntrusted: the ARK given is none of the anchors.
        Malformed, CertificateInvalid: a certificate cannot be parsed, misses its profile, or is not
            signed by the next.
    """
    checks = Checks()
    ark = certificates.get("ARK")
    anchor = anchors.select(product, ark)
    if anchor is None:
        checks.fail(
            "snp.chain.root",
            RootUntrusted,
            expected=f"the pinned ARK-{product}",
            observed=hashlib.sha256(ark or b"").hexdigest(),
            source=_SOURCE,
            note="the ARK that came with the evidence is not a pinned root",
        )
    checks.require(
        "snp.chain.root", ok=True, error=RootUntrusted, expected=anchor.sha256, observed=anchor.sha256,
        source=_SOURCE, note="" if anchor.amd else "an anchor trusted by explicit configuration",
    )  # fmt: skip
    leaf_der = certificates.get(str(kind))
    if leaf_der is None:
        checks.fail(
            "snp.chain.leaf", EndorsementMissing, expected=str(kind), observed=sorted(certificates),
            source=_SOURCE, note=f"the report was signed by a {kind}, and no such certificate is at hand",
        )  # fmt: skip
    issuer = _issuer(certificates, kind, anchor, anchors, checks)
    name = _issuer_name(kind, product)
    with _recorded(checks, "snp.chain.intermediate", name):
        check_authority(issuer, name, crl_url=crl_url(kind, product) if anchor.amd else None)
        verify_issued(issuer, anchor.certificate, name)
    with _recorded(checks, "snp.chain.leaf", f"SEV-{kind}"):
        leaf = check_vek(leaf_der, kind, product)
        verify_issued(leaf.certificate, issuer, f"SEV-{kind}")
    chain = (leaf.certificate, issuer, anchor.certificate)
    return VerifiedChain(
        leaf=leaf,
        issuer=issuer,
        anchor=anchor,
        not_before=max(certificate.not_valid_before_utc for certificate in chain),
        not_after=min(certificate.not_valid_after_utc for certificate in chain),
        endorsements=(leaf.sha256, _sha256(issuer), anchor.sha256),
        checks=checks.records,
    )


def crl_url(kind: SigningKey, product: Product) -> str:
    """Where AMD publishes the revocation list for a slot."""
    return f"{KDS}/{kind.lower()}/v1/{product}/crl"


class _recorded:  # noqa: N801 (used as a function)
    """Records the outcome of a block as one check; a certificate error leaves with the records."""

    def __init__(self, checks: Checks, name: str, expected: str) -> None:
        self._checks = checks
        self._name = name
        self._expected = expected

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            passed = Check(self._name, Verdict.PASS, self._expected, self._expected, _SOURCE)
            self._checks.extend((passed,))
        elif isinstance(error, (CertificateInvalid, Malformed)):
            self._attach(error)

    def _attach(self, error: TouchstoneError) -> None:
        failed = Check(self._name, Verdict.FAIL, self._expected, None, _SOURCE, error.code, error.message)
        error.checks = (*self._checks.records, failed)


def _issuer(
    certificates: dict[str, bytes],
    kind: SigningKey,
    anchor: Anchor,
    anchors: Anchors,
    checks: Checks,
) -> x509.Certificate:
    role = _issuer_role(kind).upper()
    der = certificates.get("ASK")
    if der is not None:
        return load_certificate(der, f"the {role} certificate")
    pinned = anchors.intermediate(anchor, kind)
    if pinned is None:
        checks.fail(
            "snp.chain.intermediate", EndorsementMissing, expected=role, source=_SOURCE,
            note=f"no {role} certificate came with the evidence",
        )  # fmt: skip
    return pinned


def _issuer_role(kind: SigningKey) -> str:
    return "ask" if kind is SigningKey.VCEK else "asvk"


def _issuer_name(kind: SigningKey, product: Product) -> str:
    return f"SEV-{product}" if kind is SigningKey.VCEK else f"SEV-VLEK-{product}"


def _file(role: str, product: Product) -> str:
    return f"amd/{role}-{product.lower()}.pem"


def _sha256(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _amd_anchor(product: Product) -> Anchor:
    certificate = vendor_roots.load(_file("ark", product))
    check_authority(certificate, f"ARK-{product}", crl_url=crl_url(SigningKey.VCEK, product))
    return _anchor(certificate, product, amd=True)


def _extra_anchor(certificate: x509.Certificate) -> Anchor:
    try:
        name = common_name(certificate.subject)
        product = next((product for product in Product if name == f"ARK-{product}"), None)
        if product is None:
            raise InvalidSetting(f"an extra anchor is called {name!r}, not ARK- and a product")
        check_authority(certificate, name, crl_url=None)
        verify_issued(certificate, certificate, name)
    except CertificateInvalid as error:
        raise InvalidSetting(f"an extra anchor is no ARK: {error.message}") from error
    return _anchor(certificate, product, amd=False)


def _anchor(certificate: x509.Certificate, product: Product, *, amd: bool) -> Anchor:
    der = certificate.public_bytes(Encoding.DER)
    return Anchor(product, certificate, der, hashlib.sha256(der).hexdigest(), amd)
