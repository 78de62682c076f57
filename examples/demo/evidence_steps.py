"""Steps c and d: evidence down to the vendor's root; the same report before and after the attestation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import narrator as tell
from deployment import Deployment
from material import SnpCase, snp_case, vectors
from provenance_steps import Build

from common.encoding import b64url_decode, b64url_encode
from testkit.snp_firmware import SnpFirmware
from verifier.model import ReportDataBinding, Unbound, VerifiedEvidence
from verifier.snp import SnpSettings, SnpVerifier
from verifier.snp.collateral import FixedCollateral
from verifier.snp.products import Product
from wire.evidence import SnpCertificate, SnpEvidence

_REAL = (
    ("snp/milan-vcek-v3-dstack", "Milan, VCEK, report version 3"),
    ("snp/genoa-vcek-v3-veraison", "Genoa, VCEK, from configfs-tsm"),
    ("snp/turin-vcek-v5-anolis", "Turin, VCEK, report version 5, 8-byte chip id"),
    ("snp/milan-vlek-v3-trustee", "Milan, VLEK of a cloud provider"),
)
_DATA = bytes(range(64))
_CENTRE_PIECE = "snp/milan-vcek-v3-dstack"


def verify_evidence(firmware: SnpFirmware, now: datetime) -> None:
    """Step c."""
    tell.heading("c", "SEV-SNP evidence, down to the pinned AMD root")
    folder = vectors()
    # These files come from many clouds and years: wider settings than a deployment's, said here.
    settings = SnpSettings(
        versions=frozenset({2, 3, 4, 5}),
        v2_product=Product.MILAN,
        vmpls=frozenset({0, 1}),
        csp_ids=None,
        revocation="if-present",
        permit_provisional_firmware=True,
        platform_unknown_permitted=(1 << 64) - 1 & ~0xFF,
    )
    if folder is None:
        tell.say(
            "No third-party vectors here: the reports are signed by a test firmware with its own root."
        )
        verifier = SnpVerifier(settings, firmware.collateral(), extra_anchors=[firmware.ark])
        evidence = firmware.evidence(_DATA)
        _show(verifier.verify(evidence, ReportDataBinding(_DATA), None, now), "test firmware")
        debug = verifier.verify(firmware.evidence(_DATA, policy=0x30000 | 1 << 19), Unbound(), None, now)
        _refuse(verifier, evidence, _other_chip(firmware), _DATA, now)
    else:
        tell.say(
            "Reports from real machines, each judged at its own time (real VLEKs live for one year). The chain must"
            " end at the ARK that this product carries, byte for byte; the certificate must be of this chip and TCB."
        )
        verifier = SnpVerifier(settings, FixedCollateral())
        for name, label in _REAL:
            case = snp_case(folder, name)
            expected = ReportDataBinding(bytes.fromhex(case.report_data))
            _show(verifier.verify(case.evidence, expected, None, case.at), label)
        case = snp_case(folder, "snp/milan-debug-v2-gosevguest")
        debug = verifier.verify(case.evidence, Unbound(), None, case.at)
        case, wrong = snp_case(folder, _CENTRE_PIECE), snp_case(folder, "snp/milan-vcek-v2-trustee")
        _refuse(
            verifier,
            case.evidence,
            wrong.evidence.certificates,
            bytes.fromhex(case.report_data),
            case.at,
        )
    failed = [check for check in debug.checks if check.code == "evidence.debug"]
    tell.expect(bool(failed) and debug.floors.get("configuration") == 96, "a debug guest must be denied")
    tell.bad(
        f"a debug guest: [{failed[0].code}] authentic, and floored to contraindicated whatever a policy says"
    )


def appraise_report(deployment: Deployment, build: Build, firmware: SnpFirmware) -> None:
    """Step d: also submits the attestation of step b."""
    tell.heading("d", "The same report before and after the attestation is submitted")
    folder = vectors()
    measurement = str(build.values[0].value)
    if folder is not None:
        case = snp_case(folder, _CENTRE_PIECE)
        tell.say(
            "The report that real hardware signed for this image, sent to a real server (gunicorn on loopback) and"
            " appraised by the shipped Rego policy. Nobody has attested anything yet."
        )
    else:
        tell.say(
            "A report of the test firmware with the derived measurement, sent to a real server on loopback."
        )
        case = _own_case(firmware, measurement)
    tell.expect(case.measurement == measurement, "the derived measurement must be the signed one")
    tell.good("the measurement derived in step b is the one that the report carries")
    before = _appraise(deployment, case)
    tell.expect(before["status"] == "contraindicated", f"{before['status']} before the attestation")
    tell.bad(f"before: {before['status']}")
    _show_reference_check(before["explanation"])
    stored = deployment.submit(build)
    tell.good(f"the attestation is submitted; the server verified it again and stored {stored} value(s)")
    after = _appraise(deployment, case)
    tell.expect(after["status"] == "affirming", f"{after['status']} after the attestation")
    tell.good(f"after: {after['status']}")
    _show_reference_check(after["explanation"])
    for rule in after["explanation"]["policy"]["rules"]:
        if rule["rule"].endswith(".executables") and rule["value"] is not None:
            tell.fact("rule that decided", f"{rule['rule']} (line {rule['line']}) = {rule['value']}")
    lineage = after["explanation"]["reference_values"]["relied_on"][0]["lineage"]
    for name in ("attestation", "signer", "builder", "source_uri", "source_revision"):
        tell.fact(f"lineage: {name}", lineage[name])


def _show(verified: VerifiedEvidence, label: str) -> None:
    passed = sum(check.verdict == "pass" for check in verified.checks)
    tell.good(f"{label}: {passed} checks hold, {verified.identity}")
    tell.fact("measurement", verified.claims["snp"]["measurement"])


def _refuse(
    verifier: SnpVerifier,
    evidence: SnpEvidence,
    wrong: tuple[SnpCertificate, ...],
    report_data: bytes,
    now: datetime,
) -> None:
    expected = ReportDataBinding(report_data)
    flipped = bytearray(b64url_decode(evidence.report))
    flipped[0x90] ^= 1  # first byte of MEASUREMENT
    with tell.refusal("one bit of the measurement flipped", "evidence.signature"):
        altered = msgspec.structs.replace(evidence, report=b64url_encode(bytes(flipped)))
        verifier.verify(altered, expected, None, now)
    with tell.refusal("the certificate of another chip", "evidence.signature"):
        verifier.verify(msgspec.structs.replace(evidence, certificates=wrong), expected, None, now)
    with tell.refusal("another nonce expected", "evidence.report_data"):
        other = ReportDataBinding(bytes(63) + b"\x01")
        verifier.verify(evidence, other, None, now)


def _other_chip(firmware: SnpFirmware) -> tuple[SnpCertificate, ...]:
    """Another chip's VCEK, under the same root."""
    other = SnpFirmware(keys=firmware.keys, start=firmware.start).evidence(_DATA).certificates
    own = firmware.evidence(_DATA).certificates
    return (*(item for item in other if item.type != "ARK"), *(item for item in own if item.type == "ARK"))


def _own_case(firmware: SnpFirmware, measurement: str) -> SnpCase:
    evidence = firmware.evidence(_DATA, measurement=bytes.fromhex(measurement))
    return SnpCase(
        id="local",
        evidence=evidence,
        at=firmware.start,
        report_data=_DATA.hex(),
        measurement=measurement,
    )


def _appraise(deployment: Deployment, case: SnpCase) -> dict[str, Any]:
    body = {
        "evidence": msgspec.to_builtins(case.evidence),
        "report_data": case.report_data,
        "explain": True,
    }
    answer: dict[str, Any] = deployment.guest_api.call("POST", "/v1/appraisals", body=body)
    return answer


def _show_reference_check(explanation: dict[str, Any]) -> None:
    for check in explanation["checks"]:
        if check["name"] == "reference.snp_launch_measurement":
            tell.fact("check", f"{check['name']}: {check['verdict']}")
            tell.fact("expected", check.get("expected") or "nothing: no attested value equals the evidence")
            tell.fact("observed", check["observed"])
