"""The PCK certificate: the key that signs for a platform's quoting enclaves, and the platform's TCB.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section 1.3.5
(extension 1.2.840.113741.1.13.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: TC002 (msgspec resolves it at run time)

from common.errors import Malformed
from verifier.errors import CertificateInvalid
from verifier.intel import der
from verifier.intel.certificates import check_leaf, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PCK_NAME: Final = "Intel SGX PCK Certificate"
COMPONENTS: Final = 16
ARC: Final = "1.2.840.113741.1.13.1"
_EXTENSION: Final = x509.ObjectIdentifier(ARC)
_PPID_BYTES: Final = 16
_CPUSVN_BYTES: Final = 16
_PCEID_BYTES: Final = 2
_FMSPC_BYTES: Final = 6
_INSTANCE_BYTES: Final = 16
_MAX_SVN: Final = 0xFF
_MAX_PCESVN: Final = 0xFFFF
# ENUMERATED sgxType.
SGX_TYPES: Final = ("Standard", "Scalable", "ScalableWithIntegrity")


class PckTcb(msgspec.Struct, frozen=True):
    """The TCB that a PCK is for.

    Attributes:
        components: 16 SVNs.
        pcesvn: of the provisioning certification enclave.
        cpusvn: 16 bytes.
    """

    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes


class Pck(msgspec.Struct, frozen=True):
    """A PCK certificate that meets its profile. Its signature and dates are judged elsewhere.

    Attributes:
        certificate: the certificate.
        sha256: of its DER, hex.
        key: P-256 key.
        ppid: 16 bytes, names the platform.
        tcb: what it is for.
        pceid: 2 bytes.
        fmspc: 6 bytes: family, model, stepping, platform type, custom SKU.
        sgx_type: see ``SGX_TYPES``.
        platform_instance_id: 16 bytes; of multi-package platforms (Platform CA).
        dynamic_platform: packages may be added; None where it is not said.
        cached_keys: platform root keys are kept by Intel; None where it is not said.
        smt_enabled: simultaneous multithreading; None where it is not said.
    """

    certificate: x509.Certificate
    sha256: str
    key: ec.EllipticCurvePublicKey
    ppid: bytes
    tcb: PckTcb
    pceid: bytes
    fmspc: bytes
    sgx_type: str
    platform_instance_id: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None


def check_pck(certificate: x509.Certificate) -> Pck:
    """Hold a leaf against the profile of a PCK certificate and read Intel's extension.

    Raises:
        CertificateInvalid: it does not meet the profile.
    """
    key = check_leaf(certificate, PCK_NAME)
    try:
        value = certificate.extensions.get_extension_for_oid(_EXTENSION).value.public_bytes()
        return _read(certificate, key, der.by_oid(value, "the SGX extension"))
    except x509.ExtensionNotFound as error:
        raise CertificateInvalid(f"the {PCK_NAME} lacks the extension {ARC}") from error
    except Malformed as error:
        raise CertificateInvalid(f"{PCK_NAME}: {error.message}") from error


def _read(
    certificate: x509.Certificate, key: ec.EllipticCurvePublicKey, values: Mapping[str, tuple[int, bytes]]
) -> Pck:
    configuration = _configuration(values)
    instance = values.get(f"{ARC}.6")
    kind = der.unsigned(_required(values, "5"), der.ENUMERATED, "the SGX type")
    if kind >= len(SGX_TYPES):
        raise Malformed(f"SGX type {kind} is not known")
    return Pck(
        certificate=certificate,
        sha256=sha256_of(certificate),
        key=key,
        ppid=der.octets(_required(values, "1"), _PPID_BYTES, "the PPID"),
        tcb=_tcb(_required(values, "2")),
        pceid=der.octets(_required(values, "3"), _PCEID_BYTES, "the PCEID"),
        fmspc=der.octets(_required(values, "4"), _FMSPC_BYTES, "the FMSPC"),
        sgx_type=SGX_TYPES[kind],
        platform_instance_id=(
            None if instance is None else der.octets(instance, _INSTANCE_BYTES, "the platform instance id")
        ),
        dynamic_platform=configuration.get("7.1"),
        cached_keys=configuration.get("7.2"),
        smt_enabled=configuration.get("7.3"),
    )


def _tcb(value: tuple[int, bytes]) -> PckTcb:
    if value[0] != der.SEQUENCE:
        raise Malformed("the TCB of the SGX extension is not a SEQUENCE")
    values = der.by_oid(der.sequence(value[1]), "the TCB of the SGX extension")
    components = tuple(_number(values, f"2.{index}", _MAX_SVN) for index in range(1, COMPONENTS + 1))
    return PckTcb(
        components=components,
        pcesvn=_number(values, "2.17", _MAX_PCESVN),
        cpusvn=der.octets(_required(values, "2.18"), _CPUSVN_BYTES, "the CPUSVN"),
    )


def _configuration(values: Mapping[str, tuple[int, bytes]]) -> dict[str, bool]:
    value = values.get(f"{ARC}.7")
    if value is None:
        return {}
    if value[0] != der.SEQUENCE:
        raise Malformed("the configuration of the SGX extension is not a SEQUENCE")
    inner = der.by_oid(der.sequence(value[1]), "the configuration of the SGX extension")
    return {oid.removeprefix(f"{ARC}."): der.boolean(flag, oid) for oid, flag in inner.items()}


def _required(values: Mapping[str, tuple[int, bytes]], suffix: str) -> tuple[int, bytes]:
    value = values.get(f"{ARC}.{suffix}")
    if value is None:
        raise Malformed(f"the SGX extension lacks {ARC}.{suffix}")
    return value


def _number(values: Mapping[str, tuple[int, bytes]], suffix: str, most: int) -> int:
    number = der.unsigned(_required(values, suffix), der.INTEGER, f"{ARC}.{suffix}")
    if number > most:
        raise Malformed(f"{ARC}.{suffix} is larger than {most}")
    return number
