"""Certificates of attestation keys: the maker of a device, or a cloud, says that a key lives in a TPM.

An attestation key with such a certificate needs no credential: its issuer made sure, before it signed, that
the key is a restricted signing key of the TPM that it names. What is left to check is that the certificate
is one of an attestation key, that its key is the one that signed the quote, and that its issuer is one that
the settings trust with this (``ak_roots``, apart from ``ek_roots``: whoever may name TPMs may not thereby
vouch for keys).

With it may come the device's initial identity (IDevID): a certificate of another key of the same TPM. It
must end at the same roots and name the same hardware module; it then says which device it is.

Order: sizes; profile; chain to a root; dates; revocation; key.

Sources: TCG TPM 2.0 Keys for Device Identity and Attestation 1.0, sections 7 and 8 (certificate fields);
IEEE 802.1AR-2018, section 8; RFC 4108 section 5 (hardwareModuleName); RFC 4043 (permanentIdentifier);
TCG EK Credential Profile 2.5, section 3.2.9.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ObjectIdentifier

from common.errors import Malformed, TooLarge
from verifier.errors import AttestationKeyUntrusted, CertificateInvalid
from verifier.tpm.chain import build_path, check_dates, extension_of, load_certificate
from verifier.tpm.ek import EK_KEY_PURPOSE, MAX_CHAIN_BYTES, tpm_names
from verifier.tpm.names_der import hardware_module_name, permanent_identifier
from verifier.tpm.public import spki_of
from verifier.tpm.revocation import require_not_revoked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks
    from verifier.tpm.public import PublicArea
    from verifier.tpm.settings import TpmSettings

AK_KEY_PURPOSE: Final = ObjectIdentifier("2.23.133.8.3")  # tcg-kp-AIKCertificate
_HARDWARE_MODULE_NAME: Final = ObjectIdentifier("1.3.6.1.5.5.7.8.4")
_PERMANENT_IDENTIFIER: Final = ObjectIdentifier("1.3.6.1.5.5.7.8.3")
_SOURCE: Final = "TCG TPM 2.0 Keys for Device Identity and Attestation, section 8"


class DeviceName(msgspec.Struct, frozen=True):
    """What a certificate calls the hardware.

    Attributes:
        type: object identifier of the kind of module, or of who assigned the identifier; empty: not said.
        serial: serial number or identifier, hex.
    """

    type: str
    serial: str


class KeyCertificate(msgspec.Struct, frozen=True):
    """A certificate of an attestation key, or of a device's identity, that chains to a trusted root.

    Attributes:
        device: what it calls the hardware; None: only a TPM's model, or nothing.
        manufacturer: TPM manufacturer of a directoryName, if it has one.
        model: TPM model, likewise.
        spki_sha256: SHA-256 of its key.
        endorsements: SHA-256 of each certificate and list relied on, hex.
        not_after: earliest end of their validity.
    """

    device: DeviceName | None
    manufacturer: str | None
    model: str | None
    spki_sha256: bytes
    endorsements: tuple[str, ...]
    not_after: datetime


def verify_ak_certificate(
    leaf: bytes,
    chain: Sequence[bytes],
    public: PublicArea,
    settings: TpmSettings,
    *,
    now: datetime,
    checks: Checks,
) -> KeyCertificate:
    """Verify the certificate of the attestation key that signed a quote.

    Raises:
        Malformed, TooLarge: not a certificate, or over 32 KiB in all.
        CertificateInvalid: outside the profile, or a link does not hold. RootUntrusted: another root.
        CertificateExpired, CertificateNotYetValid, CertificateRevoked, CrlMissing, CrlInvalid, CrlExpired.
        AttestationKeyUntrusted: it certifies another key.
    """
    certificate = _load(leaf, chain)
    usages = extension_of(certificate, x509.ExtendedKeyUsage) or ()
    # Google Cloud's certificates of attestation keys carry the purpose of endorsement keys: that the key
    # signs, and that its issuer is trusted with attestation keys, tells them apart.
    checks.require(
        "tpm.ak_certificate.extended_key_usage", AK_KEY_PURPOSE in usages or EK_KEY_PURPOSE in usages,
        CertificateInvalid, expected=AK_KEY_PURPOSE.dotted_string,
        observed=[usage.dotted_string for usage in usages], source=f"{_SOURCE}; EK profile 3.2.16",
    )  # fmt: skip
    found = _verify(certificate, chain, settings, name="tpm.ak_certificate", now=now, checks=checks)
    expected = hashlib.sha256(public.spki).hexdigest()
    checks.require(
        "tpm.ak_certificate.key", found.spki_sha256.hex() == expected, AttestationKeyUntrusted,
        expected=expected, observed=found.spki_sha256.hex(), source=_SOURCE,
    )  # fmt: skip
    return found


def verify_identity(
    leaf: bytes,
    chain: Sequence[bytes],
    key: KeyCertificate,
    settings: TpmSettings,
    *,
    now: datetime,
    checks: Checks,
) -> KeyCertificate:
    """Verify a device's initial identity (IDevID) beside the certificate of its attestation key.

    Raises:
        As ``verify_ak_certificate``; CertificateInvalid also where it names no hardware module, or another
        than the attestation key's certificate does.
    """
    certificate = _load(leaf, chain)
    found = _verify(certificate, chain, settings, name="tpm.idevid", now=now, checks=checks)
    checks.require(
        "tpm.idevid.hardware_module", found.device is not None and found.device == key.device,
        CertificateInvalid, expected=_shown(key.device), observed=_shown(found.device),
        source="IEEE 802.1AR-2018 section 8.10.4; RFC 4108 section 5",
        note="" if found.device == key.device else "identity and attestation key are of two devices",
    )  # fmt: skip
    return found


def _load(leaf: bytes, chain: Sequence[bytes]) -> x509.Certificate:
    if len(leaf) + sum(map(len, chain)) > MAX_CHAIN_BYTES:
        raise TooLarge(f"certificates of more than {MAX_CHAIN_BYTES} bytes")
    return load_certificate(leaf)


def _verify(
    leaf: x509.Certificate,
    chain: Sequence[bytes],
    settings: TpmSettings,
    *,
    name: str,
    now: datetime,
    checks: Checks,
) -> KeyCertificate:
    constraints, usage = extension_of(leaf, x509.BasicConstraints), extension_of(leaf, x509.KeyUsage)
    ok = (
        leaf.version is x509.Version.v3
        and (constraints is None or not constraints.ca)
        and usage is not None
        and usage.digital_signature
        and not usage.key_cert_sign
    )
    checks.require(
        f"{name}.profile", ok, CertificateInvalid, source=_SOURCE,
        expected="an end entity's X.509 v3 certificate of a key for digital signatures",
    )  # fmt: skip
    intermediates = [load_certificate(der) for der in chain]
    path = build_path(leaf, intermediates, settings.ak_roots, checks, name=name)
    check_dates(path, now, checks, name=name)
    lists = require_not_revoked(
        path, settings.lists.current(), settings.revocation, name=name, now=now, checks=checks
    )
    key = leaf.public_key()
    checks.require(
        f"{name}.key_type", isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)),
        CertificateInvalid, expected="RSA or ECC", observed=type(key).__name__, source=_SOURCE,
    )  # fmt: skip
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
    tpm = tpm_names(leaf)
    return KeyCertificate(
        device=_device(leaf),
        manufacturer=None if tpm is None else tpm[0],
        model=None if tpm is None else tpm[1],
        spki_sha256=hashlib.sha256(spki_of(key)).digest(),
        endorsements=(
            *(item.fingerprint(hashes.SHA256()).hex() for item in path),
            *(item.sha256 for item in lists),
        ),
        not_after=min([item.not_valid_after_utc for item in path] + [item.next_update for item in lists]),
    )


def _device(leaf: x509.Certificate) -> DeviceName | None:
    """The hardware module's name; else a permanent identifier."""
    names = extension_of(leaf, x509.SubjectAlternativeName)
    others = [] if names is None else names.get_values_for_type(x509.OtherName)
    for oid, parse in (
        (_HARDWARE_MODULE_NAME, hardware_module_name),
        (_PERMANENT_IDENTIFIER, permanent_identifier),
    ):
        values = [item.value for item in others if item.type_id == oid]
        if len(values) > 1:
            raise Malformed("a certificate names its hardware twice")
        if values:
            return DeviceName(*parse(values[0]))
    return None


def _shown(device: DeviceName | None) -> list[str] | None:
    return None if device is None else [device.type, device.serial]
