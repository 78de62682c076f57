"""Revocation: OCSP responses and lists, good, bad, stale, foreign and missing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.nvidia_authority import START, Issuer, NvidiaAuthority
from testkit.nvidia_device import TestDevice
from tests.verifier.nvidia.conftest import NOW, PARTIAL, verify
from verifier.errors import CertificateRevoked, CrlExpired, CrlInvalid, CrlMissing
from verifier.model import VerifiedEvidence
from verifier.nvidia.collateral import FixedCollateral, FolderCollateral

REVOKED = ocsp.OCSPCertStatus.REVOKED


def judge(
    device: TestDevice, *responses: bytes, crls: tuple[bytes, ...] = (), **changes: Any
) -> VerifiedEvidence:
    """With these responses and lists alone, and no manifests."""
    return verify(device, collateral=FixedCollateral(ocsp=responses, crls=crls), **changes)


def pairs(device: TestDevice) -> list[tuple[Issuer, x509.Certificate]]:
    """Issuer and certificate of each authority below the root, the boot-ROM's first."""
    authority = device.authority
    return [
        (authority.provisioner, device.brom.certificate),
        (authority.identity, authority.provisioner.certificate),
        (authority.root, authority.identity.certificate),
    ]


def test_responses_of_delegates_and_of_issuers_themselves_count(gpu: TestDevice) -> None:
    assert judge(gpu, *gpu.status()).claims["nvidia"]["revocation"] == "good"
    direct = [issuer.ocsp(certificate) for issuer, certificate in pairs(gpu)]
    assert judge(gpu, *direct).claims["nvidia"]["revocation"] == "good"


def test_lists_cover_what_their_issuers_issued(gpu: TestDevice) -> None:
    brom = pairs(gpu)[0][0].ocsp(gpu.brom.certificate)
    lists = tuple(issuer.crl() for issuer, _ in pairs(gpu)[1:])
    assert judge(gpu, brom, crls=lists).claims["nvidia"]["revocation"] == "good"
    with pytest.raises(CrlMissing):
        judge(gpu, crls=lists)


@pytest.mark.parametrize("position", range(3))
def test_every_authority_must_be_covered_where_it_is_required(gpu: TestDevice, position: int) -> None:
    responses = [one for place, one in enumerate(gpu.status()) if place != position]
    with pytest.raises(CrlMissing):
        judge(gpu, *responses)
    verified = judge(gpu, *responses, settings=PARTIAL)
    assert verified.claims["nvidia"]["revocation"] == "unknown"
    chain = verified.claims["nvidia"]["x-nvidia-gpu-attestation-report-cert-chain"]
    assert chain["x-nvidia-cert-ocsp-status"] == "unknown"


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("listed", [False, True], ids=["ocsp", "crl"])
@pytest.mark.parametrize("setting", [None, PARTIAL], ids=["require", "if-present"])
def test_a_revoked_authority_is_refused(gpu: TestDevice, position: int, listed: bool, setting: Any) -> None:
    issuer, certificate = pairs(gpu)[position]
    responses = list(gpu.status())
    del responses[position]
    if listed:
        with pytest.raises(CertificateRevoked):
            judge(gpu, *responses, crls=(issuer.crl([certificate]),), settings=setting)
    else:
        with pytest.raises(CertificateRevoked):
            judge(gpu, *responses, issuer.ocsp(certificate, REVOKED), settings=setting)


def test_a_response_that_says_revoked_counts_beside_one_that_says_good(gpu: TestDevice) -> None:
    issuer, certificate = pairs(gpu)[1]
    with pytest.raises(CertificateRevoked):
        judge(gpu, *gpu.status(), issuer.ocsp(certificate, REVOKED))
    with pytest.raises(CertificateRevoked):
        judge(gpu, *gpu.status(), crls=(issuer.crl([certificate]),))


def test_a_leaf_needs_no_response_and_one_about_it_counts(gpu: TestDevice) -> None:
    assert judge(gpu, *gpu.status(), gpu.brom.ocsp(gpu.leaf)).claims["nvidia"]["revocation"] == "good"
    with pytest.raises(CertificateRevoked):
        judge(gpu, *gpu.status(), gpu.brom.ocsp(gpu.leaf, REVOKED))


def test_unknown_is_not_good(gpu: TestDevice) -> None:
    with pytest.raises(CrlInvalid, match="does not know"):
        judge(gpu, *gpu.status(), gpu.authority.root.ocsp(
            gpu.authority.identity.certificate, ocsp.OCSPCertStatus.UNKNOWN
        ), settings=PARTIAL)  # fmt: skip


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA384(), hashes.SHA512()])  # noqa: S303
def test_the_certificates_id_may_be_of_any_common_hash(gpu: TestDevice, algorithm: Any) -> None:
    responses = [issuer.ocsp(one, algorithm=algorithm) for issuer, one in pairs(gpu)]
    assert judge(gpu, *responses).claims["nvidia"]["revocation"] == "good"


def test_responses_out_of_their_time_are_refused(gpu: TestDevice) -> None:
    with pytest.raises(CrlExpired):
        judge(gpu, *gpu.status(), now=START + timedelta(days=2))
    with pytest.raises(CrlInvalid):
        judge(gpu, *gpu.status(at=NOW + timedelta(minutes=1)))
    with pytest.raises(CrlInvalid, match="no next update"):
        judge(gpu, *gpu.status(lifetime=None))


def test_lists_out_of_their_time_are_refused(gpu: TestDevice) -> None:
    root = gpu.authority.root
    with pytest.raises(CrlExpired):
        judge(gpu, *gpu.status(), crls=(root.crl(end=START + timedelta(minutes=1)),))
    with pytest.raises(CrlInvalid):
        judge(gpu, *gpu.status(), crls=(root.crl(start=NOW + timedelta(days=1)),))


def test_a_responder_must_be_the_issuers_own_and_for_ocsp(
    gpu: TestDevice, stranger: NvidiaAuthority
) -> None:
    root, identity = gpu.authority.root, gpu.authority.identity
    for responder in (
        root.responder(eku=()),
        root.responder(eku=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        identity.responder(),
        stranger.root.responder(),
        root.responder(end=START + timedelta(minutes=1)),
        root.responder(start=NOW + timedelta(days=1)),
        root.responder(digest=hashes.SHA256()),
    ):
        with pytest.raises(CrlInvalid):
            judge(
                gpu, *gpu.status(), root.ocsp(identity.certificate, responder=responder), settings=PARTIAL
            )
    hidden = root.ocsp(identity.certificate, responder=root.responder(), embedded=False)
    with pytest.raises(CrlInvalid):
        judge(gpu, hidden, settings=PARTIAL)


def test_a_device_cannot_vouch_for_its_own_authorities(gpu: TestDevice) -> None:
    """A response about the boot-ROM authority, signed by the device's attestation key."""
    forged = gpu.authority.provisioner.ocsp(gpu.brom.certificate, responder=(gpu.leaf, gpu.key))
    with pytest.raises(CrlInvalid):
        judge(gpu, *gpu.status()[1:], forged)


def test_lists_of_others_do_not_count(gpu: TestDevice, stranger: NvidiaAuthority) -> None:
    authority = gpu.authority
    forged = authority.root.crl(key=stranger.root.key)
    with pytest.raises(CrlInvalid):
        judge(gpu, *gpu.status(), crls=(forged,), settings=PARTIAL)
    indicator = (x509.DeltaCRLIndicator(1), True)
    with pytest.raises(CrlInvalid):
        judge(gpu, *gpu.status(), crls=(authority.root.crl(extensions=[indicator]),), settings=PARTIAL)


@pytest.mark.parametrize("data", [b"", b"x", b"\x30\x03\x0a\x01\x06", b"\x30\x80", bytes(70_000)])
def test_what_is_no_response_or_list_is_refused(gpu: TestDevice, data: bytes) -> None:
    with pytest.raises(CrlInvalid):
        judge(gpu, data, settings=PARTIAL)
    with pytest.raises(CrlInvalid):
        judge(gpu, crls=(data if len(data) < 70_000 else data * 4,), settings=PARTIAL)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_changed_responses_and_lists_never_pass_for_others(gpu: TestDevice, data: st.DataObject) -> None:
    issuer, certificate = pairs(gpu)[2]
    listed = data.draw(st.booleans())
    original = issuer.crl() if listed else issuer.ocsp(certificate)
    changed = bytearray(original)
    changed[data.draw(st.integers(0, 1 << 16)) % len(changed)] ^= 1 << data.draw(st.integers(0, 7))
    responses, lists = ((), (bytes(changed),)) if listed else ((bytes(changed),), ())
    try:
        verified = judge(gpu, *responses, crls=lists, settings=PARTIAL)
    except (CrlInvalid, CrlExpired, CertificateRevoked):
        return
    # It was about somebody else, and covers nothing.
    assert verified.claims["nvidia"]["revocation"] == "unknown"
    assert len(verified.endorsements) == len(gpu.chain)


# --- folder -----------------------------------------------------------------------------------------


def test_everything_is_found_in_the_folder(gpu: TestDevice, tmp_path: Path) -> None:
    folder = tmp_path / "nvidia"
    for part in ("ocsp", "crl", "rim"):
        (folder / part).mkdir(parents=True)
    subjects = [certificate for _, certificate in pairs(gpu)]
    authority = gpu.authority
    subjects += [authority.rim_signer, authority.rim_ca.certificate]
    for certificate, response in zip(subjects, (*gpu.status(), *authority.rim_status()), strict=True):
        (folder / "ocsp" / f"{certificate.fingerprint(SHA256()).hex()}.der").write_bytes(response)
    for place, (identifier, manifest) in enumerate(gpu.manifests().items()):
        (folder / "rim" / (identifier + (".xml", ".swidtag")[place])).write_bytes(manifest)
    assert verify(gpu, collateral=FolderCollateral(tmp_path)).claims["nvidia"]["measres"] == "success"
    (folder / "crl" / "l1-root.crl").write_bytes(authority.root.crl([authority.identity.certificate]))
    with pytest.raises(CertificateRevoked):
        verify(gpu, collateral=FolderCollateral(tmp_path))


def test_an_empty_folder_has_nothing(gpu: TestDevice, tmp_path: Path) -> None:
    with pytest.raises(CrlMissing):
        verify(gpu, collateral=FolderCollateral(tmp_path))
    folder = FolderCollateral(tmp_path, FixedCollateral(rims={"x": b"y"}))
    assert folder.rim("x") == b"y"


@pytest.mark.parametrize("identifier", ["../x", "a/b", "..", "", "a..b", "x\n", "x" * 200])
def test_names_that_are_paths_are_not_looked_for(tmp_path: Path, identifier: str) -> None:
    (tmp_path / "nvidia" / "rim").mkdir(parents=True)
    (tmp_path / "nvidia" / "x.xml").write_bytes(b"secret")
    assert FolderCollateral(tmp_path).rim(identifier) is None
