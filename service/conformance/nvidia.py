"""Runs ``nvidia`` cases, and mutations of them, on the verifier of NVIDIA devices; manifests too.

What a case does not state is taken so that only what it is about decides: verification at the case's time;
no revocation data; the request must carry the case's nonce; one device of a larger system is enough. A
``nvidia-rim`` case with a report and manifests is a device whose manifests are at hand.

The manifest of cases writes the version of a switch's firmware as if it were a GPU's number; the same bytes
are written so here before they are compared (``_as_number``).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_encode, hex_decode
from common.errors import Malformed
from service.conformance.case_files import CaseFiles
from service.conformance.evidence import judged, raise_failed
from verifier.errors import RimInvalid
from verifier.model import ReportDataBinding
from verifier.nvidia import NvidiaSettings, NvidiaVerifier
from verifier.nvidia.chain import DeviceClass
from verifier.nvidia.collateral import FixedCollateral
from verifier.nvidia.evidence import NvidiaDevice, NvidiaEvidence
from verifier.nvidia.opaque import Field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.conformance.outcome import Outcome
    from verifier.model import VerifiedEvidence

KINDS: Final = ("nvidia",)
_RIM: Final = "rim"


class _AnyManifest(FixedCollateral):
    """The case's manifests, by the part of the id that says of what they are."""

    def __init__(self, manifests: list[bytes]) -> None:
        super().__init__()
        self._manifests = manifests

    def rim(self, name: str) -> bytes | None:
        """The first manifest that is of the version at the id's end."""
        version = name.rpartition("_")[2]
        found = [data for data in self._manifests if version in _version_of(data)]
        # One that cannot be read is of whatever is asked for: the verifier refuses it.
        return next(iter(found or self._manifests), None)


def run_case(case: Mapping[str, Any], folder: Path) -> Outcome:
    """Run one case (or mutation) of the evidence manifest."""

    def body(differing: list[str]) -> str:
        verified, certificates = _verify(dict(case), folder)
        differing += _differing(case.get("expect", {}).get("claims", {}), verified, certificates)
        raise_failed(verified)
        return str(verified.identity)

    return judged(case, body, {RimInvalid.code: frozenset({"signature_invalid"})})


def _verify(case: dict[str, Any], folder: Path) -> tuple[VerifiedEvidence, list[x509.Certificate]]:
    mutation = case.get("mutation") or {}
    drop = mutation.get("index") if mutation.get("op") == "drop_cert" else None
    files = CaseFiles(case | {"mutation": None} if drop is not None else case, folder)
    certificates = _chain(files.read("certs"), drop)
    evidence = NvidiaDevice(
        evidence=b64url_encode(files.read("evidence")),
        certificates=tuple(b64url_encode(one.public_bytes(Encoding.DER)) for one in certificates),
    )
    roles = [role for role in case["files"] if str(role).startswith(_RIM)]
    verifier = NvidiaVerifier(
        NvidiaSettings(revocation="if-present", permit_partial_topology=True),
        _AnyManifest([files.read(role) for role in roles]),
    )
    expected = ReportDataBinding(hex_decode(str(files.case["nonce"]), what="nonce"))
    at = datetime.fromisoformat(str(files.case["verification_time"]))
    return verifier.verify(NvidiaEvidence(devices=(evidence,)), expected, None, at), certificates


def _chain(pem: bytes, drop: int | None) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Malformed("the chain file holds no certificates") from error
    return [one for position, one in enumerate(found) if position != drop]


def _version_of(manifest: bytes) -> str:
    """The version in a manifest's text, without dots; empty where there is none."""
    _, _, rest = manifest.partition(b'colloquialVersion="')
    return rest.partition(b'"')[0].decode("utf-8", "replace").replace(".", "").upper()


def _differing(
    stated: Mapping[str, Any], verified: VerifiedEvidence, certificates: list[x509.Certificate]
) -> list[str]:
    """Names of the stated claims that are not what the verifier read."""
    claims = verified.claims["nvidia"]
    leaf = certificates[0].subject.rfc4514_string()
    names = {int(field): field.name.lower() for field in Field if field is not Field.SWITCH_GPU_PDIS}
    opaque = {names.get(int(kind), kind): value for kind, value in claims["opaque"].items()}
    compared = next((check for check in verified.checks if check.name == "nvidia.measurements"), None)
    known: dict[str, Any] = {
        "nonce": verified.claims["report_data"],
        "driver_version": claims.get("driver_version"),
        "vbios_version": claims["vbios_version"],
        "fwid": claims["config"].get("fwid"),
        "opaque": {kind: value for kind, value in opaque.items() if kind != "driver_version"},
        "measurements": claims["measurement"],
        "leaf": leaf,
        "chain_length": len(certificates),
        "compared": None if compared is None else int(str(compared.expected).split(" ", 1)[0]),
        "mismatches": claims["x-nvidia-mismatch-measurement-records"],
    }
    if claims["device_class"] == DeviceClass.SWITCH:
        known["vbios_version"] = _as_number(bytes.fromhex(opaque["vbios_version"]))
    return [name for name, value in stated.items() if known.get(name) != value]


def _as_number(version: bytes) -> str:
    """A version field as NVIDIA's tools write a GPU's, whatever it holds."""
    text = version[::-1].hex().upper()
    half = len(text) // 2
    moved = text[half:] + text[half - 2 : half]
    return ".".join(moved[at : at + 2] for at in range(0, len(moved), 2))
