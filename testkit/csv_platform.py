"""A Hygon platform of our own: HRK, HSK, CEK and PEK, and reports of both versions, signed with SM2.

Everything can be made wrong in one place: bodies are changed before they are signed, bytes after. Keys come
from a seed, so that a test's evidence is the same in every run up to the nonces of its signatures.
"""

from __future__ import annotations

import hashlib
from typing import Final

import gmalg  # type: ignore[import-untyped]
import msgspec

from common.encoding import b64url_encode
from verifier.csv.evidence import CsvEvidence
from verifier.csv.layout import (
    ALGORITHM_SM2,
    CURVE_SM2,
    USAGE_CEK,
    USAGE_HRK,
    USAGE_HSK,
    USAGE_NONE,
    USAGE_OCA,
    USAGE_PEK,
)

PAGE: Final = 4096
SERIAL_NUMBER: Final = "TST00000000001"
# NODBG, NOKS, ES, NOSEND, CSV, CSV3; firmware 1.3 at least.
POLICY: Final = 0x03010000 | 0b0110_1111


class Key:
    """An SM2 key with the user id that its holder signs with.

    Args:
        seed: whatever tells it from others.
        user_id: at most 254 bytes.
    """

    def __init__(self, seed: bytes, user_id: bytes) -> None:
        """Derive it."""
        secret = hashlib.sha256(b"csv platform" + seed).digest()
        self.user_id = user_id
        self._signer = gmalg.SM2(sk=secret, uid=user_id)
        self.point: bytes = self._signer.generate_pk(secret)[1:]

    def sign(self, message: bytes) -> bytes:
        """R and S in their fields of 72 bytes, little endian."""
        return b"".join(_little(part) for part in self._signer.sign(message))

    @property
    def public(self) -> bytes:
        """Curve, coordinates and user id, as both certificate formats have them."""
        user_id = len(self.user_id).to_bytes(2, "little") + self.user_id.ljust(254, b"\0")
        x, y = self.point[:32], self.point[32:]
        return CURVE_SM2.to_bytes(4, "little") + _little(x) + _little(y) + user_id


class ReportFields(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says, unmasked. Members of version 2 are left out of version 1."""

    user_pubkey_digest: bytes = bytes(32)
    vm_id: bytes = bytes(16)
    vm_version: bytes = bytes(16)
    report_data: bytes = bytes(64)
    mnonce: bytes = bytes(range(16))
    measure: bytes = bytes(range(32))
    policy: int = POLICY
    sig_usage: int = USAGE_PEK
    sig_algo: int = ALGORITHM_SM2
    anonce: int = 0x5DC7D726
    build: int = 2100
    rtmr_version: int = 1
    registers: tuple[bytes, ...] = (bytes(range(32)), *(bytes([index]) * 32 for index in range(1, 5)))


class CsvPlatform:
    """One platform, endorsed by its own HRK.

    Args:
        seed: tells it from others; ``vendor`` is of the vendor's keys, so that chips can share an HRK.
        vendor: seed of HRK and HSK.
    """

    def __init__(self, seed: bytes = b"chip", *, vendor: bytes = b"vendor") -> None:
        """Make all keys."""
        self.hrk_key = Key(vendor + b" hrk", b"HYGON-SSD-HRK")
        self.hsk_key = Key(vendor + b" hsk", b"HYGON-SSD-HSK")
        self.cek_key = Key(seed + b" cek", b"HYGON-SSD-CEK")
        self.pek_key = Key(seed + b" pek", b"HYGON-SSD-PEK")
        self.oca_key = Key(seed + b" oca", b"HYGON-SSD-OCA")
        self.hrk_id = hashlib.sha256(vendor).digest()[:16]
        self.hrk = self.ca_certificate(self.hrk_key, USAGE_HRK, self.hrk_id, self.hrk_key)
        self.hsk = self.ca_certificate(self.hsk_key, USAGE_HSK, self.hrk_id[::-1], self.hrk_key)
        self.cek = csv_certificate(self.cek_key, USAGE_CEK, (self.hsk_key, USAGE_HSK))
        self.pek = csv_certificate(
            self.pek_key, USAGE_PEK, (self.cek_key, USAGE_CEK), (self.oca_key, USAGE_OCA)
        )

    @property
    def hsk_cek(self) -> bytes:
        """HSK and CEK as Hygon publishes them."""
        return self.hsk + self.cek

    def ca_certificate(
        self, key: Key, usage: int, key_id: bytes, issuer: Key, *, signer_id: bytes | None = None
    ) -> bytes:
        """An HRK or HSK certificate of 832 bytes."""
        named = self.hrk_id if signer_id is None else signer_id
        head = (1).to_bytes(4, "little") + key_id + named + usage.to_bytes(4, "little")
        body = head + bytes(24) + key.public + bytes(108)
        return body + issuer.sign(body) + bytes(112)

    def report(
        self, version: int = 1, fields: ReportFields | None = None, *, masked: bool = False
    ) -> bytes:
        """A signed report with the zeros that fill its page.

        Args:
            version: 1 or 2.
            fields: what it says.
            masked: PEK and serial number as the firmware gives them (version 1), instead of as guests of
                Confidential Containers send them.
        """
        said = ReportFields() if fields is None else fields
        signer = self.pek + SERIAL_NUMBER.encode().ljust(64, b"\0")
        if masked and version == 1:
            signer = mask(signer, said.anonce)
        info = self._info_1(said) if version == 1 else self._info_2(said)
        return (info + signer + bytes(32) + hashlib.sha256(signer).digest()).ljust(PAGE, b"\0")

    def evidence(
        self, version: int = 1, fields: ReportFields | None = None, *, endorsed: bool = True
    ) -> CsvEvidence:
        """An evidence document, with HSK and CEK if ``endorsed``."""
        return CsvEvidence(
            report=b64url_encode(self.report(version, fields)),
            version=2 if version == 2 else 1,
            hsk_cek=b64url_encode(self.hsk_cek) if endorsed else None,
        )

    def _info_1(self, said: ReportFields) -> bytes:
        words = (said.policy, said.sig_usage, said.sig_algo)
        body = mask(_common(said) + b"".join(word.to_bytes(4, "little") for word in words), said.anonce)
        return body + said.anonce.to_bytes(4, "little") + self.pek_key.sign(body[:0xB4])

    def _info_2(self, said: ReportFields) -> bytes:
        words = (said.policy, said.sig_usage, said.sig_algo, said.build)
        body = _common(said) + b"".join(word.to_bytes(4, "little") for word in words)
        body += said.rtmr_version.to_bytes(2, "little") + bytes(14) + b"".join(said.registers) + bytes(656)
        return body + self.pek_key.sign(body)


def csv_certificate(key: Key, usage: int, *issuers: tuple[Key, int], version: int = 1) -> bytes:
    """A CEK, OCA or PEK certificate of 2084 bytes, with a signature of each issuer under its usage."""
    head = version.to_bytes(4, "little") + bytes((1, 3, 0, 0)) + usage.to_bytes(4, "little")
    body = head + ALGORITHM_SM2.to_bytes(4, "little") + key.public + bytes(16 + 608)
    slots = [_slot(issuer_usage, issuer.sign(body)) for issuer, issuer_usage in issuers]
    empty = [_slot(USAGE_NONE, bytes(144), algorithm=0)] * (2 - len(slots))
    return body + b"".join(slots + empty)


def mask(data: bytes, anonce: int) -> bytes:
    """``data`` with ``anonce`` over every word; its own inverse."""
    word = anonce.to_bytes(4, "little")
    return bytes(byte ^ word[index % 4] for index, byte in enumerate(data))


def _common(said: ReportFields) -> bytes:
    return (
        said.user_pubkey_digest
        + said.vm_id
        + said.vm_version
        + said.report_data
        + said.mnonce
        + said.measure
    )


def _slot(usage: int, signature: bytes, *, algorithm: int = ALGORITHM_SM2) -> bytes:
    return usage.to_bytes(4, "little") + algorithm.to_bytes(4, "little") + signature + bytes(368)


def _little(number: bytes) -> bytes:
    return number.rjust(32, b"\0")[::-1].ljust(72, b"\0")
