"""PE images: what cannot be measured is refused; what can is measured as firmware and signers do."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TouchstoneError
from provenance.derivation.boot import pe
from provenance.errors import ArtifactInvalid, NotDerivable
from tests.components import require
from tests.provenance.derivation.pe_files import digest_by_deletion, pe_image

TEXT, DATA = b"text" * 128, b"data" * 256
IMAGE = pe_image(TEXT, DATA)
REAL = [
    *Path("/usr/lib/systemd/boot/efi").glob("*.efi*"),
    *Path("/usr/lib/shim").glob("*.efi"),
    *Path("/usr/lib/grub/x86_64-efi/monolithic").glob("*.efi"),
]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "no MZ"),
        (b"MZ", "e_lfanew"),
        (b"\x7fELF" + IMAGE, "no MZ"),
        (b"MZ".ljust(60, b"\0") + struct.pack("<I", 0xFFFFFFFF), "signature wants"),
        (b"MZ".ljust(60, b"\0") + struct.pack("<I", 0) + IMAGE[64:], "no PE signature"),
        (IMAGE[:300], "wants"),
        (IMAGE[:-1], "beyond the file"),
        (pe_image(TEXT, magic=0x107), "neither PE32 nor PE32+"),
        (pe_image(TEXT, directories=17), "do not fit"),
        (pe_image(TEXT, count=0), "0 sections"),
        (pe_image(TEXT, count=97), "97 sections"),
        (pe_image(TEXT, DATA, table=[(0x200, 0x200), (0x3FF, 0x400)]), "overlap"),
        (pe_image(TEXT, table=[(0x1FF, 0x200)]), "overlaps the headers"),
        (pe_image(TEXT, table=[(0x200, 0xFFFFFFFF)]), "beyond the file"),
        (pe_image(TEXT, table=[(0xFFFFFE00, 0x200)]), "beyond the file"),
        (pe_image(TEXT, certificate_entry=(0x400, 0)), "no size"),
        (pe_image(TEXT, certificates=b"c" * 64, certificate_entry=(0x400, 56)), "does not end the file"),
        (pe_image(TEXT, certificates=b"c" * 64, certificate_entry=(0x100, 0x340)), "does not end the file"),
        (pe_image(TEXT, certificates=b"c" * 64, certificate_entry=(0x3F8, 72)), "into its certificates"),
    ],
)
def test_an_image_that_points_outside_itself_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(ArtifactInvalid, match=reason):
        pe.parse(image)


def test_headers_that_do_not_cover_themselves_are_refused() -> None:
    image = bytearray(IMAGE)
    struct.pack_into("<I", image, 64 + 24 + 60, 0x80)
    with pytest.raises(ArtifactInvalid, match="SizeOfHeaders"):
        pe.parse(bytes(image))


def test_a_gap_between_sections_determines_no_digest() -> None:
    image = pe_image(TEXT, DATA + b"\0" * 16, table=[(0x200, 0x200), (0x410, 0x400)])
    assert len(pe.sections(image)) == 2
    with pytest.raises(NotDerivable, match="gap"):
        pe.authenticode_digest(image, "sha256")


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(NotDerivable, match="algorithm"):
        pe.authenticode_digest(IMAGE, "md5")


@pytest.mark.parametrize("algorithm", pe.ALGORITHMS)
@pytest.mark.parametrize("tail", [b"", b"overlay"])
def test_the_digest_covers_all_but_checksum_entry_and_certificates(algorithm: str, tail: bytes) -> None:
    image = pe_image(TEXT, DATA, tail=tail, certificates=b"c" * 64)
    assert pe.authenticode_digest(image, algorithm) == digest_by_deletion(image, algorithm, 64)


def test_sections_out_of_order_in_the_table_are_hashed_in_file_order() -> None:
    image = pe_image(TEXT, DATA, table=[(0x400, 0x400), (0x200, 0x200)])
    assert pe.authenticode_digest(image, "sha384") == digest_by_deletion(image, "sha384")


def test_contents_are_what_the_loader_maps() -> None:
    first, _ = pe.sections(IMAGE)
    assert pe.contents(IMAGE, first) == TEXT
    with pytest.raises(ArtifactInvalid, match="larger in memory"):
        pe.contents(IMAGE, pe.Section(".bss", 0x400, 0x1000, 0x200, 0x200))


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("signer")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(pem))
    return folder / "key", folder / "certificate"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
@pytest.mark.parametrize("source", [None, *REAL], ids=lambda path: path.name if path else "made")
def test_osslsigncode_computes_the_same_digest(
    source: Path | None, algorithm: str, signer: tuple[Path, Path], tmp_path: Path
) -> None:
    require(shutil.which("osslsigncode") is not None, "osslsigncode is not installed")
    data = IMAGE if source is None else source.read_bytes()
    unsigned, signed = tmp_path / "unsigned", tmp_path / "signed"
    unsigned.write_bytes(data)
    key, certificate = signer
    sign = ["osslsigncode", "sign", "-h", algorithm, "-key", str(key), "-certs", str(certificate)]
    subprocess.run([*sign, "-in", str(unsigned), "-out", str(signed)], check=True, capture_output=True)
    told = subprocess.run(
        ["osslsigncode", "verify", "-in", str(signed)], check=False, capture_output=True, text=True
    ).stdout
    (calculated,) = set(re.findall(r"Calculated message digest *: *([0-9A-F]+)", told))
    assert pe.authenticode_digest(signed.read_bytes(), algorithm).hex().upper() == calculated
    # The signer fills up to 8 bytes first; an unsigned file is measured as it is.
    padded = data + bytes(-len(data) % 8)
    assert pe.authenticode_digest(padded, algorithm).hex().upper() == calculated


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_only_our_errors_come_out_of_hostile_images(data: st.DataObject) -> None:
    image = bytearray(IMAGE)
    for _ in range(data.draw(st.integers(1, 6))):
        image[data.draw(st.integers(0, 0x1FF))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    for candidate in (bytes(image), bytes(image[:cut]), data.draw(st.binary(max_size=200))):
        try:
            digest = pe.authenticode_digest(candidate, "sha256")
        except TouchstoneError:
            continue
        assert len(digest) == 32
