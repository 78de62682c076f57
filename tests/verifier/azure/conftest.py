"""VMs of a test firmware, verifiers that trust it, and what tests say of the result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from common.encoding import b64url_encode
from testkit.azure_vtpm import AzureVm
from testkit.snp_firmware import SnpFirmware
from verifier.az_snp_vtpm import AzSnpVtpmVerifier
from verifier.az_snp_vtpm.evidence import AzSnpVtpmEvidence
from verifier.model import Expectation, InitDataClaim, ReportDataBinding, VerifiedEvidence
from verifier.snp import SnpSettings, SnpVerifier
from verifier.tpm.settings import TpmSettings
from wire.evidence import SnpCertificate

NOW = datetime(2025, 6, 1, tzinfo=UTC)
NONCE = bytes(range(32))
BOUND = ReportDataBinding(NONCE)
SELECTION = {"sha256": tuple(range(24))}


class World:
    """A firmware, a VM on it, and a verifier that trusts both."""

    def __init__(self, firmware: SnpFirmware, vm: AzureVm) -> None:
        self.firmware = firmware
        self.vm = vm

    def report_of(self, **fields: Any) -> Callable[[bytes], bytes]:
        return lambda data: self.firmware.report(data, **fields)

    def certificates(self) -> tuple[SnpCertificate, ...]:
        found = self.firmware.certificates()
        return tuple(SnpCertificate(kind, b64url_encode(der)) for kind, der in found.items())

    def evidence(
        self, hcl: bytes | None = None, extra_data: bytes = NONCE, **changes: Any
    ) -> AzSnpVtpmEvidence:
        report = self.vm.hcl(self.report_of()) if hcl is None else hcl
        members = self.vm.members(report, extra_data, **changes)
        return AzSnpVtpmEvidence(**{"certificates": self.certificates()} | members)

    def verify(
        self,
        evidence: AzSnpVtpmEvidence,
        expected: Expectation = BOUND,
        init_data: InitDataClaim | None = None,
        vtpm: dict[str, Any] | None = None,
        **settings: Any,
    ) -> VerifiedEvidence:
        snp = SnpVerifier(
            SnpSettings(**settings), self.firmware.collateral(), extra_anchors=(self.firmware.ark,)
        )
        chosen = TpmSettings(**({"pcr_selection": SELECTION} | (vtpm or {})))
        return AzSnpVtpmVerifier(snp, chosen).verify(evidence, expected, init_data, NOW)


@pytest.fixture
def world(milan: SnpFirmware, shared_vm: AzureVm) -> World:
    vm = AzureVm()
    vm.__dict__.update(ak=shared_vm.ak, ek=shared_vm.ek)
    return World(milan, vm)


@pytest.fixture(scope="session")
def shared_vm() -> AzureVm:
    return AzureVm()


def failed(verified: VerifiedEvidence) -> list[str]:
    """Names of the failed checks."""
    return [check.name for check in verified.checks if check.verdict == "fail"]
