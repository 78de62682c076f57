"""One core: an SNP appraisal in process against a bare P-384 verification of the same report.

CPU time, measured alternately in rounds, so that both see the same machine; the ratio is of the medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import load_der_x509_certificate

from common.encoding import b64url_decode
from policy import shipped
from policy.port import CompiledPolicy, PolicyKind
from policy.regorus_engine import RegorusEngine
from rvps.lookup import DatabaseReferenceLookup
from storage.database import Database
from storage.migrate import migrate
from testkit import reference_values
from testkit.snp_firmware import SnpFirmware
from verifier.appraisal import Appraiser
from verifier.ear import EarSigner
from verifier.snp import BINDING_SIZE, SnpSettings, SnpVerifier
from wire.rcar import AppraisalRequest

_ROUNDS = 40
_PER_ROUND = 25
_REPORTS = 50
_SIGNED_BYTES = 0x2A0


class _Active:
    def __init__(self, compiled: CompiledPolicy) -> None:
        self._compiled = compiled

    def active(self, kind: PolicyKind, name: str) -> CompiledPolicy:
        del kind, name
        return self._compiled


def run() -> list[str]:
    """The figures, as lines of text."""
    firmware = SnpFirmware()
    now = firmware.start + timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder, 'bench.db')}")
        migrate(database)
        reference_values.fill(database, 1000)
        measurement = bytes.fromhex(reference_values.measurement("fill", 7))
        requests = [_request(firmware, place + 1, measurement) for place in range(_REPORTS)]
        lines = []
        for label, remembered in (("decisions remembered", 4096), ("policy evaluated each time", 0)):
            appraiser = _appraiser(firmware, database, remembered)
            status = appraiser.appraise(requests[0], now).status
            bare, whole = _alternate(
                _bare(firmware, requests[0]),
                lambda place, appraiser=appraiser: appraiser.appraise(requests[place % _REPORTS], now),
            )
            lines.append(
                f"{label:<28} bare P-384 {bare * 1e6:4.0f} us, appraisal with token ({status})"
                f" {whole * 1e6:4.0f} us: {bare / whole:.1%} of the limit (wanted: 65 %)"
            )
    return lines


def _appraiser(firmware: SnpFirmware, database: Database, remembered: int) -> Appraiser:
    verifier = SnpVerifier(SnpSettings(), firmware.collateral(), extra_anchors=[firmware.ark])
    key = ec.generate_private_key(ec.SECP256R1())
    return Appraiser(
        verifiers={"snp": (verifier, BINDING_SIZE)},
        policies=_Active(RegorusEngine().compile(shipped.load(PolicyKind.APPRAISAL, "default"))),
        references=DatabaseReferenceLookup(database),
        audience="bench",
        signer=EarSigner(key, issuer="bench", developer="bench", build="0"),
        remembered_decisions=remembered,
    )


def _request(firmware: SnpFirmware, number: int, measurement: bytes) -> AppraisalRequest:
    report_data = number.to_bytes(64, "big")
    evidence = firmware.evidence(report_data, measurement=measurement)
    return AppraisalRequest(evidence=evidence, report_data=report_data.hex())


def _bare(firmware: SnpFirmware, request: AppraisalRequest) -> Callable[[int], object]:
    report = b64url_decode(request.evidence.report)  # type: ignore[union-attr]
    key = load_der_x509_certificate(firmware.certificates()["VCEK"]).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r = int.from_bytes(report[_SIGNED_BYTES : _SIGNED_BYTES + 72], "little")
    s = int.from_bytes(report[_SIGNED_BYTES + 72 : _SIGNED_BYTES + 144], "little")
    signature, signed = utils.encode_dss_signature(r, s), report[:_SIGNED_BYTES]
    algorithm = ec.ECDSA(hashes.SHA384())
    return lambda _: key.verify(signature, signed, algorithm)


def _alternate(one: Callable[[int], object], other: Callable[[int], object]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(_ROUNDS):
        for side, call in enumerate((one, other)):
            started = time.process_time()
            for place in range(_PER_ROUND):
                call(round_ * _PER_ROUND + place)
            times[side].append((time.process_time() - started) / _PER_ROUND)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    print("\n".join(run()))
