"""A test authority of Intel's kind: root, PCK authorities and TCB signing, and the documents they sign.

Everything is as with Intel's (names, profiles, forms), except the keys: it counts only where its root is
passed as the anchor.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_LIFE: Final = timedelta(days=20 * 365)
_MONTH: Final = timedelta(days=30)
_ALG: Final = ec.ECDSA(hashes.SHA256())


class IntelAuthority:
    """Keys, certificates and what they sign.

    Args:
        start: when the certificates become valid.
    """

    def __init__(self, start: datetime = _START) -> None:
        """Make the keys and certificates."""
        self.start = start
        self._keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "platform", "tcb")}
        self.root = self._certificate("Intel SGX Root CA", "root", ca=True)
        self.platform = self._certificate("Intel SGX PCK Platform CA", "platform", ca=True)
        self.tcb_signing = self._certificate("Intel SGX TCB Signing", "tcb", ca=False)

    @property
    def tcb_chain(self) -> bytes:
        """PEM: TCB signing, root."""
        return _pem(self.tcb_signing, self.root)

    @property
    def pck_chain(self) -> bytes:
        """PEM: PCK authority, root."""
        return _pem(self.platform, self.root)

    def crl(self, of: str = "root", *, issued: datetime, life: timedelta = _MONTH, key: str = "") -> bytes:
        """A revocation list of ``root`` or ``platform``, DER."""
        issuer = self.root if of == "root" else self.platform
        return (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(issued)
            .next_update(issued + life)
            .add_extension(x509.CRLNumber(1), critical=False)
            .sign(self._keys[key or of], hashes.SHA256())
            .public_bytes(Encoding.DER)
        )

    def tcb_info(
        self,
        *,
        issued: datetime,
        number: int,
        fmspc: str = "00806F050000",
        tee: str = "TDX",
        key: str = "tcb",
        life: timedelta = _MONTH,
    ) -> bytes:
        """A TCB info with one level, as the service would give it."""
        components = [{"svn": 1}] * 16
        tcb: dict[str, Any] = {"sgxtcbcomponents": components, "pcesvn": 11}
        info: dict[str, Any] = {
            "id": tee,
            "version": 3,
            "issueDate": _text(issued),
            "nextUpdate": _text(issued + life),
            "fmspc": fmspc,
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": number,
        }
        if tee == "TDX":
            tcb["tdxtcbcomponents"] = components
            module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
            info |= {"tdxModule": module, "tdxModuleIdentities": []}
        info["tcbLevels"] = [{"tcb": tcb, "tcbDate": _text(self.start), "tcbStatus": "UpToDate"}]
        return self._signed("tcbInfo", info, key)

    def qe_identity(self, *, issued: datetime, number: int, tee: str = "TDX", key: str = "tcb") -> bytes:
        """A QE identity, as the service would give it."""
        level = {"tcb": {"isvsvn": 4}, "tcbDate": _text(self.start), "tcbStatus": "UpToDate"}
        identity = {
            "id": "TD_QE" if tee == "TDX" else "QE",
            "version": 2,
            "issueDate": _text(issued),
            "nextUpdate": _text(issued + _MONTH),
            "tcbEvaluationDataNumber": number,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 15,
            "mrsigner": "DC" * 32,
            "isvprodid": 2,
            "tcbLevels": [level],
        }
        return self._signed("enclaveIdentity", identity, key)

    def _signed(self, member: str, value: dict[str, Any], key: str) -> bytes:
        signed = json.dumps(value, separators=(",", ":")).encode()
        r, s = decode_dss_signature(self._keys[key].sign(signed, _ALG))
        signature = (r.to_bytes(32, "big") + s.to_bytes(32, "big")).hex()
        return b'{"%s":%s,"signature":"%s"}' % (member.encode(), signed, signature.encode())

    def _certificate(self, name: str, key: str, *, ca: bool) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=not ca, content_commitment=not ca, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("Intel SGX Root CA"))
            .public_key(self._keys[key].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.start)
            .not_valid_after(self.start + _LIFE)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=1 if ca else None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._keys["root"], hashes.SHA256())
        )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _text(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"
