"""Certificates of attestation keys, device identities, revocation: who vouches for a key, until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64url_encode
from common.errors import InvalidSetting, Malformed, TooLarge, TouchstoneError
from verifier.errors import (
    AttestationKeyUntrusted,
    CertificateExpired,
    CertificateInvalid,
    CertificateNotYetValid,
    CertificateRevoked,
    CrlExpired,
    CrlInvalid,
    CrlMissing,
    RootUntrusted,
)
from verifier.model import Unbound
from verifier.tpm import TpmSettings, TpmVerifier, parse_endorsement
from verifier.tpm.device import AK_KEY_PURPOSE
from verifier.tpm.ek import EK_KEY_PURPOSE
from verifier.tpm.names_der import hardware_module_name, permanent_identifier
from verifier.tpm.revocation import FolderLists, Lists, load_list
from verifier.tpm.roots import certificate_folder
from verifier.tpm.section import TpmSection, tpm_settings
from wire.rcar import TpmEndorsement

from . import forge
from .test_ek import EK, TPM_OIDS, Authority, der

ROOT = Authority("device maker")
INTERMEDIATE = Authority("device line", ROOT, path_length=0)
OTHER = Authority("another maker")
AK = forge.EccKey()
DEVID = ec.generate_private_key(ec.SECP384R1())
TPM20 = bytes.fromhex("06056781050102")  # 2.23.133.1.2
SERIAL = b"INTC:4f2a:0001"


def hw_name(serial: bytes = SERIAL, kind: bytes = TPM20) -> x509.OtherName:
    body = kind + b"\x04" + bytes([len(serial)]) + serial
    return x509.OtherName(ObjectIdentifier("1.3.6.1.5.5.7.8.4"), b"\x30" + bytes([len(body)]) + body)


HW_NAME = hw_name()


def permanent(text: str = "device-1") -> x509.OtherName:
    body = b"\x0c" + bytes([len(text)]) + text.encode() + TPM20
    return x509.OtherName(ObjectIdentifier("1.3.6.1.5.5.7.8.3"), b"\x30" + bytes([len(body)]) + body)


def certificate(
    key,
    *,
    issuer=INTERMEDIATE,
    names=(HW_NAME,),
    purposes=(AK_KEY_PURPOSE,),
    signs=True,
    ca=False,
    end=datetime(2035, 1, 1, tzinfo=UTC),
) -> x509.Certificate:
    others = ("content_commitment", "data_encipherment", "key_agreement", "crl_sign")
    bits = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    usage = x509.KeyUsage(digital_signature=signs, key_encipherment=not signs, key_cert_sign=ca, **bits)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def crl(
    issuer: Authority,
    revoked=(),
    *,
    signer: Authority | None = None,
    end=datetime(2030, 1, 1, tzinfo=UTC),
    delta=False,
) -> x509.CertificateRevocationList:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.name)
    builder = builder.last_update(start).next_update(end)
    for item in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(item.serial_number).revocation_date(start)
        builder = builder.add_revoked_certificate(entry.build())
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign((signer or issuer).key, hashes.SHA256())


SETTINGS = TpmSettings(ak_roots=(ROOT.certificate,))
CHAIN = (b64url_encode(der(INTERMEDIATE.certificate)),)
IAK = certificate(AK.private.public_key())
IDEVID = certificate(DEVID.public_key(), purposes=())


def evidence(leaf=IAK, idevid=None, key=AK, **members):
    members = {"ak_chain": CHAIN} | members
    if idevid is not None:
        members |= {"idevid_certificate": b64url_encode(der(idevid)), "idevid_chain": CHAIN}
    return forge.evidence(key, ak_certificate=b64url_encode(der(leaf)), **members)


def verify(document=None, *, now=forge.NOW, expected=None, **changes):
    verifier = TpmVerifier(msgspec.structs.replace(SETTINGS, **changes))
    return verifier.verify(document or evidence(), expected or forge.session(), None, now)


class TestAttestationKey:
    def test_its_own_certificate_makes_it_trusted_without_a_credential(self):
        verified = verify()
        claims = verified.claims["tpm"]
        assert claims["ak_trust"] == "certificate"
        assert (claims["device_type"], claims["device_serial"]) == ("2.23.133.1.2", SERIAL.hex())
        assert "idevid_digest" not in claims
        assert verified.identity == f"tpm-device:{SERIAL.hex()}"
        assert len(verified.endorsements) == 3
        assert verified.not_after == datetime(2035, 1, 1, tzinfo=UTC)

    def test_it_holds_without_a_session_too(self):
        assert verify(expected=Unbound()).floors == {"instance-identity": 97}

    def test_under_default_settings_it_proves_nothing(self):
        with pytest.raises(RootUntrusted):
            verify(ak_roots=())

    def test_roots_of_endorsement_keys_do_not_vouch_for_attestation_keys(self):
        with pytest.raises(RootUntrusted):
            verify(ak_roots=(), ek_roots=(ROOT.certificate,))

    def test_a_certificate_of_another_key_proves_nothing(self):
        with pytest.raises(AttestationKeyUntrusted):
            verify(evidence(certificate(DEVID.public_key())))

    def test_a_key_that_signs_anything_is_refused_whoever_certified_it(self):
        """Abuse case 21."""
        key = forge.EccKey(forge.AK_ATTRIBUTES & ~(1 << 16))
        with pytest.raises(AttestationKeyUntrusted):
            verify(evidence(certificate(key.private.public_key()), key=key))

    def test_an_allow_list_comes_first(self):
        assert verify(ak_names=frozenset({AK.name}), ak_roots=()).claims["tpm"]["ak_trust"] == "name"

    @pytest.mark.parametrize(
        "changes",
        [
            {"purposes": ()},
            {"purposes": (ObjectIdentifier("1.3.6.1.5.5.7.3.1"),)},
            {"signs": False},
            {"ca": True},
        ],
    )
    def test_outside_the_profile(self, changes):
        with pytest.raises(CertificateInvalid):
            verify(evidence(certificate(AK.private.public_key(), **changes)))

    def test_clouds_that_use_the_purpose_of_endorsement_keys(self):
        leaf = certificate(AK.private.public_key(), purposes=(EK_KEY_PURPOSE,))
        assert verify(evidence(leaf)).claims["tpm"]["ak_trust"] == "certificate"

    def test_what_it_calls_the_hardware(self):
        attributes = [x509.NameAttribute(ObjectIdentifier(oid), "id:474F4F47") for oid in TPM_OIDS]
        tpm = x509.DirectoryName(x509.Name(attributes))
        named = verify(evidence(certificate(AK.private.public_key(), names=(tpm,))))
        assert named.claims["tpm"]["device_manufacturer"] == "id:474F4F47"
        assert named.identity == f"tpm-ak:{AK.name.hex()}"
        other = verify(evidence(certificate(AK.private.public_key(), names=(permanent(),))))
        assert other.identity == f"tpm-device:{b'device-1'.hex()}"
        nameless = verify(evidence(certificate(AK.private.public_key(), names=())))
        assert nameless.identity == f"tpm-ak:{AK.name.hex()}"
        with pytest.raises(Malformed):
            verify(evidence(certificate(AK.private.public_key(), names=(hw_name(), hw_name(b"x")))))

    def test_chain_and_dates(self):
        foreign = certificate(AK.private.public_key(), issuer=OTHER)
        with pytest.raises(CertificateInvalid):
            verify(evidence(foreign))
        with pytest.raises(RootUntrusted):
            verify(evidence(foreign, ak_chain=()))
        with pytest.raises(RootUntrusted):
            verify(evidence(ak_chain=()))
        with pytest.raises(CertificateExpired):
            verify(now=datetime(2036, 1, 1, tzinfo=UTC))
        with pytest.raises(CertificateNotYetValid):
            verify(now=datetime(2024, 6, 1, tzinfo=UTC))
        with pytest.raises(TooLarge):
            verify(evidence(ak_chain=(b64url_encode(bytes(9000)),) * 5))

    def test_it_is_not_a_way_around_an_endorsement_key(self):
        """Without trusted roots for it, the EK's rules decide alone."""
        leaf = b64url_encode(der(INTERMEDIATE.issue(EK.public_key())))
        both = evidence(ek_certificate=leaf, ek_chain=CHAIN)
        with pytest.raises(AttestationKeyUntrusted):
            verify(both, ak_roots=(), ek_roots=(ROOT.certificate,))


class TestIdentity:
    def test_it_says_which_device(self):
        verified = verify(evidence(idevid=IDEVID))
        assert len(verified.claims["tpm"]["idevid_digest"]) == 64
        assert len(verified.endorsements) == 4

    @pytest.mark.parametrize("names", [(hw_name(b"another"),), (permanent(),), ()])
    def test_it_names_the_same_hardware(self, names):
        with pytest.raises(CertificateInvalid):
            verify(evidence(idevid=certificate(DEVID.public_key(), names=names)))

    def test_two_certificates_that_name_nothing_are_not_of_one_device(self):
        leaf = certificate(AK.private.public_key(), names=())
        with pytest.raises(CertificateInvalid):
            verify(evidence(leaf, certificate(DEVID.public_key(), names=())))

    def test_it_is_verified_like_any_other(self):
        for wrong, error in (
            (certificate(DEVID.public_key(), issuer=OTHER), CertificateInvalid),
            (certificate(DEVID.public_key(), end=forge.NOW - timedelta(days=1)), CertificateExpired),
            (certificate(DEVID.public_key(), ca=True), CertificateInvalid),
            (certificate(ed25519.Ed25519PrivateKey.generate().public_key()), CertificateInvalid),
        ):
            with pytest.raises(error):
                verify(evidence(idevid=wrong))


class TestRevocation:
    GOOD = (crl(INTERMEDIATE), crl(ROOT))

    def test_lists_at_hand_are_used_and_bound_the_verdict(self):
        verified = verify(lists=Lists(self.GOOD), revocation="require")
        assert verified.not_after == datetime(2030, 1, 1, tzinfo=UTC)
        assert len(verified.endorsements) == 5

    @pytest.mark.parametrize(("issuer", "revoked"), [(INTERMEDIATE, IAK), (ROOT, INTERMEDIATE.certificate)])
    def test_a_revoked_certificate_is_refused(self, issuer, revoked):
        with pytest.raises(CertificateRevoked):
            verify(lists=Lists((*self.GOOD, crl(issuer, [revoked]))))

    def test_a_revoked_identity_is_refused(self):
        with pytest.raises(CertificateRevoked):
            verify(evidence(idevid=IDEVID), lists=Lists((crl(INTERMEDIATE, [IDEVID]),)))

    def test_where_there_is_none(self):
        assert verify(lists=Lists((crl(OTHER, [IAK]),))).tee == "tpm"
        for lists in ((), self.GOOD[:1], self.GOOD[1:]):
            with pytest.raises(CrlMissing):
                verify(lists=Lists(lists), revocation="require")

    def test_a_list_that_does_not_hold_is_never_passed_over(self):
        cases = [
            (crl(INTERMEDIATE, end=forge.NOW - timedelta(days=1)), CrlExpired),
            (crl(INTERMEDIATE, signer=OTHER), CrlInvalid),
            (crl(INTERMEDIATE, delta=True), CrlInvalid),
        ]
        for item, error in cases:
            with pytest.raises(error):
                verify(lists=Lists((item,)))
            assert verify(lists=Lists((item, *self.GOOD))).tee == "tpm"

    def test_endorsement_keys_are_held_against_lists_before_a_credential_is_made(self):
        leaf = INTERMEDIATE.issue(EK.public_key())
        endorsement = TpmEndorsement(
            ek_certificate=b64url_encode(der(leaf)), ek_chain=CHAIN, ak_public=b64url_encode(AK.public)
        )
        settings = TpmSettings(ek_roots=(ROOT.certificate,), lists=Lists((crl(INTERMEDIATE, [leaf]),)))
        with pytest.raises(CertificateRevoked):
            parse_endorsement(endorsement, settings, forge.NOW)
        fine = msgspec.structs.replace(settings, lists=Lists(self.GOOD), revocation="require")
        assert parse_endorsement(endorsement, fine, forge.NOW).ak_name == AK.name

    def test_a_folder_of_lists_is_read_anew(self, tmp_path: Path):
        lists = FolderLists(tmp_path)
        assert lists.current() == ()
        (tmp_path / "a.crl").write_bytes(self.GOOD[0].public_bytes(serialization.Encoding.PEM))
        (tmp_path / "b.crl").write_bytes(self.GOOD[1].public_bytes(serialization.Encoding.DER))
        assert list(lists.current()) == list(self.GOOD)
        (tmp_path / "c").write_bytes(b"none")
        with pytest.raises(CrlInvalid):
            lists.current()


class TestSettings:
    def test_a_folder_of_roots(self, tmp_path: Path):
        pem, encoding = serialization.Encoding.PEM, serialization.Encoding.DER
        (tmp_path / "two.pem").write_bytes(
            ROOT.certificate.public_bytes(pem) + OTHER.certificate.public_bytes(pem)
        )
        (tmp_path / "again.der").write_bytes(ROOT.certificate.public_bytes(encoding))
        (tmp_path / "README").write_text("where these come from")
        assert set(certificate_folder(tmp_path, what="x")) == {ROOT.certificate, OTHER.certificate}
        made = tpm_settings(
            TpmSection(ek_roots_dir=tmp_path, ak_roots=(tmp_path / "two.pem",), crl_dir=tmp_path)
        )
        assert len(made.ek_roots) == len(made.ak_roots) == 2
        assert isinstance(made.lists, FolderLists)

    def test_folders_that_are_none(self, tmp_path: Path):
        with pytest.raises(InvalidSetting):
            certificate_folder(tmp_path / "absent", what="x")
        (tmp_path / "bad.crt").write_bytes(b"none")
        with pytest.raises(InvalidSetting):
            certificate_folder(tmp_path, what="x")
        assert certificate_folder(None, what="x") == ()


class TestNames:
    def test_they_are_read(self):
        assert hardware_module_name(hw_name().value) == ("2.23.133.1.2", SERIAL.hex())
        assert permanent_identifier(permanent("a").value) == ("2.23.133.1.2", "61")
        assert permanent_identifier(b"\x30\x03\x0c\x01a") == ("", "61")
        assert hardware_module_name(hw_name(kind=b"\x06\x03\x2b\x86\x48").value)[0] == "1.3.840"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x30\x00",
            b"\x31\x03\x0c\x01a",
            b"\x30\x05\x06\x01\x2a\x04\x00",
            b"\x30\x06\x06\x00\x04\x02ab",
            b"\x30\x07\x06\x01\x80\x04\x02ab",
            b"\x30\x08\x06\x02\x2a\x80\x04\x02ab",
            b"\x30\x81\x07\x06\x01\x2a\x04\x02ab",
            b"\x30\x82\x00\x07\x06\x01\x2a\x04\x02ab",
            b"\x30\x07\x06\x01\x2a\x04\x02ab\x00",
            b"\x30\x08\x06\x01\x2a\x04\x02ab\x00",
            b"\x30\x09\x06\x01\x2a\x04\x02ab",
        ],
    )
    def test_what_is_not_their_der_is_refused(self, data):
        with pytest.raises(Malformed):
            hardware_module_name(data)
        with pytest.raises(Malformed):
            permanent_identifier(data)

    @given(st.binary(max_size=300), st.integers(0, 30))
    @settings(max_examples=200, deadline=None)
    def test_any_bytes_give_a_value_or_a_typed_error(self, data, place):
        whole = hw_name().value
        for candidate in (data, whole[:place] + data + whole[place + len(data) :]):
            for parse in (hardware_module_name, permanent_identifier, load_list):
                try:
                    parse(candidate)
                except TouchstoneError:
                    continue
