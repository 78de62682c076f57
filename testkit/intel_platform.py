"""A test authority for Intel TDX and SGX: root, PCK authorities, PCKs, TCB signing, collateral, and quotes.

Everything about it is as with Intel's (names, extensions, documents, quote layouts), except the keys: a
verifier trusts it only where its root is passed as an extra anchor. Any part can be changed, sensible or
not, and what depends on it is signed again, so that each rule can be broken alone.

Sources: Intel SGX PCK Certificate and CRL Profile Specification; Intel PCS API version 4; Intel DCAP quote
format.
"""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from verifier.intel.endorsements import FixedEndorsements, SignedDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ARC: Final = "1.2.840.113741.1.13.1"
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
FMSPC: Final = bytes.fromhex("50806f000000")
PCEID: Final = b"\0\0"
INTEL_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_SIGNER: Final = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
CA_NAMES: Final = {"platform": "Intel SGX PCK Platform CA", "processor": "Intel SGX PCK Processor CA"}
COMPONENTS: Final = (5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0)
PCESVN: Final = 11
MODULE_SVN: Final = bytes((5, 1, 2, *bytes(13)))
TD_ATTRIBUTES: Final = 1 << 28
XFAM: Final = 0x602E7
ENCLAVE_FLAGS: Final = 0x5
_QE_FLAGS: Final = 0x15
_QE_ATTRIBUTES: Final = struct.pack("<QQ", _QE_FLAGS, 0xE7)
_START: Final = datetime(2024, 1, 1, tzinfo=UTC)
_LIFE: Final = timedelta(days=7 * 365)
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_QE_SVN: Final = {"tdx": 6, "sgx": 9}
_QE_PRODUCT: Final = {"tdx": 2, "sgx": 1}
_QE_ID: Final = {"tdx": "TD_QE", "sgx": "QE"}


class Named:
    """A key and its certificate.

    Attributes:
        key: P-256.
        certificate: of the key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Keep both."""
        self.key = key
        self.certificate = certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


class IntelPlatform:
    """One platform with its authorities and collateral.

    Args:
        now: the instant around which everything is valid.
        ca: ``platform`` or ``processor``: which authority issues the PCK.
        pck: changes to what the PCK says: ``components``, ``pcesvn``, ``pceid``, ``fmspc``, ``ppid``.
    """

    def __init__(
        self, *, now: datetime = NOW, ca: str = "platform", pck: Mapping[str, Any] | None = None
    ) -> None:
        """Make keys and certificates."""
        self.now = now
        self.ca = ca
        self.pck_values: dict[str, Any] = {
            "components": COMPONENTS, "pcesvn": PCESVN, "pceid": PCEID, "fmspc": FMSPC,
            "ppid": bytes(range(16)), "instance": bytes(range(16, 32)),
        } | dict(pck or {})  # fmt: skip
        self._root = self.issue("Intel SGX Root CA", None, authority=True)
        self.authorities = {
            name: self.issue(CA_NAMES[name], self._root, authority=True) for name in CA_NAMES
        }
        self.signing = self.issue("Intel SGX TCB Signing", self._root)
        self.pck = self.issue(
            "Intel SGX PCK Certificate", self.authorities[ca], extension=sgx_extension(self.pck_values)
        )
        self.attestation_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def root(self) -> x509.Certificate:
        """The root, to be passed as an extra anchor."""
        return self._root.certificate

    @property
    def root_key(self) -> Named:
        """The root with its key."""
        return self._root

    def twin_of_root(self) -> bytes:
        """PEM of another certificate of the root's name and key."""
        key = self._root.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.root.subject)
            .issuer_name(self.root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_START)
            .not_valid_after(_START + 2 * _LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_usage(authority=True), critical=True)
        )
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(
        self,
        name: str,
        issuer: Named | None,
        *,
        authority: bool = False,
        extension: bytes | None = None,
        start: datetime = _START,
        life: timedelta = _LIFE,
    ) -> Named:
        """A certificate of Intel's form; self-signed without an issuer."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(intel_name(name))
            .issuer_name(intel_name(name) if issuer is None else issuer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + life)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_usage(authority=authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if issuer is not None:
            key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
            # dcap-qvl finds a certificate's list by its distribution point.
            builder = builder.add_extension(key_id, critical=False).add_extension(
                _distribution_point(), critical=False
            )
        if extension is not None:
            oid = x509.ObjectIdentifier(ARC)
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension), critical=False)
        return Named(key, builder.sign(key if issuer is None else issuer.key, hashes.SHA256()))

    def chain(self, *names: Named) -> bytes:
        """PEM of certificates, the root behind them."""
        return b"".join(named.pem for named in (*names, self._root))

    def pck_chain(self) -> bytes:
        """PEM of PCK, authority and root."""
        return self.chain(self.pck, self.authorities[self.ca])

    def crl(
        self,
        issuer: Named,
        revoked: Iterable[x509.Certificate] = (),
        *,
        start: datetime | None = None,
        life: timedelta = timedelta(days=30),
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A revocation list, DER; signed by another key where one is given."""
        begin = start or self.now - timedelta(days=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(begin)
            .next_update(begin + life)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
            )
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(begin).build())
        return builder.sign(key or issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def tcb_info(self, tee: str = "tdx", **changes: Any) -> dict[str, Any]:
        """The value of ``tcbInfo``: three levels, UpToDate at what the platform has."""
        levels = [
            _level(tee, COMPONENTS, PCESVN, (5, 0, 2, *bytes(13)), "UpToDate", "2025-11-12"),
            _level(tee, COMPONENTS, PCESVN - 6, (5, 0, 2, *bytes(13)), "OutOfDate", "2018-01-04",
                   ["INTEL-SA-00106"]),
            _level(tee, (4, *COMPONENTS[1:]), 5, (3, 0, 1, *bytes(13)), "OutOfDate", "2017-01-04",
                   ["INTEL-SA-00106", "INTEL-SA-00615"]),
        ]  # fmt: skip
        value: dict[str, Any] = {
            "id": tee.upper(), "version": 3, **self._window(), "fmspc": FMSPC.hex().upper(),
            "pceId": PCEID.hex(), "tcbType": 0, "tcbEvaluationDataNumber": 20,
        }  # fmt: skip
        if tee == "tdx":
            module = {"mrsigner": "0" * 96, "attributes": "0" * 16, "attributesMask": "F" * 16}
            module_levels = [_isv(4, "UpToDate", "2025-11-12"), _isv(2, "OutOfDate", "2023-08-09",
                             ["INTEL-SA-00900"])]  # fmt: skip
            value |= {
                "tdxModule": module,
                "tdxModuleIdentities": [{"id": "TDX_01", **module, "tcbLevels": module_levels}],
            }
        return value | {"tcbLevels": levels} | changes

    def qe_identity(self, tee: str = "tdx", **changes: Any) -> dict[str, Any]:
        """The value of ``enclaveIdentity``."""
        return {
            "id": _QE_ID[tee], "version": 2, **self._window(), "tcbEvaluationDataNumber": 20,
            "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_SIGNER.hex().upper(), "isvprodid": _QE_PRODUCT[tee],
            "tcbLevels": [
                _isv(5, "UpToDate", "2025-11-12"), _isv(2, "OutOfDate", "2019-01-01", ["INTEL-SA-00477"])
            ],
        } | changes  # fmt: skip

    def signed(self, member: str, value: Any, signer: Named | None = None) -> SignedDocument:
        """A document with its signature, as Intel's service returns it."""
        by = signer or self.signing
        text = json.dumps(value, separators=(",", ":"))
        signature = raw_signature(by.key, text.encode()).hex()
        body = f'{{"{member}":{text},"signature":"{signature}"}}'.encode()
        return SignedDocument(body, self.chain(by))

    def documents(self, tee: str = "tdx", **changes: Any) -> dict[str, Any]:
        """What ``FixedEndorsements`` takes; ``tcb_info`` and the like replace parts."""
        issuer = self.authorities[self.ca]
        made: dict[str, Any] = {
            "tcb_info": self.signed("tcbInfo", self.tcb_info(tee)),
            "qe_identity": self.signed("enclaveIdentity", self.qe_identity(tee)),
            "pck_crl": SignedDocument(self.crl(issuer), self.chain(issuer)),
            "root_crl": self.crl(self._root),
        }
        return made | changes

    def endorsements(self, tee: str = "tdx", **changes: Any) -> FixedEndorsements:
        """Collateral of the platform."""
        return FixedEndorsements(**self.documents(tee, **changes))

    def collateral_json(self, tee: str = "tdx", **changes: Any) -> bytes:
        """The same as one JSON object."""
        made = self.documents(tee, **changes)
        document: dict[str, str] = {
            "pck_crl_issuer_chain": made["pck_crl"].chain.decode(),
            "root_ca_crl": made["root_crl"].hex(),
            "pck_crl": made["pck_crl"].body.hex(),
        }
        for name, member in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
            body = made[name].body.decode()
            text, _, rest = body.removeprefix(f'{{"{member}":').rpartition(',"signature":"')
            document |= {
                f"{name}_issuer_chain": made[name].chain.decode(),
                name: text,
                f"{name}_signature": rest.removesuffix('"}'),
            }
        return json.dumps(document).encode()

    def td_quote(self, *, version: int = 4, body_type: int = 3, **fields: Any) -> bytes:
        """A TD's quote: version 4 (TD 1.0), or 5 with body type 2 (TD 1.0) or 3 (TD 1.5)."""
        body = td_body(typed=version > 4 and body_type == 3, **fields)
        return self.quote(version, 0x81, body, body_type)

    def sgx_quote(self, *, version: int = 3, **fields: Any) -> bytes:
        """An enclave's quote of version 3, 4 or 5."""
        return self.quote(version, 0x00, enclave_report(**fields), 1)

    def quote(self, version: int, tee_type: int, body: bytes, body_type: int) -> bytes:
        """A quote of a body, signed by the platform's quoting enclave."""
        header = struct.pack("<HHI4s16s20s", version, 2, tee_type, bytes(4), INTEL_VENDOR, bytes(20))
        descriptor = struct.pack("<HI", body_type, len(body)) if version > 4 else b""
        return self.seal(header + descriptor + body, "tdx" if tee_type else "sgx")

    def seal(
        self,
        signed: bytes,
        tee: str,
        *,
        auth_data: bytes = bytes(range(32)),
        certification: tuple[int, bytes] | None = None,
        qe: Mapping[str, Any] | None = None,
        pck_key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """Signed bytes with signature data behind them; parts of it can be others."""
        key = point(self.attestation_key)
        fields: dict[str, Any] = {
            "flags": _QE_FLAGS, "xfrm": 0xE7, "mr_signer": QE_SIGNER, "isv_prod_id": _QE_PRODUCT[tee],
            "isv_svn": _QE_SVN[tee], "report_data": hashlib.sha256(key + auth_data).digest(),
        } | dict(qe or {})  # fmt: skip
        report = enclave_report(**fields)
        kind, data = certification or (5, self.pck_chain() + b"\0")
        inner = report + raw_signature(pck_key or self.pck.key, report)
        inner += struct.pack("<H", len(auth_data)) + auth_data + struct.pack("<HI", kind, len(data)) + data
        if int.from_bytes(signed[:2], "little") > 3:
            inner = struct.pack("<HI", 6, len(inner)) + inner
        proof = raw_signature(self.attestation_key, signed) + key + inner
        return signed + struct.pack("<I", len(proof)) + proof

    def _window(self) -> dict[str, str]:
        day = timedelta(days=1)
        return {"issueDate": stamp(self.now - day), "nextUpdate": stamp(self.now + 29 * day)}


def td_body(*, typed: bool = False, **fields: Any) -> bytes:
    """A TD report body, ``typed`` of TD 1.5. Fields are ``TdBody``'s; attributes and XFAM are numbers."""
    values: dict[str, Any] = {
        "tee_tcb_svn": MODULE_SVN, "mr_seam": b"\x11" * 48, "mr_signer_seam": bytes(48),
        "seam_attributes": bytes(8), "td_attributes": TD_ATTRIBUTES, "xfam": XFAM, "mr_td": b"\x22" * 48,
        "mr_config_id": bytes(48), "mr_owner": bytes(48), "mr_owner_config": bytes(48),
        "rtmr_0": b"\x30" * 48, "rtmr_1": b"\x31" * 48, "rtmr_2": b"\x32" * 48, "rtmr_3": bytes(48),
        "report_data": bytes(range(64)), "tee_tcb_svn2": MODULE_SVN, "mr_servicetd": bytes(48),
    } | fields  # fmt: skip
    for name in ("td_attributes", "xfam"):
        values[name] = struct.pack("<Q", values[name])
    names = list(values) if typed else list(values)[:15]
    return b"".join(values[name] for name in names)


def enclave_report(**fields: Any) -> bytes:
    """An enclave's report body. Fields are those of ``EnclaveReport``; flags and XFRM numbers."""
    values: dict[str, Any] = {
        "cpu_svn": bytes(16), "misc_select": bytes(4), "isv_ext_prod_id": bytes(16),
        "flags": ENCLAVE_FLAGS, "xfrm": 3, "mr_enclave": b"\x44" * 32, "mr_signer": b"\x55" * 32,
        "config_id": bytes(64), "isv_prod_id": 7, "isv_svn": 3, "config_svn": 0,
        "isv_family_id": bytes(16), "report_data": bytes(range(64)),
    } | fields  # fmt: skip
    return struct.pack("<16s4s12x16sQQ32s32x32s32x64sHHH42x16s64s", *(values[name] for name in values))


def sgx_extension(values: Mapping[str, Any]) -> bytes:
    """The PCK's extension, DER."""
    tcb = [sgx_pair(f"2.{place}", _integer(svn)) for place, svn in enumerate(values["components"], 1)]
    tcb += [
        sgx_pair("2.17", _integer(values["pcesvn"])),
        sgx_pair("2.18", _der(4, bytes(svn & 0xFF for svn in values["components"]))),
    ]
    flags = [sgx_pair(f"7.{place}", _der(1, b"\xff")) for place in (1, 2, 3)]
    return _der(
        0x30,
        sgx_pair("1", _der(4, values["ppid"])),
        sgx_pair("2", _der(0x30, *tcb)),
        sgx_pair("3", _der(4, values["pceid"])),
        sgx_pair("4", _der(4, values["fmspc"])),
        sgx_pair("5", _der(10, b"\x01")),
        sgx_pair("6", _der(4, values["instance"])),
        sgx_pair("7", _der(0x30, *flags)),
        values.get("more", b""),
    )


def intel_name(common: str) -> x509.Name:
    """A distinguished name of Intel's form."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """R and s, big endian, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, _ECDSA))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """X and y of the public key."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def stamp(at: datetime) -> str:
    """As Intel's documents have times."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _level(  # noqa: PLR0917 (a row of a table)
    tee: str,
    sgx: Iterable[int],
    pcesvn: int,
    tdx: Iterable[int],
    status: str,
    date: str,
    advisories: list[str] | None = None,
) -> dict[str, Any]:
    tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in sgx], "pcesvn": pcesvn}
    if tee == "tdx":
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in tdx]
    level = {"tcb": tcb, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": status}
    return level | ({"advisoryIDs": advisories} if advisories else {})


def _isv(svn: int, status: str, date: str, advisories: list[str] | None = None) -> dict[str, Any]:
    level = {"tcb": {"isvsvn": svn}, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": status}
    return level | ({"advisoryIDs": advisories} if advisories else {})


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _distribution_point() -> x509.CRLDistributionPoints:
    address = x509.UniformResourceIdentifier("https://certificates.test.invalid/IntelSGXRootCA.der")
    return x509.CRLDistributionPoints([x509.DistributionPoint([address], None, None, None)])


def sgx_pair(suffix: str, value: bytes) -> bytes:
    """One member of the PCK's extension: identifier below Intel's arc, and value."""
    return _der(0x30, _oid(f"{ARC}.{suffix}"), value)


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray((first * 40 + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return _der(6, bytes(content))


def _integer(value: int) -> bytes:
    return _der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
