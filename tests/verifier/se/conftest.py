"""One authority and one machine for all tests: making RSA keys is slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from testkit.se_host import Host, SeAuthority, Ultravisor, image_header
from verifier.model import ReportDataBinding
from verifier.se import SeSettings, SeVerifier
from verifier.se.coco import SeCocoForm
from verifier.se.collateral import FixedCollateral, HostKeyFiles
from verifier.se.evidence import SeEvidence
from verifier.se.header import parse_header

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SEAL = bytes(range(32))
REPORT_DATA = bytes(range(64))
EXPECTED = ReportDataBinding(REPORT_DATA)


@dataclass
class World:
    """An authority, a machine of it, and what a verifier is configured with."""

    authority: SeAuthority
    host: Host
    lists: tuple[bytes, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def files(self, **changes: Any) -> HostKeyFiles:
        members = {
            "host_keys": (self.host.document,),
            "certificates": (self.authority.signing.pem, self.authority.intermediate.pem),
            "lists": self.lists,
        }
        return HostKeyFiles(**(members | changes))

    def verifier(self, files: HostKeyFiles | None = None, **changes: Any) -> SeVerifier:
        options = {"challenge_key": SEAL, "roots": (self.authority.root.certificate,)} | changes
        return SeVerifier(SeSettings(**options), FixedCollateral(files or self.files()))

    def evidence(
        self,
        *,
        user_data: bytes = REPORT_DATA,
        ultravisor: Ultravisor | None = None,
        verifier: SeVerifier | None = None,
        header: bytes | None = None,
        now: datetime = NOW,
    ) -> SeEvidence:
        challenge = (verifier or self.verifier()).challenge(parse_header(header or image_header()), now)
        answer = (ultravisor or Ultravisor(self.host)).evidence(challenge, user_data)
        return SeCocoForm().evidence_of(answer)


@pytest.fixture(scope="session")
def world() -> World:
    authority = SeAuthority()
    return World(authority, authority.host(), authority.lists())
