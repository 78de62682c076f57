"""Runs CoRIM and NVIDIA RIM cases of the evidence manifest through the provenance pipeline.

* ``corim``: the cases are unsigned, so the trust policy accepts the very document by its SHA-256. What is
  judged is the content, under the profiles that are known here.
* ``nvidia-rim``: a RIM alone, its signature under NVIDIA's root at the case's time. Cases that compare a
  device's report with RIMs are for the verifier of that report (``service.conformance.nvidia``).
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import Malformed, TouchstoneError
from provenance import trust
from provenance.instants import rfc3339
from provenance.manifests.corim.profiles import AMD_SNP, ARM_CCA_PLATFORM, ARM_CCA_REALM
from provenance.manifests.values import FORMATS
from provenance.pipeline import Pipeline
from service.conformance import nvidia
from service.conformance.case_files import CaseFiles, UnknownOperation
from service.conformance.outcome import FAIL, PASS, Outcome, case_id, unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CORIM: Final = "corim"
KINDS: Final = (CORIM, "nvidia-rim")
# SHA-256 of the certificate "NVIDIA CoRIM signing Root CA", as NVIDIA/attestation-sdk carries it (commit
# 73c032eb, end of every chain in its RIMs).
NVIDIA_ROOT: Final = "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
_CERTIFICATE: Final = re.compile(rb"<ds:X509Certificate>([A-Za-z0-9+/=\s]+)</ds:X509Certificate>")
# Our codes to the manifest's error classes.
_CLASSES: Final = {
    "statement.envelope": frozenset({"parse_error"}),
    "statement.manifest": frozenset({"parse_error", "corim_invalid"}),
    "statement.signature": frozenset({"signature_invalid"}),
    "statement.certificate": frozenset({"chain_invalid", "chain_untrusted_root"}),
    "statement.certificate_expired": frozenset({"cert_expired", "cert_not_yet_valid"}),
}


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""
    kind, expect = str(case.get("tee")), case.get("expect", {})
    expected = PASS if expect.get("result") == PASS else FAIL
    try:
        files = CaseFiles(case, folder)
        if kind != CORIM and files.has("certs"):
            return nvidia.run_case(case, folder)
        data = files.read("evidence")
        now = rfc3339(str(files.case.get("verification_time", ""))) or datetime(2026, 1, 1, tzinfo=UTC)
        root = _corim_root(data) if kind == CORIM else _nvidia_root(CaseFiles(_unmutated(case), folder))
        admitted = Pipeline(_policy(root)).admit(data, now)
    except UnknownOperation as error:
        return unsupported(case, kind, expected, error.message)
    except TouchstoneError as error:
        accepted = {expect.get("error"), *expect.get("error_any", ())} - {None}
        agree = expected == FAIL and bool(accepted & _CLASSES.get(error.code, frozenset()))
        detail = error.message if agree else f"{error.message} (manifest: {expect.get('error')})"
        return Outcome(case_id(case), kind, expected, FAIL, error.code, agree, detail)
    facts = admitted.authentic.statement.predicate["facts"]
    return Outcome(case_id(case), kind, expected, PASS, None, expected == PASS, f"{len(facts)} values")


def _unmutated(case: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in case.items() if name != "mutation"}


def _corim_root(data: bytes) -> dict[str, Any]:
    return {
        "kind": "unverified",
        "formats": ["corim"],
        "digests": [hashlib.sha256(data).hexdigest()],
        "profiles": [AMD_SNP, ARM_CCA_PLATFORM, ARM_CCA_REALM],
    }


def _nvidia_root(files: CaseFiles) -> dict[str, Any]:
    """NVIDIA's root, taken from the case's own chain and held to its digest."""
    for text in reversed(_CERTIFICATE.findall(files.read("evidence"))):
        der = base64.b64decode(text)
        if hashlib.sha256(der).hexdigest() == NVIDIA_ROOT:
            pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()
            return {"kind": "x509", "formats": ["swid"], "certificates": [pem]}
    raise Malformed("the case does not carry NVIDIA's root certificate")


def _policy(root: dict[str, Any]) -> trust.TrustPolicy:
    signer = {"name": "issuer", "root": "issuer"}
    if root["kind"] == "x509":
        signer["identity"] = "CN=*O=NVIDIA Corporation*"
    document = {
        "version": 1,
        "name": "conformance",
        "roots": [root | {"name": "issuer"}],
        "signers": [signer],
        "predicate_types": list(FORMATS.values()),
    }
    return trust.parse(msgspec.json.encode(document))
