"""The SEV and SEV-ES verifier: a report of the ATTESTATION command, by a platform that AMD certified.

Order: parse; chain of the platform to AMD's pinned root; the report's signature by the PEK; the nonce.
Each of these raises. Then the settings: failures are recorded and set engine floors. Then claims.

What such a report is worth: little. It says that *some* guest with this launch digest runs on this
platform. The host asks for it and chooses the nonce, so it is bound to no guest and no key: a session of
ours is refused, and a relying party's 16 bytes show freshness alone. Memory has no integrity. Therefore,
whatever the settings: ``instance-identity`` is at most 0 and ``hardware`` at most 32 (genuine, with known
vulnerabilities), so that no policy can make the result affirming. Secrets go by the launch protocol
(``verifier.sev.launch``).

Certificates of this kind have no dates and no revocation lists: ``now`` decides nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from common.checks import Checks
from common.encoding import b64url_decode
from common.errors import Malformed, TooLarge
from verifier.binding import bound_to, expected_report_data
from verifier.errors import (
    DebugEnabled,
    PolicyViolation,
    ReportDataMismatch,
    SignatureInvalid,
    UnsupportedEvidence,
)
from verifier.model import RuntimeDataBinding, SessionBinding, Unbound, VerifiedEvidence
from verifier.sev.certificate import CERTIFICATE_BYTES, parse_sev_certificate, verify_ecdsa
from verifier.sev.chain import Platform, pinned, verify_platform
from verifier.sev.claims import common_claims, sev_claims
from verifier.sev.evidence import SevEvidence
from verifier.sev.report import NONCE_BYTES, POLICY_NODBG, POLICY_RESERVED, SevReport, parse_report

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from verifier.sev.settings import SevSettings
    from wire.evidence import Evidence

BINDING_SIZE: Final = NONCE_BYTES
_MAX_TEXT: Final = 2 * CERTIFICATE_BYTES
_SOURCE: Final = "AMD SEV API (55766) section 6.8"
_POLICY: Final = "AMD SEV API (55766) chapter 3"
_NOT_RECOGNISED: Final = 97
_CONTRAINDICATED: Final = 96
_CONFIGURATION_UNAVAILABLE: Final = 36
_KNOWN_VULNERABILITIES: Final = 32
_NO_CLAIM: Final = 0


class SevVerifier:
    """Verifies SEV and SEV-ES evidence (``verifier.model.TeeVerifier``).

    Args:
        settings: what the operator decided.
    """

    def __init__(self, settings: SevSettings) -> None:
        """Keep the settings."""
        self._settings = settings

    @property
    def tee(self) -> str:
        """``sev``."""
        return "sev"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,  # noqa: ARG002 (nothing here has dates)
    ) -> VerifiedEvidence:
        """Verify evidence.

        Raises:
            InputError: the document, the report or a certificate cannot be parsed.
            EvidenceError: not authentic, not over the expected nonce, or a binding is asked for that a
                report cannot have.
            EndorsementError: the platform's chain does not hold.
        """
        if not isinstance(evidence, SevEvidence):
            raise Malformed("this verifier takes SEV evidence")
        _require_bindable(expected)
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        report, platform = parse_evidence(evidence)
        checks, product = Checks(), evidence.product
        checks.require(
            "sev.product", product in self._settings.products, PolicyViolation,
            expected=sorted(self._settings.products), observed=product, source="settings: products",
        )  # fmt: skip
        amd = self._settings.extra_authorities.get(product) or pinned(product)
        verify_platform(platform, amd, checks)
        _require_signature(report, platform, checks)
        _require_nonce(report, wanted, checks)
        floors = self._assess(report, platform, checks)
        if isinstance(expected, Unbound):
            floors["instance-identity"] = _NOT_RECOGNISED
        if init_data is not None:
            checks.warn(
                "sev.init_data", source=_SOURCE, note="SEV binds no init-data: it is not part of the claims"
            )
            floors["configuration"] = max(floors.get("configuration", 0), _CONFIGURATION_UNAVAILABLE)
        return VerifiedEvidence(
            tee=self.tee,
            evidence_digest=hashlib.sha256(report.signed + report.signature).hexdigest(),
            claims={
                "sev": sev_claims(report, platform, product),
                "report_data": report.nonce.hex(),
                "common": common_claims(report, product),
            },
            comparable=("sev",),
            checks=checks.records,
            floors=floors,
            bound=bound_to(expected),
            init_data="absent" if init_data is None else "unsupported",
            endorsements=(*platform.digests, *amd.digests),
            identity=f"sev-chip:{platform.cek.key_digest}",
        )

    def _assess(self, report: SevReport, platform: Platform, checks: Checks) -> dict[str, int]:
        """Record every expectation; gives the floors, those of the technology among them."""
        settings, policy = self._settings, report.policy
        floors = {"instance-identity": _NO_CLAIM, "hardware": _KNOWN_VULNERABILITIES}

        def expect(
            name: str, ok: bool, floored: dict[str, int], expected: object, observed: object
        ) -> None:
            error = DebugEnabled if name == "policy.debug" else PolicyViolation
            if not checks.expect(
                f"sev.{name}", ok, error, expected=expected, observed=observed, source=_POLICY
            ):
                floors.update(floored)

        configuration = {"configuration": _CONTRAINDICATED}
        debug = not policy & POLICY_NODBG
        visible = configuration | {"runtime-opaque": _CONTRAINDICATED}
        expect("policy.debug", not debug, visible, expected=False, observed=debug)
        missing = settings.policy_required & ~policy
        expect(
            "policy.required", not missing, configuration,
            expected=f"{settings.policy_required:#x}", observed=f"{policy:#x}",
        )  # fmt: skip
        expect(
            "policy.reserved", not policy & POLICY_RESERVED, configuration,
            expected="bits 6 to 15 are 0", observed=f"{policy:#x}",
        )  # fmt: skip
        expect(
            "policy.api", report.minimum_api >= settings.minimum_api, configuration,
            expected=settings.minimum_api, observed=report.minimum_api,
        )  # fmt: skip
        for name, known, digest in (
            ("owner", settings.owners, platform.oca.key_digest),
            ("chip", settings.chips, platform.cek.key_digest),
        ):
            expect(
                name, not known or digest in known, {"instance-identity": _NOT_RECOGNISED},
                expected=sorted(known) or "any", observed=digest,
            )  # fmt: skip
        return floors


def parse_evidence(evidence: SevEvidence) -> tuple[SevReport, Platform]:
    """Report and certificates of a document.

    Raises:
        InputError, UnsupportedEvidence: one of them cannot be parsed.
    """

    def field(name: str) -> bytes:
        text = getattr(evidence, name)
        if len(text) > _MAX_TEXT:
            raise TooLarge(f"{name} has {len(text)} characters, the limit is {_MAX_TEXT}")
        return b64url_decode(text, what=name)

    cek, oca, pek = (parse_sev_certificate(field(name)) for name in ("cek", "oca", "pek"))
    pdh = None if evidence.pdh is None else parse_sev_certificate(field("pdh"))
    return parse_report(field("report")), Platform(cek, oca, pek, pdh)


def _require_bindable(expected: Expectation) -> None:
    """Refuse to bind a guest's key: the host chooses all that is in a report.

    Raises:
        UnsupportedEvidence: a session, or runtime data with a key.
    """
    with_key = isinstance(expected, RuntimeDataBinding) and expected.tee_pubkey is not None
    if isinstance(expected, SessionBinding) or with_key:
        raise UnsupportedEvidence(
            "a SEV report is bound to no key of the guest",
            advice="Give secrets to SEV guests by the launch protocol: docs/verifier-sev.md.",
        )


def _require_signature(report: SevReport, platform: Platform, checks: Checks) -> None:
    pek = platform.pek
    ok = report.algorithm == pek.algorithm and verify_ecdsa(
        pek.key, report.algorithm, report.signature, report.signed
    )
    checks.require(
        "sev.report.signature", ok, SignatureInvalid, expected="signed by the platform's PEK",
        observed=f"algorithm {report.algorithm:#x}", source=f"{_SOURCE}, 0x40",
    )  # fmt: skip


def _require_nonce(report: SevReport, wanted: bytes | None, checks: Checks) -> None:
    if wanted is None:
        checks.skip(
            "sev.report.nonce", "no expectation was given: the report may be of any time", source=_SOURCE
        )
        return
    checks.require(
        "sev.report.nonce", hmac.compare_digest(report.nonce, wanted), ReportDataMismatch,
        expected=wanted.hex(), observed=report.nonce.hex(), source=f"{_SOURCE}, 0x00",
    )  # fmt: skip
