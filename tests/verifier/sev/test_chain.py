"""Certificates in AMD's own formats: what is pinned, what is parsed, and which links hold."""

from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.checks import Checks
from common.errors import InvalidSetting, Malformed, TouchstoneError
from testkit.sev_platform import (
    ASK,
    CEK,
    ECDH,
    ECDSA,
    OCA,
    PDH,
    PEK,
    RSA,
    SevAuthority,
    SevPlatform,
    amd_certificate,
    sev_certificate,
)
from verifier import vendor_roots
from verifier.errors import CertificateInvalid, UnsupportedEvidence
from verifier.sev.amd_certificate import parse_amd_certificate
from verifier.sev.certificate import parse_sev_certificate, point_bytes
from verifier.sev.chain import Platform, authorities, pinned, verify_platform
from verifier.sev.products import Product

KEY = ec.generate_private_key(ec.SECP384R1())


def check(authority: SevAuthority, platform: SevPlatform, **changes: bytes) -> Checks:
    members = {name: getattr(platform, name) for name in ("cek", "oca", "pek", "pdh")} | changes
    parsed = Platform(**{name: parse_sev_certificate(data) for name, data in members.items()})
    checks = Checks()
    verify_platform(parsed, authorities(authority.ark, authority.ask), checks)
    return checks


class TestPinned:
    @pytest.mark.parametrize("product", Product)
    def test_amds_signing_key_is_certified_by_its_root(self, product: Product) -> None:
        assert len(pinned(product).digests) == 2

    @pytest.mark.parametrize("product", [Product.MILAN, Product.GENOA, Product.TURIN])
    @pytest.mark.parametrize("kind", ["ark", "ask"])
    def test_keys_are_those_of_amds_x509_certificates(self, product: Product, kind: str) -> None:
        """Two formats, two sources, one key."""
        name = product.value.lower()
        ours = parse_amd_certificate(vendor_roots.load_raw(f"amd-sev/{kind}-{name}.cert"))
        assert ours.key == vendor_roots.load(f"amd/{kind}-{name}.pem").public_key()

    def test_every_file_is_recorded(self) -> None:
        from pathlib import Path

        folder = Path(vendor_roots.__file__).parent
        on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*.cert")}
        assert on_disk == {entry.file for entry in vendor_roots.raw_sources()}
        assert all(entry.package and entry.version for entry in vendor_roots.raw_sources())

    @pytest.mark.parametrize("file", ["amd-sev/ark-venice.cert", "SOURCES.toml", "amd/ark-milan.pem"])
    def test_what_is_not_recorded_is_not_loaded(self, file: str) -> None:
        with pytest.raises(InvalidSetting):
            vendor_roots.load_raw(file)


class TestAuthorities:
    def test_root_and_signing_key_belong_together(self, authority: SevAuthority) -> None:
        other = SevAuthority(2048)
        for ark, ask in ((authority.ark, other.ask), (authority.ask, authority.ark), (authority.ark,) * 2):
            with pytest.raises(CertificateInvalid):
                authorities(ark, ask)

    def test_a_signing_key_names_its_root(self, authority: SevAuthority) -> None:
        ids = (bytes([2]) * 16, bytes([3]) * 16)
        stranger = amd_certificate(authority.ask_key, authority.ark_key, ids, ASK)
        with pytest.raises(CertificateInvalid):
            authorities(authority.ark, stranger)

    def test_every_byte_counts(self) -> None:
        small = SevAuthority(2048)
        for position in (4, 0x14, 0x24, 0x28, 0x3C, 0x40, 0x141, 0x240, len(small.ask) - 1):
            altered = bytearray(small.ask)
            altered[position] ^= 0x10
            with pytest.raises(TouchstoneError):
                authorities(small.ark, bytes(altered))

    def test_lengths(self) -> None:
        data = SevAuthority(2048).ask
        for size in range(0, len(data), 7):
            with pytest.raises(TouchstoneError):
                parse_amd_certificate(data[:size])
        with pytest.raises(Malformed):
            parse_amd_certificate(data + b"\0")

    @pytest.mark.parametrize("exponent", [0, 1, 2, 4, 1 << 33])
    def test_exponents_of_no_rsa_key(self, exponent: int) -> None:
        data = bytearray(SevAuthority(2048).ask)
        data[0x40:0x140] = exponent.to_bytes(256, "little")
        with pytest.raises(Malformed):
            parse_amd_certificate(bytes(data))


class TestPlatform:
    def test_a_platform_holds(self, authority: SevAuthority, platform: SevPlatform) -> None:
        assert len(check(authority, platform).records) == 9

    def test_one_of_naples_holds_with_sha256(self) -> None:
        small = SevAuthority(2048)
        check(small, SevPlatform(small))

    def test_both_signatures_of_the_pek_are_needed_in_any_order(
        self, authority: SevAuthority, platform: SevPlatform
    ) -> None:
        owner, chip = (OCA, ECDSA, platform.oca_key), (CEK, ECDSA, platform.cek_key)
        check(authority, platform, pek=sev_certificate(platform.pek_key, PEK, ECDSA, [chip, owner]))
        for signers in ([owner], [chip], [owner, owner], [(CEK, ECDSA, platform.oca_key), owner]):
            with pytest.raises(CertificateInvalid):
                check(authority, platform, pek=sev_certificate(platform.pek_key, PEK, ECDSA, signers))

    def test_a_signature_counts_under_its_own_usage_and_algorithm(
        self, authority: SevAuthority, platform: SevPlatform
    ) -> None:
        wrong = [
            {"cek": sev_certificate(platform.cek_key, CEK, ECDSA, [(CEK, RSA, authority.ask_key)])},
            {"cek": sev_certificate(platform.cek_key, CEK, ECDSA, [(ASK, 0x1, authority.ask_key)])},
            {"cek": sev_certificate(platform.cek_key, CEK, ECDSA, [(ASK, RSA, authority.ark_key)])},
            {"oca": sev_certificate(platform.oca_key, OCA, ECDSA, [(OCA, ECDSA, platform.cek_key)])},
            {"pdh": sev_certificate(platform.pdh_key, PDH, ECDH, [(PEK, ECDSA, platform.cek_key)])},
            {"pdh": sev_certificate(platform.pdh_key, PDH, ECDH, [(PEK, 0x102, platform.pek_key)])},
        ]
        for changes in wrong:
            with pytest.raises(CertificateInvalid):
                check(authority, platform, **changes)

    @pytest.mark.parametrize("name", ["cek", "oca", "pek", "pdh"])
    def test_keys_have_their_usage(self, authority: SevAuthority, platform: SevPlatform, name: str) -> None:
        others = {"cek": platform.oca, "oca": platform.pek, "pek": platform.pdh, "pdh": platform.cek}
        with pytest.raises(CertificateInvalid):
            check(authority, platform, **{name: others[name]})

    def test_a_chip_of_another_authority(self, platform: SevPlatform) -> None:
        with pytest.raises(CertificateInvalid):
            check(SevAuthority(), platform)


class TestCertificate:
    @pytest.mark.parametrize(
        ("position", "value", "error"),
        [
            (0x000, 2, UnsupportedEvidence),
            (0x006, 1, Malformed),
            (0x00C, 9, UnsupportedEvidence),
            (0x010, 3, UnsupportedEvidence),
            (0x014, 0xFF, Malformed),
            (0x0A4, 1, Malformed),
            (0x413, 1, Malformed),
        ],
    )
    def test_fields(
        self, platform: SevPlatform, position: int, value: int, error: type[TouchstoneError]
    ) -> None:
        data = bytearray(platform.pek)
        data[position] = value ^ (data[position] if value == 0xFF else 0)
        with pytest.raises(error):
            parse_sev_certificate(bytes(data))

    def test_lengths(self, platform: SevPlatform) -> None:
        for data in (b"", platform.pek[:-1], platform.pek + b"\0"):
            with pytest.raises(Malformed):
                parse_sev_certificate(data)

    def test_points_are_written_as_they_are_read(self, platform: SevPlatform) -> None:
        parsed = parse_sev_certificate(platform.pek)
        assert point_bytes(parsed.key) == platform.pek[0x10:0x414]
        assert parsed.api == (0, 22)

    def test_every_signed_byte_counts(self, authority: SevAuthority, platform: SevPlatform) -> None:
        for position in (4, 5, 0x18, 0x60):
            data = bytearray(platform.pek)
            data[position] ^= 1
            with pytest.raises(TouchstoneError):
                check(authority, platform, pek=bytes(data))

    def test_nothing_hides_behind_a_signature(self, authority: SevAuthority, platform: SevPlatform) -> None:
        for name, position in (("pek", 0x41C + 144), ("pek", 0x624 + 511), ("oca", 0x41C + 144)):
            data = bytearray(getattr(platform, name))
            data[position] ^= 1
            with pytest.raises(CertificateInvalid):
                check(authority, platform, **{name: bytes(data)})


@given(data=st.binary(max_size=2100), position=st.integers(0, 2083))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_value_or_a_typed_error(
    platform: SevPlatform, authority: SevAuthority, data: bytes, position: int
) -> None:
    for whole, parse in ((platform.pek, parse_sev_certificate), (authority.ask, parse_amd_certificate)):
        place = position % len(whole)
        for candidate in (data, (whole[:place] + data + whole[place + len(data) :])[: len(whole)]):
            try:
                parse(candidate)
            except TouchstoneError:
                continue


def test_header_is_little_endian(platform: SevPlatform) -> None:
    assert struct.unpack("<I", platform.pek[8:12]) == (PEK,)
