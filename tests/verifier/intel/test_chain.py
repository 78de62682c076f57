"""Chains, the QE report, and what a PCK says: each rule broken alone."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import InvalidSetting, Malformed, TouchstoneError
from testkit.intel_platform import PCESVN, IntelPlatform, point, sgx_extension, sgx_pair
from verifier.errors import (
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    RootUntrusted,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.intel import der
from verifier.intel.certificates import Anchors, intel_root, load_chain, verify_raw
from verifier.intel.endorsements import SignedDocument
from verifier.intel.pck import check_pck
from verifier.intel.quote import parse_quote
from verifier.tdx.evidence import TdxEvidence
from verifier.tdx.settings import TdxSettings
from verifier.tdx.verifier import TdxVerifier

from .helpers import BOUND, failed, verify_enclave, verify_td


def _sealed(platform: IntelPlatform, **parts: object) -> bytes:
    signed = parse_quote(platform.td_quote()).signed
    return platform.seal(signed, "tdx", **parts)  # type: ignore[arg-type]


def _with_chain(platform: IntelPlatform, pem: bytes) -> bytes:
    return _sealed(platform, certification=(5, pem))


def test_a_processor_ca_is_as_good_as_a_platform_ca() -> None:
    processor = IntelPlatform(ca="processor")
    verified = verify_td(processor)
    assert failed(verified) == []
    assert verified.claims["tdx"]["pck_ca"] == "processor"
    assert verify_enclave(processor).claims["sgx"]["tcb_status"] == "UpToDate"


def test_a_root_of_somebody_else_is_not_trusted(platform: IntelPlatform, stranger: IntelPlatform) -> None:
    with pytest.raises(RootUntrusted):
        verify_td(platform, stranger.td_quote())


def test_intels_names_alone_are_nothing(platform: IntelPlatform) -> None:
    verifier = TdxVerifier(TdxSettings(), platform.endorsements())
    with pytest.raises(RootUntrusted):
        verifier.verify(TdxEvidence(quote=b64url_encode(platform.td_quote())), BOUND, None, platform.now)


def test_the_root_may_be_left_out(platform: IntelPlatform) -> None:
    pem = platform.pck.pem + platform.authorities["platform"].pem
    assert failed(verify_td(platform, _with_chain(platform, pem))) == []


def test_another_certificate_of_the_same_root(platform: IntelPlatform) -> None:
    """Intel's root exists in two certificates of one key: either may end a chain, a damaged one may not."""
    twin = platform.twin_of_root()
    pem = platform.pck.pem + platform.authorities["platform"].pem
    assert failed(verify_td(platform, _with_chain(platform, pem + twin))) == []
    damaged = x509.load_pem_x509_certificate(twin).public_bytes(Encoding.DER)
    damaged = damaged[:-1] + bytes((damaged[-1] ^ 1,))
    text = x509.load_der_x509_certificate(damaged).public_bytes(Encoding.PEM)
    with pytest.raises(RootUntrusted):
        verify_td(platform, _with_chain(platform, pem + text))
    chain = platform.signing.pem + text
    document = SignedDocument(platform.signed("tcbInfo", platform.tcb_info()).body, chain)
    with pytest.raises(CertificateInvalid):
        verify_td(platform, endorsements=platform.endorsements(tcb_info=document))


def test_a_name_that_cannot_be_read(platform: IntelPlatform) -> None:
    """The library parses names when they are asked for: text that is no UTF-8 fails only then."""
    der_ = platform.authorities["platform"].certificate.public_bytes(Encoding.DER)
    broken = der_.replace(b"\x0c\x11Intel Corporation", b"\x0c\x11Intel Corporati\xff\xff")
    assert broken != der_
    text = x509.load_der_x509_certificate(broken).public_bytes(Encoding.PEM)
    with pytest.raises((Malformed, CertificateInvalid)):
        verify_td(platform, _with_chain(platform, platform.pck.pem + text + platform.root_key.pem))


def test_order_and_number_of_certificates(platform: IntelPlatform) -> None:
    pck, ca, root = platform.pck.pem, platform.authorities["platform"].pem, platform.root_key.pem
    with pytest.raises(CertificateInvalid):
        verify_td(platform, _with_chain(platform, ca + pck + root))
    for pem in (pck, pck + ca + root + root, b"", b"not PEM", pck + b"text" + ca + root):
        with pytest.raises((Malformed, RootUntrusted)):
            verify_td(platform, _with_chain(platform, pem))


def test_a_pck_of_another_authority(platform: IntelPlatform, stranger: IntelPlatform) -> None:
    pem = stranger.pck.pem + platform.authorities["platform"].pem + platform.root_key.pem
    with pytest.raises(CertificateInvalid):
        verify_td(platform, _sealed(platform, certification=(5, pem), pck_key=stranger.pck.key))


def test_tcb_signing_issues_no_pcks(platform: IntelPlatform) -> None:
    pck = platform.issue(
        "Intel SGX PCK Certificate", platform.signing, extension=sgx_extension(platform.pck_values)
    )
    with pytest.raises(CertificateInvalid):
        verify_td(platform, _sealed(
            platform, certification=(5, platform.chain(pck, platform.signing)), pck_key=pck.key
        ))  # fmt: skip


def test_dates_of_the_pck(platform: IntelPlatform) -> None:
    for start, error in (
        (timedelta(days=1), CertificateNotYetValid),
        (timedelta(days=-20), CertificateExpired),
    ):
        ca = platform.authorities["platform"]
        pck = platform.issue(
            "Intel SGX PCK Certificate", ca, extension=sgx_extension(platform.pck_values),
            start=platform.now + start, life=timedelta(days=10),
        )  # fmt: skip
        with pytest.raises(error):
            verify_td(platform, _sealed(
                platform, certification=(5, platform.chain(pck, ca)), pck_key=pck.key
            ))  # fmt: skip


@pytest.mark.parametrize("who", ["pck", "ca", "signing"])
def test_what_a_list_names_is_revoked(platform: IntelPlatform, who: str) -> None:
    ca = platform.authorities["platform"]
    if who == "pck":
        crl = SignedDocument(platform.crl(ca, [platform.pck.certificate]), platform.chain(ca))
        endorsements = platform.endorsements(pck_crl=crl)
    else:
        named = ca if who == "ca" else platform.signing
        endorsements = platform.endorsements(root_crl=platform.crl(platform.root_key, [named.certificate]))
    with pytest.raises(CertificateRevoked):
        verify_td(platform, endorsements=endorsements)


def test_a_qe_report_of_another_key(platform: IntelPlatform) -> None:
    with pytest.raises(SignatureInvalid):
        verify_td(platform, _sealed(platform, pck_key=ec.generate_private_key(ec.SECP256R1())))


def test_the_whole_report_data_of_the_qe_counts(platform: IntelPlatform) -> None:
    """Also its second half, which others do not compare."""
    digest = hashlib.sha256(point(platform.attestation_key) + bytes(range(32))).digest()
    for report_data in (bytes(64), digest + b"\x01", digest.ljust(63, b"\0") + b"\x01"):
        with pytest.raises(SignatureInvalid):
            verify_td(platform, _sealed(platform, qe={"report_data": report_data}))


def test_authentication_data_of_any_length_is_hashed(platform: IntelPlatform) -> None:
    for auth_data in (b"", b"\x01", bytes(300)):
        assert failed(verify_td(platform, _sealed(platform, auth_data=auth_data))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"mr_signer": bytes(32)},
        {"isv_prod_id": 1},
        {"misc_select": b"\x01\0\0\0"},
        {"flags": 0x17},
        {"flags": 0x05},
    ],
)
def test_another_quoting_enclave_is_refused(platform: IntelPlatform, change: dict[str, object]) -> None:
    with pytest.raises(UnsupportedEvidence):
        verify_td(platform, _sealed(platform, qe=change))


def test_a_debuggable_quoting_enclave_is_refused_whatever_its_identity_says(
    platform: IntelPlatform,
) -> None:
    lax = platform.qe_identity(attributes="00" * 16, attributesMask="00" * 16)
    with pytest.raises(UnsupportedEvidence):
        verify_td(
            platform, _sealed(platform, qe={"flags": 0x17}),
            endorsements=platform.endorsements(qe_identity=platform.signed("enclaveIdentity", lax)),
        )  # fmt: skip


@pytest.mark.parametrize("break_it", ["ppid", "tcb", "twice", "negative", "trailing", "big", "none"])
def test_a_broken_extension_is_a_broken_certificate(platform: IntelPlatform, break_it: str) -> None:
    good = sgx_extension(platform.pck_values)
    broken = {
        "ppid": sgx_extension(platform.pck_values | {"ppid": bytes(15)}),
        "tcb": sgx_extension(platform.pck_values | {"components": (1,) * 15}),
        "twice": sgx_extension(platform.pck_values | {"more": sgx_pair("4", b"\x04\x06" + bytes(6))}),
        "negative": good.replace(b"\x02\x01\x0b", b"\x02\x01\x8b"),
        "trailing": good + b"\0",
        "big": sgx_extension(platform.pck_values | {"components": (256,) + (1,) * 15}),
        "none": None,
    }[break_it]
    ca = platform.authorities["platform"]
    pck = platform.issue("Intel SGX PCK Certificate", ca, extension=broken)
    with pytest.raises(CertificateInvalid):
        check_pck(pck.certificate)


def test_what_the_extension_says(platform: IntelPlatform) -> None:
    pck = check_pck(platform.pck.certificate)
    assert pck.ppid == bytes(range(16))
    assert pck.tcb.pcesvn == PCESVN
    assert (pck.sgx_type, pck.smt_enabled, pck.platform_instance_id) == (
        "Scalable", True, bytes(range(16, 32)),
    )  # fmt: skip


def test_the_pinned_root_is_intels() -> None:
    root = intel_root()
    assert root.intel
    assert root.sha256 == "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"


def test_an_extra_anchor_must_be_a_root(platform: IntelPlatform) -> None:
    with pytest.raises(InvalidSetting):
        Anchors((platform.signing.certificate,))


def test_signatures_with_components_out_of_range(platform: IntelPlatform) -> None:
    key = platform.pck.key.public_key()
    for signature in (bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32):
        assert not verify_raw(key, signature, b"data")


@given(st.binary(max_size=600))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    for read in (
        lambda: der.by_oid(data, "x"),
        lambda: der.object_identifier(data, "x"),
        lambda: load_chain(data, "x"),
        lambda: load_chain(b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n", "x"),
    ):
        try:
            read()
        except TouchstoneError:
            continue
