"""AMD product lines: CPUID to product, names in certificates, TCB layout.

Sources: AMD Versioned Chip Endorsement Key specification (pub. 57230) sections 3 and 4; SEV-SNP ABI
specification (pub. 56860) tables TCB_VERSION and ATTESTATION_REPORT. Bergamo and Siena are endorsed
under the product name Genoa.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import Malformed
from verifier.errors import UnsupportedEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping


class Product(StrEnum):
    """A product line as the AMD key distribution service names it."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SigningKey(StrEnum):
    """What signed a report; fixes leaf and intermediate."""

    VCEK = "VCEK"
    VLEK = "VLEK"


# (family, first model, last model) of CPUID Fn8000_0001 in report version 3 and later.
_MODELS: Final = (
    (0x19, 0x00, 0x0F, Product.MILAN),
    (0x19, 0x10, 0x1F, Product.GENOA),
    (0x19, 0xA0, 0xAF, Product.GENOA),
    (0x1A, 0x00, 0x11, Product.TURIN),
)
# productName of a certificate without its stepping ("Milan-B0"); Zen 4c parts belong to Genoa.
PRODUCT_NAMES: Final[Mapping[Product, frozenset[str]]] = {
    Product.MILAN: frozenset({"Milan"}),
    Product.GENOA: frozenset({"Genoa", "Bergamo", "Siena"}),
    Product.TURIN: frozenset({"Turin"}),
}
# Bytes of the hardware id (VCEK specification; Turin shortened it).
HWID_BYTES: Final[Mapping[Product, int]] = {Product.MILAN: 64, Product.GENOA: 64, Product.TURIN: 8}
_TCB_BYTES: Final = 8


def product_of(family: int, model: int) -> Product:
    """The product of a report's combined CPUID family and model.

    Raises:
        UnsupportedEvidence: none that this verifier has a root for.
    """
    for known_family, first, last, product in _MODELS:
        if family == known_family and first <= model <= last:
            return product
    raise UnsupportedEvidence(f"no AMD product is known for CPUID family {family:#x} model {model:#x}")


class Tcb(msgspec.Struct, frozen=True):
    """A TCB_VERSION, taken apart. Compared component by component, never as one number.

    Attributes:
        bootloader: SVN of the PSP boot loader.
        tee: SVN of the PSP operating system.
        snp: SVN of the SNP firmware.
        microcode: lowest current patch level of all cores.
        fmc: SVN of the firmware-management component; Turin and later, None before.
    """

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def covers(self, other: Tcb) -> bool:
        """Whether every component is at least that of ``other``."""
        return (
            self.bootloader >= other.bootloader
            and self.tee >= other.tee
            and self.snp >= other.snp
            and self.microcode >= other.microcode
            and (self.fmc or 0) >= (other.fmc or 0)
        )

    def as_dict(self) -> dict[str, int]:
        """Component to SVN; ``fmc`` only where the product has one."""
        parts = {
            "bootloader": self.bootloader,
            "tee": self.tee,
            "snp": self.snp,
            "microcode": self.microcode,
        }
        return parts if self.fmc is None else {"fmc": self.fmc, **parts}


@lru_cache(maxsize=4096)
def decode_tcb(raw: bytes, product: Product) -> Tcb:
    """Take a TCB_VERSION (8 bytes as they stand in the report) apart.

    Milan and Genoa: ``[bootloader, tee, 0, 0, 0, 0, snp, microcode]``;
    Turin: ``[fmc, bootloader, tee, snp, 0, 0, 0, microcode]``.

    Raises:
        Malformed: wrong length, or a reserved byte is set.
    """
    if len(raw) != _TCB_BYTES:
        raise Malformed(f"a TCB_VERSION has {_TCB_BYTES} bytes, not {len(raw)}")
    if product is Product.TURIN:
        fmc, bootloader, tee, snp, *reserved, microcode = raw
        tcb = Tcb(bootloader=bootloader, tee=tee, snp=snp, microcode=microcode, fmc=fmc)
    else:
        bootloader, tee, *reserved, snp, microcode = raw
        tcb = Tcb(bootloader=bootloader, tee=tee, snp=snp, microcode=microcode)
    if any(reserved):
        raise Malformed(f"TCB_VERSION {raw.hex()} of {product} has a reserved byte set")
    return tcb


def encode_tcb(tcb: Tcb, product: Product) -> bytes:
    """The inverse of ``decode_tcb``."""
    if product is Product.TURIN:
        return bytes((tcb.fmc or 0, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode))
    return bytes((tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode))
