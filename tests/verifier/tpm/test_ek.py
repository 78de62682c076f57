"""EK certificates and credentials: what is not of the profile, or not of a configured root, is refused."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Checks
from common.encoding import b64url_decode, b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from verifier.errors import (
    AttestationKeyUntrusted,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    RootUntrusted,
)
from verifier.model import ReportDataBinding, Unbound
from verifier.tpm import TpmSettings, TpmVerifier, make_credential, parse_endorsement
from verifier.tpm.credential import credential_value, kdfa
from verifier.tpm.ek import EK_KEY_PURPOSE, verify_ek_certificate
from wire.rcar import TpmEndorsement

from . import forge

TPM_OIDS = ("2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3")
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A certificate authority of a TPM vendor."""

    def __init__(self, common_name: str, parent: Authority | None = None, path_length: int | None = None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(common_name)
        signer = parent or self
        self.certificate = self.under(signer, path_length).sign(signer.key, hashes.SHA256())

    def under(self, issuer: Authority, path_length: int | None) -> x509.CertificateBuilder:
        """What becomes this authority's certificate when ``issuer`` signs it."""
        return (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        )

    def issue(
        self,
        key,
        *,
        usage=(EK_KEY_PURPOSE,),
        names=TPM_OIDS,
        critical_names=True,
        subject=None,
        ca=False,
        unknown_critical=False,
        digest=None,
        start=datetime(2025, 1, 1, tzinfo=UTC),
        end=datetime(2035, 1, 1, tzinfo=UTC),
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]) if subject is None else name(subject))
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names:
            values = [x509.NameAttribute(ObjectIdentifier(oid), "id:54455354") for oid in names]
            alternative = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(values))])
            builder = builder.add_extension(alternative, critical=critical_names)
        if unknown_critical:
            builder = builder.add_extension(UNKNOWN, critical=True)
        return builder.sign(self.key, digest or hashes.SHA256())


ROOT = Authority("root")
INTERMEDIATE = Authority("intermediate", ROOT, path_length=0)
EK = rsa.generate_private_key(65537, 2048)
AK = forge.EccKey()
GOOD = der(INTERMEDIATE.issue(EK.public_key()))
UNRELATED = Authority("unrelated")


def check(leaf, chain=(INTERMEDIATE,), roots=(ROOT,), now=forge.NOW):
    return verify_ek_certificate(
        der(leaf),
        [der(item.certificate) for item in chain],
        [item.certificate for item in roots],
        now,
        Checks(),
    )


class TestCertificate:
    def test_a_certificate_of_the_profile_and_a_configured_root_is_accepted(self):
        result = check(INTERMEDIATE.issue(EK.public_key()))
        assert len(result.certificates) == 3
        assert result.not_after == datetime(2035, 1, 1, tzinfo=UTC)

    def test_a_root_that_comes_along_is_not_taken_as_an_intermediate(self):
        assert len(check(INTERMEDIATE.issue(EK.public_key()), chain=(INTERMEDIATE, ROOT)).certificates) == 3

    def test_no_root_is_trusted_by_default(self):
        with pytest.raises(RootUntrusted):
            check(INTERMEDIATE.issue(EK.public_key()), roots=())

    def test_a_root_from_the_evidence_is_not_trusted(self):
        rogue = Authority("root")
        with pytest.raises(RootUntrusted):
            check(rogue.issue(EK.public_key()), chain=(rogue,))

    def test_a_root_of_the_same_name_and_another_key_is_not_trusted(self):
        with pytest.raises(RootUntrusted):
            check(Authority("root").issue(EK.public_key()), chain=())

    def test_an_intermediate_that_did_not_issue_the_leaf_is_refused(self):
        with pytest.raises(CertificateInvalid):
            check(ROOT.issue(EK.public_key()))

    def test_a_leaf_that_issues_is_refused(self):
        """An EK certificate used as a CA for another one."""
        middle_key = ec.generate_private_key(ec.SECP256R1())
        middle = INTERMEDIATE.issue(middle_key.public_key(), subject="tpm")
        fake = Authority("tpm")
        fake.key = middle_key
        leaf = fake.issue(EK.public_key())
        with pytest.raises(CertificateInvalid):
            verify_ek_certificate(
                der(leaf),
                [der(middle), der(INTERMEDIATE.certificate)],
                [ROOT.certificate],
                forge.NOW,
                Checks(),
            )

    def test_a_longer_path_than_the_root_allows_is_refused(self):
        low = Authority("low", INTERMEDIATE)
        with pytest.raises(CertificateInvalid):
            check(low.issue(EK.public_key()), chain=(low, INTERMEDIATE))

    @pytest.mark.parametrize(
        "change",
        [
            {"usage": ()},
            {"usage": (ExtendedKeyUsageOID.SERVER_AUTH,)},
            {"usage": (ObjectIdentifier("2.23.133.8.3"),)},
            {"names": ()},
            {"names": TPM_OIDS[:2]},
            {"critical_names": False},
            {"ca": True},
            {"unknown_critical": True},
        ],
        ids=lambda change: "-".join(map(str, change)),
    )
    def test_anything_outside_the_profile_is_refused(self, change):
        with pytest.raises(CertificateInvalid):
            check(INTERMEDIATE.issue(EK.public_key(), **change))

    def test_names_need_not_be_critical_beside_a_subject(self):
        leaf = INTERMEDIATE.issue(EK.public_key(), critical_names=False, subject="tpm")
        assert check(leaf).manufacturer == "id:54455354"

    def test_dates_are_judged_at_the_given_instant(self):
        leaf = INTERMEDIATE.issue(EK.public_key())
        assert check(leaf, now=datetime(2035, 1, 1, tzinfo=UTC))
        with pytest.raises(CertificateExpired):
            check(leaf, now=datetime(2035, 1, 1, tzinfo=UTC) + timedelta(seconds=1))
        with pytest.raises(CertificateNotYetValid):
            check(leaf, now=datetime(2024, 12, 31, tzinfo=UTC))

    @pytest.mark.parametrize(
        "key",
        [ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 1024)],  # noqa: S505 (a key to be refused)
    )
    def test_keys_without_a_template_are_refused(self, key):
        with pytest.raises((CertificateInvalid, Malformed)):
            check(INTERMEDIATE.issue(key.public_key()))

    def test_too_many_certificates_are_refused(self):
        endorsement = TpmEndorsement(
            ek_certificate="", ek_chain=("",) * 6, ak_public=b64url_encode(AK.public)
        )
        with pytest.raises(TooLarge):
            parse_endorsement(endorsement, TpmSettings(), forge.NOW)

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_mutated_certificates_raise_only_typed_errors(self, data):
        changed = bytearray(GOOD)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        with pytest.raises(TouchstoneError):
            verify_ek_certificate(
                bytes(changed),
                [der(INTERMEDIATE.certificate)],
                [UNRELATED.certificate],
                forge.NOW,
                Checks(),
            )

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def test_random_bytes_raise_only_typed_errors(self, data):
        with pytest.raises(TouchstoneError):
            verify_ek_certificate(data, [data], [ROOT.certificate], forge.NOW, Checks())


class TestEndorsement:
    SETTINGS = TpmSettings(ek_roots=(ROOT.certificate,))

    def endorsement(self, ak=AK, ek=EK) -> TpmEndorsement:
        return TpmEndorsement(
            ek_certificate=b64url_encode(der(INTERMEDIATE.issue(ek.public_key()))),
            ek_chain=(b64url_encode(der(INTERMEDIATE.certificate)),),
            ak_public=b64url_encode(ak.public),
        )

    def test_a_key_that_signs_anything_gets_no_credential(self):
        unrestricted = forge.EccKey(forge.AK_ATTRIBUTES & ~(1 << 16))
        with pytest.raises(AttestationKeyUntrusted):
            parse_endorsement(self.endorsement(unrestricted), self.SETTINGS, forge.NOW)

    @pytest.mark.parametrize(
        "ek", [EK, ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())]
    )
    def test_a_credential_never_shows_its_secret_and_never_repeats(self, ek):
        endorsed = parse_endorsement(self.endorsement(ek=ek), self.SETTINGS, forge.NOW)
        assert endorsed.ak_name == AK.name
        secret = secrets.token_bytes(32)
        first, second = make_credential(endorsed, secret), make_credential(endorsed, secret)
        assert first != second
        value = credential_value(secret, endorsed.ak_name, endorsed.ek_spki_sha256)
        assert value not in b64url_decode(first.credential_blob)

    def test_a_secret_of_another_size_is_refused(self):
        endorsed = parse_endorsement(self.endorsement(), self.SETTINGS, forge.NOW)
        with pytest.raises(InvalidSetting):
            make_credential(endorsed, bytes(16))

    def evidence(self, key, secret: bytes | None):
        endorsement = self.endorsement()
        shown = None if secret is None else b64url_encode(secret)
        return forge.evidence(
            key,
            ek_certificate=endorsement.ek_certificate,
            ek_chain=endorsement.ek_chain,
            credential_secret=shown,
        )

    def opened(self, key, secret: bytes) -> bytes:
        endorsed = parse_endorsement(self.endorsement(key), self.SETTINGS, forge.NOW)
        return credential_value(secret, endorsed.ak_name, endorsed.ek_spki_sha256)

    def test_an_opened_credential_makes_the_key_trusted(self):
        secret = secrets.token_bytes(32)
        result = TpmVerifier(self.SETTINGS).verify(
            self.evidence(AK, self.opened(AK, secret)),
            forge.session(credential_secret=secret),
            None,
            forge.NOW,
        )
        assert result.identity.startswith("tpm-ek:")
        assert len(result.endorsements) == 3
        assert result.not_after == datetime(2035, 1, 1, tzinfo=UTC)

    def test_a_credential_opened_for_another_key_proves_nothing(self):
        secret = secrets.token_bytes(32)
        other = forge.EccKey()
        with pytest.raises(AttestationKeyUntrusted):
            TpmVerifier(self.SETTINGS).verify(
                self.evidence(other, self.opened(AK, secret)),
                forge.session(credential_secret=secret),
                None,
                forge.NOW,
            )

    @pytest.mark.parametrize("shown", [None, b"", bytes(32), bytes(100)])
    def test_no_or_another_credential_proves_nothing(self, shown):
        with pytest.raises(AttestationKeyUntrusted) as caught:
            TpmVerifier(self.SETTINGS).verify(
                self.evidence(AK, shown),
                forge.session(credential_secret=secrets.token_bytes(32)),
                None,
                forge.NOW,
            )
        assert caught.value.checks[-1].name == "tpm.ak.credential"

    @pytest.mark.parametrize(
        "expected",
        [forge.session(), ReportDataBinding(forge.bound()), Unbound()],
        ids=["none made", "rp", "unbound"],
    )
    def test_without_a_credential_of_ours_an_ek_certificate_proves_nothing(self, expected):
        with pytest.raises(AttestationKeyUntrusted):
            TpmVerifier(self.SETTINGS).verify(
                self.evidence(AK, credential_value(b"", AK.name, b"")), expected, None, forge.NOW
            )

    def test_secrets_never_stand_in_the_records(self):
        secret = secrets.token_bytes(32)
        value = self.opened(AK, secret)
        result = TpmVerifier(self.SETTINGS).verify(
            self.evidence(AK, value), forge.session(credential_secret=secret), None, forge.NOW
        )
        text = msgspec.json.encode((result.checks, result.claims)).decode()
        assert secret.hex() not in text
        assert value.hex() not in text


def test_kdfa_counts_blocks_and_covers_every_input():
    base = ("sha256", b"k" * 32, b"STORAGE", (b"u", b"v"), 512)
    assert len(kdfa(*base)) == 64
    for position, other in enumerate(["sha384", b"x" * 32, b"OTHER", (b"v", b"u"), 256]):
        changed = list(base)
        changed[position] = other
        assert kdfa(*changed)[:32] != kdfa(*base)[:32]
