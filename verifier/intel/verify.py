"""A quote, verified: by its signatures, by Intel's endorsements, and given the status of its platform.

Two steps. ``authenticate``: format; the attestation key's signature over the quote; quoting enclave, PCK
and chain to a pinned root (cached); their dates; TCB info, QE identity, revocation lists, revocation; the
quoting enclave against its identity; the second opinion, if it is wanted. ``judge``: the TDX module and
the TCB's level. Each of these raises. Then the settings about the platform: failures are recorded and set
engine floors.

Between the two the caller compares what the quote is bound to and looks at the body, so that foreign report
data is called that, and a TD that can be debugged is called that, on any platform.

The quote's own signature comes first, so that a corrupted quote is called corrupted, whatever became of the
certificates in it. It says nothing yet: its key is trusted only once the chain is.

Performance: a quoting enclave signs many quotes with one key, so that its chain, its report and its key are
verified once; collateral is parsed and verified once per document. Dates, revocation, status and evaluation
numbers are judged at every use. What remains per quote is one P-256 verification.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from common.checks import Check, Checks, Verdict
from common.errors import TouchstoneError
from verifier.errors import SecondOpinionDiffers, SignatureInvalid, TcbNotSupported
from verifier.intel.certificates import Anchor, Anchors, verify_raw
from verifier.intel.chain import VerifiedQe, verify_qe
from verifier.intel.checks import (
    QUOTE,
    require_dates,
    require_format,
    require_module,
    require_quoting_enclave,
)
from verifier.intel.collateral import Collateral, CollateralReader
from verifier.intel.evaluation import TcbResult, evaluate
from verifier.intel.findings import assess_platform
from verifier.intel.quote import SGX, TDX, Quote, QuoteSignature, parse_quote
from verifier.intel.second_opinion import DcapQvl, Opinion
from verifier.intel.td import TdBody
from verifier.intel.transport import CarriedEndorsements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from verifier.findings import Findings
    from verifier.intel.endorsements import FixedEndorsements, IntelEndorsements
    from verifier.intel.second_opinion import SecondOpinion
    from verifier.intel.settings import PlatformSettings

_CACHED: Final = 512
_STRUCTURE: Final = Check(
    "intel.quote.structure", Verdict.PASS, expected="every length fits; zeros alone follow", source=QUOTE
)
_POINT: Final = b"\x04"  # uncompressed (SEC 1 section 2.3.3)


class AuthenticQuote(msgspec.Struct, frozen=True):
    """A quote that Intel's endorsements lead to.

    Attributes:
        quote: the quote.
        qe: quoting enclave and chain.
        collateral: what Intel says of the platform.
    """

    quote: Quote
    qe: VerifiedQe
    collateral: Collateral


class CheckedQuote(msgspec.Struct, frozen=True):
    """An authentic quote of a platform that Intel has a level for.

    Attributes:
        quote: the quote.
        qe: quoting enclave and chain.
        collateral: what Intel says of the platform.
        tcb: status of the platform.
        digest: SHA-256 of the signed bytes, hex.
        endorsements: SHA-256 of every certificate and document relied on, hex.
        not_after: earliest expiry of those.
        identity: ``intel-ppid:<hex>``.
    """

    quote: Quote
    qe: VerifiedQe
    collateral: Collateral
    tcb: TcbResult
    digest: str
    endorsements: tuple[str, ...]
    not_after: datetime
    identity: str


class QuoteChecker:
    """Checks quotes of one TEE.

    Args:
        tee: ``tdx`` or ``sgx``.
        versions: quote versions that are accepted.
        settings: what the operator decided about platforms.
        endorsements: where collateral comes from.
        extra_anchors: roots that are trusted besides Intel's (test authorities). Everything they sign
            counts as hardware: the production profile of the service refuses them.
        second_opinion: the second implementation; of the settings by default.

    Raises:
        InvalidSetting: an extra anchor is no root, or the pinned certificate was altered.
        DependencyMissing: the second opinion is wanted, and dcap-qvl is not installed.
    """

    def __init__(
        self,
        tee: str,
        versions: frozenset[int],
        settings: PlatformSettings,
        endorsements: IntelEndorsements,
        *,
        extra_anchors: Sequence[x509.Certificate] = (),
        second_opinion: SecondOpinion | None = None,
    ) -> None:
        """Load the anchors."""
        self._type = TDX if tee == "tdx" else SGX
        self._versions = versions
        self._settings = settings
        self._endorsements = endorsements
        self._anchors = Anchors(extra_anchors)
        self._reader = CollateralReader(tee, settings.minimum_evaluation)
        self._second = second_opinion or (DcapQvl() if settings.second_opinion else None)
        self._qe_of = lru_cache(maxsize=_CACHED)(self._verify_qe)
        self._key_of = lru_cache(maxsize=_CACHED)(_attestation_key)

    def authenticate(
        self, data: bytes, now: datetime, checks: Checks, carried: FixedEndorsements | None = None
    ) -> AuthenticQuote:
        """Verify a quote's signatures and endorsements at ``now``.

        Args:
            data: the quote.
            now: verification time.
            checks: where the records go.
            carried: collateral that came with the evidence, used where the store has none.

        Raises:
            InputError: the quote cannot be parsed.
            EvidenceError: not authentic.
            EndorsementError: certificates or collateral do not hold.
        """
        quote = parse_quote(data)
        checks.extend((_STRUCTURE,))
        require_format(quote, self._type, self._versions, checks)
        key = self._key_of(quote.proof.attestation_key)
        checks.require(
            "intel.quote.signature",
            key is not None and verify_raw(key, quote.proof.signature, quote.signed), SignatureInvalid,
            expected="signed by the attestation key", source=f"{QUOTE}; FIPS 186-5 section 6.4.2",
        )  # fmt: skip
        qe = self._quoting_enclave(quote.proof, checks)
        require_dates(qe, now, checks)
        store = self._endorsements if carried is None else CarriedEndorsements(self._endorsements, carried)
        collateral = self._reader.read(store, qe, now, checks)
        require_quoting_enclave(qe.report, collateral.identity, checks)
        self._require_second_opinion(data, collateral, qe.anchor, now, checks)
        return AuthenticQuote(quote, qe, collateral)

    def judge(
        self, authentic: AuthenticQuote, now: datetime, findings: Findings, checks: Checks
    ) -> CheckedQuote:
        """Find the status of an authentic quote's platform, and hold it against the settings.

        Raises:
            TcbNotSupported: Intel has no level for it.
        """
        quote, qe, collateral = authentic.quote, authentic.qe, authentic.collateral
        tcb = _level(quote, qe, collateral, checks)
        assess_platform(tcb, qe.pck, collateral, self._settings, now=now, findings=findings)
        return CheckedQuote(
            quote=quote,
            qe=qe,
            collateral=collateral,
            tcb=tcb,
            digest=hashlib.sha256(quote.signed).hexdigest(),
            endorsements=(*qe.endorsements, *collateral.digests),
            not_after=min(qe.not_after, *collateral.next_updates),
            identity=f"intel-ppid:{qe.pck.ppid.hex()}",
        )

    def _quoting_enclave(self, proof: QuoteSignature, checks: Checks) -> VerifiedQe:
        try:
            qe = self._qe_of(
                proof.attestation_key, proof.qe_report, proof.qe_signature, proof.auth_data,
                proof.certification_data,
            )  # fmt: skip
        except TouchstoneError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        checks.extend(qe.checks)
        return qe

    def _verify_qe(
        self, key: bytes, report: bytes, signature: bytes, auth_data: bytes, chain: bytes
    ) -> VerifiedQe:
        return verify_qe(QuoteSignature(b"", key, report, signature, auth_data, 0, chain), self._anchors)

    def _require_second_opinion(
        self, data: bytes, collateral: Collateral, anchor: Anchor, now: datetime, checks: Checks
    ) -> None:
        if self._second is None:
            return
        answer = self._second.of(data, collateral, anchor, now)
        if answer.opinion is Opinion.NONE:
            checks.skip("intel.second_opinion", f"dcap-qvl has none: {answer.words}")
            return
        checks.require(
            "intel.second_opinion", answer.opinion is Opinion.CONFIRMED, SecondOpinionDiffers,
            expected="the signatures verify", observed=answer.words, source="dcap-qvl",
        )  # fmt: skip


def _level(quote: Quote, qe: VerifiedQe, collateral: Collateral, checks: Checks) -> TcbResult:
    body = quote.body if isinstance(quote.body, TdBody) else None
    if body is not None:
        require_module(body, collateral.info, checks)
    source = "Intel PCS API version 4, TCB info"
    try:
        tcb = evaluate(collateral.info, collateral.identity, qe.pck.tcb, qe.report, body)
    except TcbNotSupported as error:
        checks.fail(
            "intel.tcb.level", TcbNotSupported, expected="a level that the TCB meets",
            observed=list(qe.pck.tcb.components), source=source, note=error.message,
        )  # fmt: skip
    checks.require(
        "intel.tcb.level", ok=True, error=TcbNotSupported, expected="a level that the TCB meets",
        observed=str(tcb.status), source=source,
    )  # fmt: skip
    return tcb


def _attestation_key(point: bytes) -> ec.EllipticCurvePublicKey | None:
    """The key of 64 bytes x and y; None: not a point of the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _POINT + point)
    except ValueError:
        return None
