"""The shipped roots of TPM vendors: trusted by name only, and only for what they signed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ObjectIdentifier
from pydantic import ValidationError

from common.checks import Checks
from verifier import vendor_roots
from verifier.errors import CertificateExpired, CertificateInvalid, RootUntrusted
from verifier.tpm.chain import build_path, check_dates
from verifier.tpm.ek import verify_ek_certificate
from verifier.tpm.roots import Vendor, vendor_certificates
from verifier.tpm.section import TpmSection, tpm_settings

from . import forge
from .test_ek import EK, INTERMEDIATE, ROOT, Authority, der

if TYPE_CHECKING:
    from pathlib import Path

VENDORS: tuple[Vendor, ...] = get_args(Vendor)
EVERY = tpm_settings(TpmSection(vendor_roots=VENDORS)).ek_roots
AFTER_ROOT = datetime(2045, 1, 1, tzinfo=UTC)


class Impostor(Authority):
    """An authority under a real root's very name."""

    def __init__(self, real: x509.Certificate):
        super().__init__("impostor")
        self.name = real.subject


def verify(leaf, roots, *, chain=(), now=forge.NOW):
    return verify_ek_certificate(der(leaf), [der(item) for item in chain], roots, now, Checks())


def with_extensions(subject: Authority, issuer: Authority, *added: x509.ExtensionType) -> x509.Certificate:
    """The certificate of an intermediate with further extensions, each marked critical."""
    builder = subject.under(issuer, path_length=0)
    for extension in added:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer.key, hashes.SHA256())


class TestSettings:
    def test_no_vendor_is_trusted_by_default(self):
        assert tpm_settings(TpmSection()).ek_roots == ()

    @pytest.mark.parametrize("vendor", VENDORS)
    def test_a_named_vendor_brings_its_own_roots_and_no_others(self, vendor: Vendor):
        files = [entry.file for entry in vendor_roots.sources() if entry.file.startswith(f"tpm/{vendor}-")]
        assert files
        roots = tpm_settings(TpmSection(vendor_roots=(vendor,))).ek_roots
        assert roots == tuple(vendor_roots.load(file) for file in files)

    def test_every_shipped_root_has_a_vendor_that_can_be_named(self):
        shipped = {entry.file for entry in vendor_roots.sources() if entry.file.startswith("tpm/")}
        assert {file.removeprefix("tpm/").split("-")[0] for file in shipped} == set(VENDORS)
        assert len(EVERY) == len(shipped)

    @pytest.mark.parametrize("name", ["acme", "", "Infineon", "infineon-optiga", "../intel"])
    def test_an_unknown_vendor_is_refused(self, name: str):
        with pytest.raises(ValidationError):
            TpmSection.model_validate({"vendor_roots": (name,)})

    def test_they_are_added_to_the_files_and_the_folder(self, tmp_path: Path):
        (tmp_path / "a.pem").write_bytes(ROOT.certificate.public_bytes(serialization.Encoding.PEM))
        made = tpm_settings(
            TpmSection(
                ek_roots=(tmp_path / "a.pem",), ek_roots_dir=tmp_path, vendor_roots=("intel", "infineon")
            )
        )
        assert set(made.ek_roots) == {ROOT.certificate, *vendor_certificates(("infineon", "intel"))}
        assert made.ak_roots == ()


class TestChains:
    def test_a_certificate_of_another_root_is_refused_with_all_vendors_trusted(self):
        leaf = INTERMEDIATE.issue(EK.public_key())
        with pytest.raises(RootUntrusted):
            verify(leaf, EVERY, chain=(INTERMEDIATE.certificate,))
        with pytest.raises(RootUntrusted):
            verify(leaf, EVERY, chain=(INTERMEDIATE.certificate, ROOT.certificate))
        assert verify(leaf, (*EVERY, ROOT.certificate), chain=(INTERMEDIATE.certificate,))

    @pytest.mark.parametrize("real", EVERY, ids=lambda root: root.fingerprint(hashes.SHA256()).hex()[:8])
    def test_a_certificate_under_a_roots_name_alone_is_refused(self, real: x509.Certificate):
        with pytest.raises(RootUntrusted):
            verify(Impostor(real).issue(EK.public_key()), EVERY)
        with pytest.raises(CertificateInvalid):  # the real root, sent as an intermediate below an own root
            verify(
                Impostor(real).issue(EK.public_key()), (ROOT.certificate,), chain=(real, ROOT.certificate)
            )

    @pytest.mark.parametrize("real", EVERY, ids=lambda root: root.fingerprint(hashes.SHA256()).hex()[:8])
    def test_every_shipped_root_may_end_a_chain(self, real: x509.Certificate):
        assert build_path(real, [], [real], Checks()) == [real, real]
        check_dates([real], forge.NOW, Checks())


class TestExpiry:
    def test_a_root_past_its_end_is_loaded_and_its_chains_are_refused(self, tmp_path: Path):
        (tmp_path / "root.pem").write_bytes(ROOT.certificate.public_bytes(serialization.Encoding.PEM))
        roots = tpm_settings(TpmSection(ek_roots_dir=tmp_path, vendor_roots=VENDORS)).ek_roots
        leaf = ROOT.issue(EK.public_key(), end=datetime(2060, 1, 1, tzinfo=UTC))
        assert verify(leaf, roots)
        with pytest.raises(CertificateExpired, match=r"not_after\.1"):
            verify(leaf, roots, now=AFTER_ROOT)

    def test_shipped_roots_are_loaded_whatever_the_day_and_expire_as_they_say(self):
        ending = [root for root in EVERY if root.not_valid_after_utc.year < 9000]
        assert len(ending) == len(EVERY) - 2  # STMicroelectronics' have no end
        for root in ending:
            with pytest.raises(CertificateExpired):
                check_dates([root], datetime(2200, 1, 1, tzinfo=UTC), Checks())


class TestPolicies:
    POLICY = x509.CertificatePolicies(
        [x509.PolicyInformation(ObjectIdentifier("2.5.29.32.0"), ["http://www.example.test/"])]
    )

    def test_a_critical_certificate_policy_of_an_intermediate_is_acceptable(self):
        issuer = with_extensions(INTERMEDIATE, ROOT, self.POLICY)
        assert verify(INTERMEDIATE.issue(EK.public_key()), (ROOT.certificate,), chain=(issuer,))

    @pytest.mark.parametrize(
        "demand",
        [
            x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None),
            x509.InhibitAnyPolicy(0),
        ],
    )
    def test_what_demands_one_is_refused(self, demand: x509.ExtensionType):
        issuer = with_extensions(INTERMEDIATE, ROOT, self.POLICY, demand)
        with pytest.raises(CertificateInvalid):
            verify(INTERMEDIATE.issue(EK.public_key()), (ROOT.certificate,), chain=(issuer,))
