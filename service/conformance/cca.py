"""Runs ``cca`` cases, and mutations of them, on the CCA verifier.

What a case does not state is taken so that only what it is about decides: the case's key (a JWK) is the one
that is endorsed, whichever platform the token names; a trust-anchor store endorses the platforms in it. The
realm's challenge must be the case's ``report_data``, also where that is zero; nothing is expected of a case
that states none. Tokens have no dates, so that the time decides nothing.

How an outcome is judged: ``service.conformance.evidence``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from common.encoding import b64_decode, b64url_encode, hex_decode
from common.errors import DuplicateKey
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from verifier import errors
from verifier.cca import BINDING_SIZE, CcaSettings, CcaVerifier
from verifier.cca.endorsements import FixedEndorsements, read_key, read_store
from verifier.cca.evidence import CcaEvidence
from verifier.errors import ReportDataMismatch
from verifier.model import ReportDataBinding, Unbound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from service.conformance.outcome import Outcome
    from verifier.cca.claims import CcaClaims
    from verifier.cca.endorsements import CcaEndorsements
    from verifier.model import Expectation

KINDS: Final = ("cca",)
_WHENEVER: Final = datetime(2025, 1, 1, tzinfo=UTC)
# A platform that vouches for another realm's key: what binds the two tokens does not hold.
_MORE_CLASSES: Final = {
    errors.AttestationKeyUntrusted.code: frozenset({"binder_mismatch", "binding_mismatch"}),
    DuplicateKey.code: frozenset({"parse_error"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        files = CaseFiles(case, folder)
        verifier = CcaVerifier(CcaSettings(), _endorsements(files.read("iak")))
        evidence = CcaEvidence(token=b64url_encode(files.read("evidence")))
        verified = verifier.verify(evidence, _expectation(files.case), None, _WHENEVER)
        differing += _differing(files.case.get("expect", {}).get("claims", {}), verified.claims["cca"])
        raise_failed(verified)
        return ""

    return judged(case, body, _MORE_CLASSES)


class _AnyPlatform:
    """One key for whichever platform a token names."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key

    def attestation_key(
        self,
        implementation_id: bytes,  # noqa: ARG002 (CcaEndorsements)
        instance_id: bytes,  # noqa: ARG002 (CcaEndorsements)
    ) -> ec.EllipticCurvePublicKey | None:
        return self._key


def _endorsements(data: bytes) -> CcaEndorsements:
    if data.lstrip()[:1] == b"[":
        return FixedEndorsements(read_store(data))
    return _AnyPlatform(read_key(data))


def _expectation(case: Mapping[str, Any]) -> Expectation:
    if case.get("report_data") is None:
        return Unbound()
    data = hex_decode(str(case["report_data"]), what="report_data")
    if len(data) > BINDING_SIZE:
        raise ReportDataMismatch(f"{len(data)} bytes are expected, and a challenge has {BINDING_SIZE}")
    # A manifest may leave out trailing zeros.
    return ReportDataBinding(data.ljust(BINDING_SIZE, b"\0"))


def _differing(stated: Mapping[str, Any], claims: CcaClaims) -> list[str]:
    """Claims that the manifest states otherwise, each by its token and label."""
    read = {"platform": dict(_platform(claims)), "realm": dict(_realm(claims))}
    return [
        f"{token} {label}"
        for token, expected in stated.items()
        for label, value in expected.items()
        if read[token].get(label) != value
    ]


def _platform(claims: CcaClaims) -> Iterator[tuple[str, Any]]:
    theirs = claims["platform"]
    yield "265", claims["platform_profile"]
    yield "10", b64_decode(theirs["cca-platform-challenge"]).hex()
    yield "256", claims["instance_id"]
    yield "2395", claims["lifecycle"]
    yield "2396", claims["implementation_id"]
    yield "2399", [_component(item) for item in theirs["cca-platform-sw-components"]]
    yield "2400", theirs.get("cca-platform-service-indicator")
    yield "2401", claims["config"]
    yield "2402", claims["platform_hash"]


def _component(item: Mapping[str, str]) -> dict[str, str]:
    labels = (("1", "measurement-type"), ("4", "version"), ("6", "measurement-description"))
    found = {
        "2": b64_decode(item["measurement-value"]).hex(),
        "5": b64_decode(item["signer-id"]).hex(),
    }
    return found | {label: item[name] for label, name in labels if name in item}


def _realm(claims: CcaClaims) -> Iterator[tuple[str, Any]]:
    theirs = claims["realm"]
    yield "265", theirs.get("cca-realm-profile")
    yield "10", b64_decode(theirs["cca-realm-challenge"]).hex()
    yield "44235", claims["personalization"]
    yield "44236", claims["realm_hash"]
    yield "44237", claims["rak"]
    yield "44238", claims["rim"]
    yield "44239", [claims["rem0"], claims["rem1"], claims["rem2"], claims["rem3"]]
    yield "44240", theirs["cca-realm-public-key-hash-algo-id"]
