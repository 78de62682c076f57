"""The pinned certificates: recorded, unaltered, the vendors' own, and links of their chains."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import InvalidSetting
from verifier import vendor_roots
from verifier.snp.certificates import check_authority, verify_issued
from verifier.snp.chain import Anchors, crl_url
from verifier.snp.products import Product, SigningKey

_FOLDER = Path(vendor_roots.__file__).parent
_WEB_PKI = "digicert/trusted-root-g4.pem"
_TPM = tuple(entry for entry in vendor_roots.sources() if entry.file.startswith("tpm/"))


def _pem(file: str) -> bytes:
    return (_FOLDER / file).read_bytes()


def test_every_certificate_on_disk_is_recorded_with_its_source() -> None:
    on_disk = {str(path.relative_to(_FOLDER)) for path in _FOLDER.rglob("*.pem")}
    assert on_disk == {entry.file for entry in vendor_roots.sources()}
    assert all(entry.package and entry.version and entry.path for entry in vendor_roots.sources())


def test_every_certificate_loads_under_its_recorded_name() -> None:
    for entry in vendor_roots.sources():
        subject = vendor_roots.load(entry.file).subject
        assert subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == entry.subject


def test_an_altered_certificate_is_refused() -> None:
    entry = vendor_roots.sources()[0]
    swapped = _pem(vendor_roots.sources()[1].file)
    with pytest.raises(InvalidSetting, match="digest"):
        vendor_roots.check(swapped, entry)
    with pytest.raises(InvalidSetting):
        vendor_roots.check(_pem(entry.file)[:200], entry)
    with pytest.raises(InvalidSetting, match="digest"):
        vendor_roots.check(_pem(entry.file), msgspec.structs.replace(entry, sha256="0" * 64))


def test_certificates_that_are_no_x509_are_recorded_by_their_bytes() -> None:
    on_disk = {str(path.relative_to(_FOLDER)) for path in _FOLDER.rglob("*.cert")}
    assert on_disk == {entry.file for entry in vendor_roots.raw_sources()}
    for entry in vendor_roots.raw_sources():
        data = vendor_roots.load_raw(entry.file)
        with pytest.raises(InvalidSetting, match="digest"):
            vendor_roots.check_raw(data[:-1] + bytes([data[-1] ^ 1]), entry)
    with pytest.raises(InvalidSetting):
        vendor_roots.load_raw("hygon/other.cert")


@pytest.mark.parametrize("file", ["amd/ark-rome.pem", "../__init__.py", "SOURCES.toml", ""])
def test_what_is_not_recorded_is_not_loaded(file: str) -> None:
    with pytest.raises(InvalidSetting):
        vendor_roots.load(file)


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("kind", SigningKey)
def test_amds_intermediates_meet_their_profile_below_the_pinned_root(
    product: Product, kind: SigningKey
) -> None:
    anchors = Anchors()
    anchor = anchors.amd(product)
    issuer = anchors.intermediate(anchor, kind)
    assert issuer is not None
    name = f"SEV-{product}" if kind is SigningKey.VCEK else f"SEV-VLEK-{product}"
    check_authority(issuer, name, crl_url=crl_url(kind, product))
    verify_issued(issuer, anchor.certificate, name)
    verify_issued(anchor.certificate, anchor.certificate, f"ARK-{product}")


def test_they_are_the_certificates_that_public_verifiers_carry(vectors: Path) -> None:
    published = {
        hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        for path in (
            *(vectors / "vendor-roots").glob("*.pem"),
            *(vectors / "evidence").glob("*/*/*root*.pem"),
        )
        for certificate in x509.load_pem_x509_certificates(path.read_bytes())
    }
    # The root of NVIDIA's reference manifests is carried by every manifest, at the end of its chain.
    carried = {
        hashlib.sha256(base64.b64decode(text)).hexdigest()
        for path in (vectors / "evidence" / "nvidia-rim").glob("*/rim.xml")
        for text in re.findall(rb"<ds:X509Certificate>([^<]+)<", path.read_bytes())
    }
    # Not of a hardware vendor, or of TPMs: public verifiers of TEEs do not carry these.
    elsewhere = (_WEB_PKI, "tpm/")
    ours = {entry.sha256 for entry in vendor_roots.sources() if not entry.file.startswith(elsewhere)}
    assert ours <= published | carried


@pytest.mark.parametrize("entry", _TPM, ids=lambda entry: entry.file)
def test_roots_of_tpm_vendors_are_self_signed_authorities(entry: vendor_roots.VendorCertificate) -> None:
    root = vendor_roots.load(entry.file)
    assert root.subject == root.issuer
    root.verify_directly_issued_by(root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert root.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert entry.registry == "GitHub"
    assert re.fullmatch("[0-9a-f]{40}", entry.version)


def test_roots_of_tpm_vendors_are_there_once() -> None:
    assert len({entry.sha256 for entry in _TPM}) == len(_TPM) >= 12


def test_no_file_is_a_copy_of_a_third_party_file(vectors: Path) -> None:
    ours = {path.read_bytes() for path in _FOLDER.rglob("*.pem")}
    assert not ours & {path.read_bytes() for path in (vectors / "vendor-roots").iterdir()}


def test_the_public_root_is_one_of_mozillas() -> None:
    certifi = pytest.importorskip("certifi")
    bundle = Path(certifi.where()).read_text("utf-8")
    assert vendor_roots.load(_WEB_PKI).public_bytes(Encoding.PEM).decode() in bundle
