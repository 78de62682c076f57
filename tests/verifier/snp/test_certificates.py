"""The certificate profile, one broken rule at a time; DER readers and tables on any bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import Malformed, TooLarge, TouchstoneError
from common.snp_certificate_table import encode_certificate_table, parse_certificate_table
from testkit.snp_firmware import SnpFirmware, amd_name, der_ia5_string, der_integer
from verifier.errors import CertificateInvalid
from verifier.snp import der
from verifier.snp.certificates import check_authority, common_name
from verifier.snp.products import Product, SigningKey
from verifier.snp.vek import check_vek

VCEK, VLEK = SigningKey.VCEK, SigningKey.VLEK


def test_a_vcek_states_chip_and_tcb(firmwares: dict[Product, SnpFirmware]) -> None:
    for product, firmware in firmwares.items():
        leaf = check_vek(firmware.leaf(), VCEK, product)
        assert (leaf.hardware_id, leaf.tcb, leaf.csp_id) == (firmware.hardware_id, firmware.tcb, None)
        assert leaf.certificate.serial_number == 0


def test_a_vlek_states_the_provider(firmwares: dict[Product, SnpFirmware]) -> None:
    for product, firmware in firmwares.items():
        leaf = check_vek(firmware.leaf(VLEK), VLEK, product)
        assert (leaf.csp_id, leaf.hardware_id) == (firmware.csp_id, None)


def test_a_wrapped_hardware_id_is_the_same_id(firmwares: dict[Product, SnpFirmware]) -> None:
    for product, firmware in firmwares.items():
        wrapped = bytes((4, len(firmware.hardware_id))) + firmware.hardware_id
        leaf = check_vek(firmware.leaf(extensions={"4": wrapped}), VCEK, product)
        assert leaf.hardware_id == firmware.hardware_id


def test_a_wrong_stepping_is_no_reason_to_refuse(milan: SnpFirmware) -> None:
    assert check_vek(milan.leaf(extensions={"2": der_ia5_string("Milan-A0")}), VCEK, Product.MILAN)


@pytest.mark.parametrize("name", ["Genoa", "Bergamo-A1", "Siena-A0"])
def test_zen_4c_parts_are_endorsed_as_genoa(genoa: SnpFirmware, name: str) -> None:
    assert check_vek(genoa.leaf(extensions={"2": der_ia5_string(name)}), VCEK, Product.GENOA)


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("1", None),
        ("1", der_integer(2)),
        ("1", b"\x04\x01\x00"),
        ("2", None),
        ("2", der_ia5_string("Genoa")),
        ("2", der_ia5_string("Milano")),
        ("2", b"\x0c\x05Milan"),  # UTF8String
        ("2", b"\x16\x06Milan\n"),
        ("2", b"\x16\x00"),
        ("3.1", None),
        ("3.2", None),
        ("3.3", None),
        ("3.8", None),
        ("3.1", b"\x02\x01\xff"),  # negative
        ("3.1", b"\x02\x02\x00\x04"),  # superfluous zero
        ("3.1", b"\x02\x81\x01\x04"),  # long form
        ("3.1", b"\x02\x02\x01\x00"),  # 256
        ("3.1", b"\x02\x01\x04\x00"),  # trailing byte
        ("3.1", b"\x02\x01"),
        ("3.1", b"\x02\x00"),
        ("3.1", b""),
        ("3.4", der_integer(1)),  # reserved
        ("3.7", b"\x02\x01\xff"),
        ("3.10", der_integer(0)),  # unknown component
        ("4", None),
        ("4", bytes(8)),
        ("4", bytes(63)),
        ("4", bytes(65)),
        ("4", b"\x04\x40" + bytes(63)),
        ("4", b"\x04\x3f" + bytes(64)),
        ("4", b"\x04\x08" + bytes(8)),
        ("5", der_ia5_string("CN=cloud")),  # a VCEK has no provider
    ],
)
def test_a_vcek_with_a_broken_extension_is_refused(
    milan: SnpFirmware, suffix: str, value: bytes | None
) -> None:
    with pytest.raises(CertificateInvalid):
        check_vek(milan.leaf(extensions={suffix: value}), VCEK, Product.MILAN)


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("5", None),
        ("5", b"\x16\x00"),
        ("5", b"CN=cloud"),
        ("5", der_ia5_string("x" * 65)),
        ("4", bytes(64)),
    ],
)
def test_a_vlek_with_a_broken_extension_is_refused(
    milan: SnpFirmware, suffix: str, value: bytes | None
) -> None:
    with pytest.raises(CertificateInvalid):
        check_vek(milan.leaf(VLEK, extensions={suffix: value}), VLEK, Product.MILAN)


@pytest.mark.parametrize(("suffix", "value"), [("3.9", None), ("4", bytes(64)), ("4", bytes(7))])
def test_a_turin_vcek_needs_its_fmc_and_its_short_id(
    turin: SnpFirmware, suffix: str, value: bytes | None
) -> None:
    with pytest.raises(CertificateInvalid):
        check_vek(turin.leaf(extensions={suffix: value}), VCEK, Product.TURIN)


def test_a_duplicate_extension_is_refused(milan: SnpFirmware) -> None:
    prefix = bytes.fromhex("060a2b060104019c7801")  # OID 1.3.6.1.4.1.3704.1.3.x without its last byte

    def repeat(tbs: bytes) -> bytes:
        first = prefix + b"\x03\x05"
        assert first in tbs
        return tbs.replace(first, prefix + b"\x03\x04", 1)

    with pytest.raises(CertificateInvalid, match="duplicate"):
        check_vek(milan.reissue(milan.leaf(), VCEK, repeat), VCEK, Product.MILAN)


@pytest.mark.parametrize("name", ["SEV-VLEK", "VCEK", "SEV-VCEK ", "sev-vcek", "ARK-Milan"])
def test_a_leaf_with_another_name_is_refused(milan: SnpFirmware, name: str) -> None:
    with pytest.raises(CertificateInvalid):
        check_vek(milan.leaf(name=name), VCEK, Product.MILAN)


def _leaf(
    milan: SnpFirmware,
    change: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    scheme: padding.PSS | padding.PKCS1v15 | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A VCEK built anew from a good one, with one change."""
    good = x509.load_der_x509_certificate(milan.leaf())
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.subject)
        .issuer_name(good.issuer)
        .public_key(key or good.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_after_utc)
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    digest = digest or hashes.SHA384()
    scheme = scheme or padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    signed = change(builder).sign(milan.keys.ask, digest, rsa_padding=scheme)  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.DER)


def test_a_leaf_that_is_an_authority_or_has_an_unknown_critical_extension_is_refused(
    milan: SnpFirmware,
) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for extension in (x509.BasicConstraints(ca=True, path_length=0), unknown):
        with pytest.raises(CertificateInvalid):
            check_vek(
                _leaf(milan, lambda b, e=extension: b.add_extension(e, critical=True)), VCEK, Product.MILAN
            )  # type: ignore[misc]
    harmless = _leaf(milan, lambda b: b.add_extension(unknown, critical=False))
    assert check_vek(harmless, VCEK, Product.MILAN)


def test_a_leaf_with_another_key_is_refused(milan: SnpFirmware) -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()).public_key(), milan.keys.ask.public_key()):
        with pytest.raises(CertificateInvalid, match="P-384"):
            check_vek(_leaf(milan, lambda b: b, key), VCEK, Product.MILAN)


@pytest.mark.parametrize(
    ("scheme", "digest"),
    [
        (padding.PKCS1v15(), hashes.SHA384()),
        (padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
        (padding.PSS(padding.MGF1(hashes.SHA384()), 32), hashes.SHA384()),
    ],
)
def test_another_signature_algorithm_is_refused(
    milan: SnpFirmware, scheme: padding.PSS | padding.PKCS1v15, digest: hashes.HashAlgorithm
) -> None:
    with pytest.raises(CertificateInvalid, match="RSASSA-PSS"):
        check_vek(_leaf(milan, lambda b: b, scheme=scheme, digest=digest), VCEK, Product.MILAN)


def test_a_distinguished_name_that_is_not_amds_is_refused() -> None:
    base = list(amd_name("ARK-Milan"))
    missing = x509.Name(base[1:])
    further = x509.Name([*base, x509.NameAttribute(NameOID.COMMON_NAME, "ARK-Genoa")])
    other = x509.Name(
        [
            x509.NameAttribute(a.oid, "Advanced Micro Device") if a.oid == NameOID.ORGANIZATION_NAME else a
            for a in base
        ]
    )
    assert common_name(x509.Name(reversed(base))) == "ARK-Milan"
    for name in (missing, further, other, x509.Name([])):
        with pytest.raises(CertificateInvalid):
            common_name(name)


def test_amds_authorities_need_their_one_distribution_point(milan: SnpFirmware) -> None:
    check_authority(milan.ask, "SEV-Milan", crl_url=None)
    with pytest.raises(CertificateInvalid, match="distribution point"):
        check_authority(milan.ask, "SEV-Milan", crl_url="https://kdsintf.amd.com/vcek/v1/Milan/crl")


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x80", bytes(8193)])
def test_bytes_that_are_no_certificate_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        check_vek(data, VCEK, Product.MILAN)


@settings(max_examples=150, deadline=None)
@example(edits=[(12, 1)])  # the version of X.509
@given(edits=st.lists(st.tuples(st.integers(0, 1330), st.integers(0, 255)), min_size=1, max_size=3))
def test_an_edited_certificate_is_refused_typed_or_parses(
    milan_leaf: bytes, edits: list[tuple[int, int]]
) -> None:
    changed = bytearray(milan_leaf)
    for offset, value in edits:
        changed[offset % len(changed)] = value
    try:
        check_vek(bytes(changed), VCEK, Product.MILAN)
    except TouchstoneError:
        pass


@pytest.fixture(scope="module")
def milan_leaf(milan: SnpFirmware) -> bytes:
    return milan.leaf()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12))
def test_the_der_readers_take_one_encoding_of_a_value(data: bytes) -> None:
    try:
        value = der.integer(data, "x")
        length = max(1, (value.bit_length() + 8) // 8)
        assert data == bytes((2, length)) + value.to_bytes(length, "big")
    except TouchstoneError:
        pass
    for reader in (der.ia5_string, der.octet_string):
        try:
            reader(data, "x")
        except TouchstoneError:
            pass


def test_a_table_gives_back_what_was_put_in() -> None:
    certificates = {"VCEK": b"leaf", "ASK": b"intermediate", "ARK": b"root"}
    assert parse_certificate_table(encode_certificate_table(certificates)) == certificates


def test_the_table_holds_guids_as_uefi_does() -> None:
    assert encode_certificate_table({"VCEK": b"x"})[:16].hex() == "8d75da6364e66445adc5f4b93be8accd"


def _entry(guid: bytes, offset: int, length: int) -> bytes:
    return guid + offset.to_bytes(4, "little") + length.to_bytes(4, "little")


_VCEK_GUID = bytes.fromhex("8d75da6364e66445adc5f4b93be8accd")
_OTHER_GUID = bytes(range(16))


@pytest.mark.parametrize(
    "table",
    [
        b"",
        bytes(23),
        _entry(_VCEK_GUID, 48, 4),  # no end
        _entry(_VCEK_GUID, 48, 5) + bytes(24) + b"data",  # past the end
        _entry(_VCEK_GUID, 0, 4) + bytes(24) + b"data",  # inside the header
        _entry(_VCEK_GUID, 47, 4) + bytes(24) + b"data",
        _entry(_VCEK_GUID, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(24),
        _entry(_VCEK_GUID, 72, 4) + _entry(_OTHER_GUID, 75, 4) + bytes(24) + b"datadata",  # overlap
        _entry(_VCEK_GUID, 72, 4) + _entry(_VCEK_GUID, 76, 4) + bytes(24) + b"datadata",  # twice
    ],
)
def test_a_broken_table_is_refused(table: bytes) -> None:
    with pytest.raises(Malformed):
        parse_certificate_table(table)


def test_a_table_of_an_unknown_guid_is_empty() -> None:
    assert parse_certificate_table(_entry(_OTHER_GUID, 48, 4) + bytes(24) + b"data") == {}


def test_a_table_of_too_many_entries_or_bytes_is_refused() -> None:
    for table in (_entry(_OTHER_GUID, 0, 0) * 40 + bytes(24), bytes(64 * 1024 + 1)):
        with pytest.raises(TooLarge):
            parse_certificate_table(table)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_table_is_read_or_refused_typed(data: bytes, entries: int) -> None:
    try:
        found = parse_certificate_table(data[: entries * 24] + bytes(24) + data)
        assert all(value in data for value in found.values())
    except TouchstoneError:
        pass
