"""Certificate paths of manifest signers: every way in which one may not hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provenance import x509_path
from provenance.errors import SignerCertificateInvalid, TrustPolicyInvalid
from tests.provenance.manifests.material import NOW, P256, Authority

KEY = ec.generate_private_key(P256)
CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING.dotted_string


def validate(*chain: x509.Certificate, root: Authority, **members: object) -> None:
    anchors = x509_path.anchors([root.pem], members.get("crls", ()), members.get("eku", ()))  # type: ignore[arg-type]
    x509_path.validate(chain, anchors, NOW)


def subordinate(root: Authority, name: str = "sub", **changes: object) -> Authority:
    made = Authority(name)
    made.certificate = root.issue(made.key, name, authority=True, **changes)  # type: ignore[arg-type]
    return made


def test_a_path_of_one_two_and_three_holds_in_any_order() -> None:
    root = Authority()
    sub = subordinate(root)
    lower = subordinate(sub, "lower")
    validate(root.issue(KEY), root=root)
    validate(lower.issue(KEY), sub.certificate, lower.certificate, root.certificate, root=root)


def test_without_a_certificate_of_the_policy_there_is_no_path() -> None:
    root, stranger = Authority(), Authority()
    for chain in ([stranger.issue(KEY)], [stranger.issue(KEY), stranger.certificate]):
        with pytest.raises(SignerCertificateInvalid, match="does not lead"):
            validate(*chain, root=root)


def test_a_certificate_in_a_loop_ends() -> None:
    one, two = Authority("one"), Authority("two")
    loop = [two.issue(one.key, "one", authority=True), one.issue(two.key, "two", authority=True)]
    with pytest.raises(SignerCertificateInvalid, match="does not lead"):
        validate(one.issue(KEY), *loop, root=Authority())


@pytest.mark.parametrize(
    "changes", [{"end": NOW - timedelta(seconds=1)}, {"start": NOW + timedelta(seconds=1)}]
)
def test_every_certificate_is_valid_now(changes: dict[str, object]) -> None:
    root = Authority()
    with pytest.raises(SignerCertificateInvalid, match="not valid"):
        validate(root.issue(KEY, **changes), root=root)  # type: ignore[arg-type]
    sub = subordinate(root, **changes)
    with pytest.raises(SignerCertificateInvalid, match="not valid"):
        validate(sub.issue(KEY), sub.certificate, root=root)


def test_a_signer_cannot_issue() -> None:
    root = Authority()
    signer = Authority("signer")
    signer.certificate = root.issue(signer.key, "signer")
    with pytest.raises(SignerCertificateInvalid, match="not a CA"):
        validate(signer.issue(KEY), signer.certificate, root=root)


def test_path_length_is_held() -> None:
    root = Authority()
    sub = subordinate(root, path_length=0)
    validate(sub.issue(KEY), sub.certificate, root=root)
    lower = subordinate(sub, "lower")
    with pytest.raises(SignerCertificateInvalid, match="longer"):
        validate(lower.issue(KEY), lower.certificate, sub.certificate, root=root)


def test_a_certificate_that_is_not_for_signatures_is_refused() -> None:
    root = Authority()
    with pytest.raises(SignerCertificateInvalid, match="signatures"):
        validate(root.issue(KEY, signs=False), root=root)


def test_the_extended_key_usage_of_the_policy_is_demanded_all_along() -> None:
    root = Authority()
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
    other = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    validate(root.issue(KEY, extensions=(usage,)), root=root, eku=[CODE_SIGNING])
    for extensions in ((), (other,)):
        with pytest.raises(SignerCertificateInvalid, match="usage"):
            validate(root.issue(KEY, extensions=extensions), root=root, eku=[CODE_SIGNING])
    sub = subordinate(root, extensions=(other,))
    with pytest.raises(SignerCertificateInvalid, match="usage"):
        validate(sub.issue(KEY, extensions=(usage,)), sub.certificate, root=root, eku=[CODE_SIGNING])


def test_a_critical_extension_that_is_not_understood_is_refused() -> None:
    root = Authority()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    validate(root.issue(KEY, extensions=((unknown, False),)), root=root)
    with pytest.raises(SignerCertificateInvalid, match=r"1\.2\.3\.4"):
        validate(root.issue(KEY, extensions=((unknown, True),)), root=root)
    constraints = x509.NameConstraints([x509.DNSName("acme.test")], None)
    sub = subordinate(root, extensions=((constraints, True),))
    with pytest.raises(SignerCertificateInvalid, match="not understood"):
        validate(sub.issue(KEY), sub.certificate, root=root)


def test_a_short_rsa_key_is_refused() -> None:
    root = Authority()
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (it is what is refused)
    with pytest.raises(SignerCertificateInvalid, match="2048"):
        validate(root.issue(short), root=root)


def test_with_crls_every_certificate_needs_one_in_force_and_must_not_be_in_it() -> None:
    root = Authority()
    sub, leaf = subordinate(root), root.issue(KEY)
    validate(leaf, root=root, crls=[root.crl()])
    with pytest.raises(SignerCertificateInvalid, match="revoked"):
        validate(leaf, root=root, crls=[root.crl(leaf)])
    with pytest.raises(SignerCertificateInvalid, match="no CRL"):
        validate(leaf, root=root, crls=[root.crl(end=NOW - timedelta(seconds=1))])
    with pytest.raises(SignerCertificateInvalid, match="no CRL"):
        validate(leaf, root=root, crls=[Authority().crl()])
    low = sub.issue(KEY)
    with pytest.raises(SignerCertificateInvalid, match="no CRL"):
        validate(low, sub.certificate, root=root, crls=[root.crl()])
    with pytest.raises(SignerCertificateInvalid, match="revoked"):
        validate(low, sub.certificate, root=root, crls=[root.crl(sub.certificate), sub.crl()])


def test_anchors_are_ca_certificates() -> None:
    root = Authority()
    leaf = root.issue(KEY).public_bytes(Encoding.PEM).decode()
    for certificates in ([], ["nonsense"], [leaf]):
        with pytest.raises(TrustPolicyInvalid):
            x509_path.anchors(certificates, (), ())
    with pytest.raises(TrustPolicyInvalid):
        x509_path.anchors([root.pem], (), ["not an OID"])


def test_a_subject_cannot_pose_as_several_attributes() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x,O=ACME")])
    assert name.rfc4514_string() == "CN=x\\,O=ACME"


def test_a_certificate_of_another_version_is_refused_by_its_error() -> None:
    """X.509 version 2 has no certificates of its own; the library's error for it is no ValueError."""
    der = bytearray(Authority("root").certificate.public_bytes(Encoding.DER))
    version = der.index(b"\xa0\x03\x02\x01\x02")
    der[version + 4] = 1
    with pytest.raises(SignerCertificateInvalid):
        x509_path.load_chain([bytes(der)])
