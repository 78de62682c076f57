"""The checks of one exchange that raise, each against what certificates or the session prove."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.errors import PolicyViolation, ReportDataMismatch, SignatureInvalid
from verifier.nvidia.opaque import SOURCE as OPAQUE
from verifier.nvidia.opaque import Field
from verifier.nvidia.spdm import SPDM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.checks import Checks
    from verifier.nvidia.certificates import Path
    from verifier.nvidia.chain import Leaf
    from verifier.nvidia.device import Device
    from verifier.nvidia.opaque import Opaque
    from verifier.nvidia.spdm import Exchange

_COORDINATE: Final = 48


def require_signature(exchange: Exchange, path: Path, checks: Checks) -> None:
    """The exchange is signed by the leaf of the chain.

    Raises:
        SignatureInvalid: it is not.
    """
    r = int.from_bytes(exchange.signature[:_COORDINATE], "big")
    s = int.from_bytes(exchange.signature[_COORDINATE:], "big")
    key = path.leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # every certificate of a path has a P-384 key
    try:
        key.verify(encode_dss_signature(r, s), exchange.signed, ec.ECDSA(hashes.SHA384()))
        ok = True
    except (InvalidSignature, ValueError):
        ok = False
    checks.require(
        "nvidia.signature", ok, SignatureInvalid,
        expected="ECDSA P-384, SHA-384, by the leaf's key, over request and response",
        observed=hashlib.sha256(exchange.signed).hexdigest(), source=f"{SPDM} section 10.11",
        note="" if ok else "the exchange is not signed by the leaf of the chain",
    )  # fmt: skip


def require_arch(stated: str | None, leaf: Leaf, checks: Checks) -> None:
    """What the sender states is what the certificates prove.

    Raises:
        PolicyViolation: it is not.
    """
    if stated is None:
        return
    checks.require(
        "nvidia.arch", stated.upper() == leaf.architecture, PolicyViolation,
        expected=str(leaf.architecture), observed=stated[:64], source="NVIDIA device certificate, names",
        note="" if stated.upper() == leaf.architecture else "another architecture is stated than certified",
    )  # fmt: skip


def require_fwid(opaque: Opaque, leaf: Leaf, checks: Checks) -> None:
    """The firmware that the device states is what its key was certified for.

    Raises:
        SignatureInvalid: it is not.
    """
    stated = opaque.fwid()
    source = f"TCG DICE, 2.23.133.5.4.1; {OPAQUE} {int(Field.FWID)}"
    if stated is None:
        checks.skip("nvidia.fwid", "the device states no firmware identity; its leaf does", source=source)
        return
    checks.require(
        "nvidia.fwid", stated in leaf.fwids, SignatureInvalid,
        expected=[value.hex() for value in leaf.fwids], observed=stated.hex(), source=source,
        note="" if stated in leaf.fwids else "the attestation key was certified for other firmware",
    )  # fmt: skip


def require_nonce(exchange: Exchange, wanted: bytes | None, checks: Checks) -> None:
    """The exchange answers the expected nonce.

    Raises:
        ReportDataMismatch: it does not.
    """
    source = f"{SPDM} section 10.11.1, request nonce"
    if wanted is None:
        checks.skip("nvidia.nonce", "no expectation was given", source=source)
        return
    checks.require(
        "nvidia.nonce", hmac.compare_digest(exchange.nonce, wanted), ReportDataMismatch,
        expected=wanted.hex(), observed=exchange.nonce.hex(), source=source,
    )  # fmt: skip


def require_distinct(devices: Sequence[Device]) -> None:
    """No device is there twice.

    Raises:
        PolicyViolation: one is.
    """
    seen: set[str] = set()
    for device in devices:
        device.checks.require(
            "nvidia.devices.distinct", device.leaf.identity not in seen, PolicyViolation,
            expected="every device once", observed=device.leaf.identity, source="NVIDIA device certificate",
        )  # fmt: skip
        seen.add(device.leaf.identity)
