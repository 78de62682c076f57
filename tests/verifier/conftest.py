"""Test firmwares of every product; their RSA keys are made once a session."""

from __future__ import annotations

import pytest

from testkit.snp_firmware import AuthorityKeys, SnpFirmware
from verifier.snp.products import Product


@pytest.fixture(scope="session")
def keys() -> AuthorityKeys:
    return AuthorityKeys()


@pytest.fixture(scope="session")
def milan(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.MILAN, keys=keys, seed=b"milan")


@pytest.fixture(scope="session")
def genoa(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.GENOA, keys=keys, seed=b"genoa")


@pytest.fixture(scope="session")
def turin(keys: AuthorityKeys) -> SnpFirmware:
    return SnpFirmware(Product.TURIN, keys=keys, seed=b"turin")


@pytest.fixture(scope="session")
def firmwares(milan: SnpFirmware, genoa: SnpFirmware, turin: SnpFirmware) -> dict[Product, SnpFirmware]:
    return {firmware.product: firmware for firmware in (milan, genoa, turin)}


@pytest.fixture(scope="session")
def stranger() -> SnpFirmware:
    """Another firmware's PKI, with the same names and other keys."""
    return SnpFirmware(Product.MILAN, seed=b"stranger")
