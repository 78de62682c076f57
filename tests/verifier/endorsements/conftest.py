"""A vendor's service on loopback, a fetcher that may ask it, and a test authority of Intel's kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from common.fetch import FetchLimits, HttpFetcher
from testkit.intel_collateral import IntelAuthority
from testkit.vendor_service import VendorService, chained
from verifier.intel.certificates import Anchor, Anchors

NOW = datetime(2025, 6, 1, tzinfo=UTC)
FMSPC = bytes.fromhex("00806f050000")
TCB_ADDRESS = "/tdx/certification/v4/tcb?fmspc=00806f050000&update=standard"
QE_ADDRESS = "/tdx/certification/v4/qe/identity?update=standard"
PCK_ADDRESS = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
ROOT_ADDRESS = "/sgx/certification/v4/rootcacrl"
TCB_HEADER = "TCB-Info-Issuer-Chain"
QE_HEADER = "SGX-Enclave-Identity-Issuer-Chain"
PCK_HEADER = "SGX-PCK-CRL-Issuer-Chain"

FetcherOf = Callable[..., HttpFetcher]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[VendorService]:
    with VendorService(tmp_path / "first") as running:
        yield running


@pytest.fixture
def second(tmp_path: Path) -> Iterator[VendorService]:
    with VendorService(tmp_path / "second") as running:
        yield running


@pytest.fixture
def fetcher_of(tmp_path: Path) -> FetcherOf:
    """A fetcher for these services alone, that remembers nothing."""

    def build(*services: VendorService, timeout_s: float = 5.0, max_bytes: int = 1 << 16) -> HttpFetcher:
        authorities = tmp_path / "authorities.pem"
        authorities.write_bytes(b"".join(item.ca_file.read_bytes() for item in services))
        limits = FetchLimits(timeout_s=timeout_s, max_bytes=max_bytes, keep_s=0, keep_failure_s=0)
        hosts = [urlsplit(item.url).netloc for item in services]
        return HttpFetcher(hosts, limits=limits, ca_file=authorities, allow_private=True)

    return build


@pytest.fixture(scope="session")
def intel() -> IntelAuthority:
    return IntelAuthority()


@pytest.fixture(scope="session")
def anchor(intel: IntelAuthority) -> Anchor:
    return Anchors([intel.root]).of_chain(intel.root, "the test chain")


def serve_intel(
    service: VendorService, intel: IntelAuthority, *, issued: datetime, number: int = 18
) -> None:
    """Everything that a TDX platform needs."""
    service.serve(
        TCB_ADDRESS, chained(intel.tcb_info(issued=issued, number=number), TCB_HEADER, intel.tcb_chain)
    )
    service.serve(
        QE_ADDRESS, chained(intel.qe_identity(issued=issued, number=number), QE_HEADER, intel.tcb_chain)
    )
    service.serve(PCK_ADDRESS, chained(intel.crl("platform", issued=issued), PCK_HEADER, intel.pck_chain))
    service.serve(ROOT_ADDRESS, intel.crl(issued=issued).hex().encode())
