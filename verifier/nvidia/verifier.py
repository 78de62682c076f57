"""The verifier of NVIDIA devices: an SPDM exchange that a genuine device signed for this nonce.

Order, for each device: parse; chain to NVIDIA's pinned root (cached); the exchange's signature; the leaf's
profile, and the stated architecture against it; dates and revocation at ``now``; firmware identity; nonce.
Each of these raises. Then manifests: one that is at hand and does not hold raises, measurements that differ
from it are recorded and set engine floors, as every failed setting does. Then, over all devices of a
document: no device twice, and the topology of protected PCIe. Then claims.

A document gives one result per device (``verify_devices``), and one more for a whole protected PCIe system.
``verify`` is for documents of one device.

Performance: a chain is verified once per distinct set of certificates, a manifest once; what remains per
device is one P-384 verification.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Check, Checks, Verdict
from common.encoding import b64url_decode
from common.errors import Malformed, TooLarge, TouchstoneError
from verifier.binding import bound_key, bound_to, expected_report_data
from verifier.composite import DeviceResult
from verifier.errors import PolicyViolation, UnsupportedEvidence
from verifier.model import Unbound, VerifiedEvidence
from verifier.nvidia import topology
from verifier.nvidia.certificates import SOURCE, require_dates
from verifier.nvidia.chain import DeviceClass, device_root, read_leaf, verify_chain
from verifier.nvidia.checks import (
    require_arch,
    require_distinct,
    require_fwid,
    require_nonce,
    require_signature,
)
from verifier.nvidia.claims import common_claims, device_claims, topology_claims
from verifier.nvidia.device import Device
from verifier.nvidia.evidence import NvidiaEvidence
from verifier.nvidia.manifests import Manifests
from verifier.nvidia.opaque import PPCIE, parse_opaque
from verifier.nvidia.revocation import check_revocation
from verifier.nvidia.rim import rim_root
from verifier.nvidia.spdm import NONCE_BYTES, parse_exchange

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from verifier.model import Expectation, InitDataClaim
    from verifier.nvidia.certificates import Path
    from verifier.nvidia.chain import Leaf
    from verifier.nvidia.collateral import NvidiaCollateral
    from verifier.nvidia.evidence import NvidiaDevice
    from verifier.nvidia.manifests import Comparison
    from verifier.nvidia.settings import NvidiaSettings
    from verifier.nvidia.spdm import Exchange
    from wire.evidence import Evidence

BINDING_SIZE: Final = NONCE_BYTES
MAX_DEVICES: Final = 32
_MAX_EXCHANGE_TEXT: Final = 256 * 1024
_MAX_CHAIN_TEXT: Final = 32 * 1024
_CACHED_CHAINS: Final = 512
_CONTRAINDICATED: Final = 96
_NOT_RECOGNISED: Final = 97


class NvidiaVerifier:
    """Verifies NVIDIA devices (``verifier.model.TeeVerifier``, ``verifier.composite.DeviceVerifier``).

    Args:
        settings: what the operator decided.
        collateral: OCSP responses, revocation lists, manifests.
        extra_anchors: roots of devices that are trusted besides NVIDIA's (tests).
        extra_manifest_anchors: likewise, of manifests.
    """

    def __init__(
        self,
        settings: NvidiaSettings,
        collateral: NvidiaCollateral,
        *,
        extra_anchors: Sequence[x509.Certificate] = (),
        extra_manifest_anchors: Sequence[x509.Certificate] = (),
    ) -> None:
        """Load the pinned roots."""
        self._settings = settings
        self._collateral = collateral
        self._roots = (device_root(), *extra_anchors)
        self._manifests = Manifests(settings, collateral, (rim_root(), *extra_manifest_anchors))
        self._path_of = lru_cache(maxsize=_CACHED_CHAINS)(self._verified_path)

    @property
    def tee(self) -> str:
        """``nvidia``."""
        return "nvidia"

    def verify(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> VerifiedEvidence:
        """Verify the evidence of one device at ``now``.

        Raises:
            UnsupportedEvidence: it is of several devices, which have a result each.
            InputError, EvidenceError, EndorsementError: see ``verify_devices``.
        """
        if isinstance(evidence, NvidiaEvidence) and len(evidence.devices) > 1:
            raise UnsupportedEvidence(
                "the document is of several devices, each of which has a result of its own",
                advice="Send it as `devices`, beside the evidence of the machine that they are in.",
            )
        return self.verify_devices(evidence, expected, init_data, now)[0].evidence

    def verify_devices(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> tuple[DeviceResult, ...]:
        """Verify every device at ``now``; results in the document's order, that of a whole system last.

        Raises:
            InputError: the document, an exchange, a certificate or a manifest cannot be parsed.
            EvidenceError: a device is not authentic, not bound as expected, or there twice.
            EndorsementError: certificates, their dates, revocation data or a manifest do not hold.
        """
        if not isinstance(evidence, NvidiaEvidence):
            raise Malformed("this verifier takes NVIDIA evidence")
        if not 1 <= len(evidence.devices) <= MAX_DEVICES:
            raise TooLarge(f"1 to {MAX_DEVICES} devices are taken, not {len(evidence.devices)}")
        wanted = expected_report_data(expected, init_data, BINDING_SIZE)
        devices = [self._device(device, wanted, now) for device in evidence.devices]
        require_distinct(devices)
        system = topology.topology_of([(device.leaf, device.opaque) for device in devices])
        complete = system.is_whole_system and not system.faults
        for device in devices:
            self._expect_mode(device, complete=complete)
            if isinstance(expected, Unbound):
                device.floors["instance-identity"] = _NOT_RECOGNISED
        results = [_result(device, expected, init_data) for device in devices]
        if system.is_whole_system:
            results.append(_system_result(system, results))
        return tuple(results)

    def _device(self, device: NvidiaDevice, wanted: bytes | None, now: datetime) -> Device:
        checks = Checks()
        exchange = _exchange(device)
        opaque = parse_opaque(exchange.opaque)
        try:
            path = self._path_of(device.certificates)
        except TouchstoneError as error:
            error.checks = checks.records
            raise
        linked = Check("nvidia.chain", Verdict.PASS, "signed up to a root", path.sha256[-1], source=SOURCE)
        checks.extend((linked,))
        require_signature(exchange, path, checks)
        leaf = read_leaf(path)
        require_arch(device.arch, leaf, checks)
        require_dates(path, now, "nvidia.chain", checks)
        status = check_revocation(
            path, self._collateral, now, "nvidia.chain", checks,
            required=self._settings.revocation == "require", leaf=False,
        )  # fmt: skip
        require_fwid(opaque, leaf, checks)
        require_nonce(exchange, wanted, checks)
        comparison = self._manifests.compare(exchange, opaque, leaf, now, checks)
        floors = self._floors(leaf, comparison, checks)
        return Device(exchange, opaque, leaf, path, status, comparison, checks, floors)

    def _verified_path(self, certificates: tuple[str, ...]) -> Path:
        if sum(map(len, certificates)) > _MAX_CHAIN_TEXT:
            raise TooLarge("a device's certificates are larger than any chain")
        ders = [b64url_decode(text, what="certificate") for text in certificates]
        return verify_chain(ders, self._roots)

    def _floors(self, leaf: Leaf, comparison: Comparison, checks: Checks) -> dict[str, int]:
        floors: dict[str, int] = {}
        accepted = sorted(map(str, self._settings.architectures))
        if not checks.expect(
            "nvidia.architecture", leaf.architecture in self._settings.architectures, PolicyViolation,
            expected=accepted, observed=str(leaf.architecture), source="[nvidia] architectures",
        ):  # fmt: skip
            floors["hardware"] = _NOT_RECOGNISED
        if comparison.mismatches:
            # Firmware that NVIDIA does not vouch for, debug firmware among it: the device says no more.
            floors |= dict.fromkeys(("executables", "configuration"), _CONTRAINDICATED)
        elif any(check.name.startswith(("nvidia.rim", "nvidia.measurements")) for check in checks.failures):
            floors["executables"] = _CONTRAINDICATED
        return floors

    def _expect_mode(self, device: Device, *, complete: bool) -> None:
        if device.leaf.device_class is not DeviceClass.GPU:
            return
        mode = device.opaque.mode()
        ok = device.checks.expect(
            "nvidia.mode", mode is None or mode in self._settings.modes, PolicyViolation,
            expected=sorted(self._settings.modes), observed=mode, source="[nvidia] modes",
        )  # fmt: skip
        if mode == PPCIE and not self._settings.permit_partial_topology:
            ok &= device.checks.expect(
                "nvidia.mode.topology", complete, PolicyViolation,
                expected="evidence of the whole system", observed=complete, source=topology.SOURCE,
                note="a GPU behind protected PCIe is as good as everything that it is linked to",
            )  # fmt: skip
        if not ok:
            device.floors["configuration"] = _CONTRAINDICATED


def _exchange(device: NvidiaDevice) -> Exchange:
    if len(device.evidence) > _MAX_EXCHANGE_TEXT * 4 // 3:
        raise TooLarge("a device's exchange is larger than any device sends")
    return parse_exchange(b64url_decode(device.evidence, what="evidence"))


def _result(device: Device, expected: Expectation, init_data: InitDataClaim | None) -> DeviceResult:
    bound = bound_to(expected)
    claims: dict[str, Any] = {
        "nvidia": device_claims(device, bound=bound != "unbound"),
        "report_data": device.exchange.nonce.hex(),
        "common": common_claims(device),
    }
    ends = [device.path.not_after, *device.comparison.ends]
    if device.status.not_after is not None:
        ends.append(device.status.not_after)
    evidence = VerifiedEvidence(
        tee="nvidia",
        evidence_digest=hashlib.sha256(device.exchange.signed).hexdigest(),
        claims=claims,
        comparable=("nvidia",),
        checks=device.checks.records,
        floors=device.floors,
        bound=bound,
        # A device is not launched with init-data, and states none: what came is not the device's.
        init_data="absent" if init_data is None else "unsupported",
        endorsements=(*device.path.sha256, *device.status.sha256, *device.comparison.endorsements),
        not_after=min(ends),
        identity=f"nvidia-{device.leaf.device_class}:{device.leaf.identity}",
        tee_pubkey=bound_key(expected),
    )
    return DeviceResult(str(device.leaf.device_class), evidence)


def _system_result(system: topology.Topology, results: Sequence[DeviceResult]) -> DeviceResult:
    """The result for a whole protected PCIe system, of the results of its devices."""
    checks = Checks()
    complete = topology.expect_complete(system, checks)
    every = [result.evidence for result in results]
    floors = {} if complete else {"configuration": _CONTRAINDICATED}
    if any("instance-identity" in item.floors for item in every):
        floors["instance-identity"] = _NOT_RECOGNISED
    first = every[0]
    digest = hashlib.sha256("".join(item.evidence_digest for item in every).encode("ascii"))
    evidence = msgspec.structs.replace(
        first,
        evidence_digest=digest.hexdigest(),
        claims={"nvidia": topology_claims(system), "report_data": first.claims["report_data"]},
        checks=checks.records,
        floors=floors,
        endorsements=tuple(dict.fromkeys(one for item in every for one in item.endorsements)),
        not_after=min(item.not_after for item in every if item.not_after is not None),
        identity=None,
    )
    return DeviceResult("ppcie", evidence)
