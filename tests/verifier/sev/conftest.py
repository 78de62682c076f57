"""One authority and one platform for all tests: RSA keys of 4096 bits are slow to make."""

from __future__ import annotations

import pytest

from common.encoding import b64url_encode
from testkit.sev_platform import SevAuthority, SevPlatform
from verifier.model import ReportDataBinding
from verifier.sev.chain import authorities
from verifier.sev.evidence import SevEvidence
from verifier.sev.products import Product
from verifier.sev.settings import SevSettings
from verifier.sev.verifier import SevVerifier

DIGEST = bytes(range(32))
NONCE = bytes(range(16))
EXPECTED = ReportDataBinding(NONCE)


@pytest.fixture(scope="session")
def authority() -> SevAuthority:
    return SevAuthority()


@pytest.fixture(scope="session")
def platform(authority: SevAuthority) -> SevPlatform:
    return SevPlatform(authority)


def verifier_of(authority: SevAuthority, **changes: object) -> SevVerifier:
    trusted = {Product.ROME: authorities(authority.ark, authority.ask)}
    return SevVerifier(SevSettings(extra_authorities=trusted, **changes))


def evidence_of(platform: SevPlatform, report: bytes | None = None, **changes: bytes | None) -> SevEvidence:
    members = {"cek": platform.cek, "oca": platform.oca, "pek": platform.pek, "pdh": platform.pdh} | changes
    return SevEvidence(
        report=b64url_encode(report or platform.report(DIGEST, nonce=NONCE)),
        product=Product.ROME,
        **{name: None if data is None else b64url_encode(data) for name, data in members.items()},
    )
