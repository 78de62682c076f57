"""Which manifests a device's firmware has, whether they are at hand and hold, and how the device compares.

A manifest's id is made of what the device states under its signature, as NVIDIA's RIM service spells it:

* driver of a GPU: ``NV_GPU_DRIVER_GH100_550.90.07``, on Blackwell ``NV_GPU_CC_DRIVER_GB100_590.48.01``
* VBIOS of a GPU: ``NV_GPU_VBIOS_<project>_<project SKU>_<chip SKU>_<version without dots>``
* firmware of a switch: ``NV_SWITCH_BIOS_5612_0002_890_<version without dots>``

Index i of a manifest is compared with measurement block i + 1: every active index, of which one of the
alternatives must be equal. Two manifests of one device must not have an active index in common. Index 35
is left out where the device states that its NVDEC0 is off, as NVIDIA's verifiers do.

Source: NVIDIA attestation SDK, ``gpu/verify.cpp``, ``gpu/evidence.cpp``, ``switch/verify.cpp``.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Check, Verdict
from common.errors import Malformed, TouchstoneError
from verifier.errors import EndorsementMissing, PolicyViolation, RimInvalid
from verifier.nvidia.certificates import require_dates
from verifier.nvidia.chain import Architecture, DeviceClass
from verifier.nvidia.opaque import DISABLED, ENABLED, Field
from verifier.nvidia.revocation import Status, check_revocation
from verifier.nvidia.rim import SOURCE, Rim, verify_rim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cryptography import x509

    from common.checks import Checks
    from verifier.nvidia.chain import Leaf
    from verifier.nvidia.collateral import NvidiaCollateral
    from verifier.nvidia.opaque import Opaque
    from verifier.nvidia.settings import NvidiaSettings
    from verifier.nvidia.spdm import Exchange

DRIVER: Final = "driver"
VBIOS: Final = "vbios"
BIOS: Final = "bios"
_NVDEC0_INDEX: Final = 35
_CACHED: Final = 64
# LS10 states no project and no SKU: NVIDIA's verifiers have these as constants.
_SWITCH_BOARD: Final = "5612_0002_890"


class Wanted(msgspec.Struct, frozen=True):
    """One manifest that a device's firmware should have.

    Attributes:
        part: ``driver``, ``vbios`` (GPU) or ``bios`` (switch).
        version: that the device states.
        names: ids to look for, in this order.
    """

    part: str
    version: str
    names: tuple[str, ...]


class Held(msgspec.Struct, frozen=True):
    """A manifest that is at hand and holds."""

    rim: Rim
    status: Status


class Comparison(msgspec.Struct, frozen=True):
    """How a device compares with its manifests.

    Attributes:
        held: part to manifest; parts without one are missing.
        complete: every part has one.
        compared: number of indexes that were compared.
        mismatches: those that differ, as NVIDIA's tools write them (index counted from 0), without the
            manifest's value: a claim holds what the device said, and nothing that it did not say.
        uncovered: blocks with a value, from 1, that no manifest has one for.
    """

    held: dict[str, Held]
    complete: bool
    compared: int
    mismatches: tuple[dict[str, Any], ...]
    uncovered: tuple[int, ...]

    @property
    def matches(self) -> bool:
        """Everything that NVIDIA published for this firmware is what the device measured."""
        return self.complete and self.compared > 0 and not self.mismatches

    @property
    def endorsements(self) -> tuple[str, ...]:
        """SHA-256 of manifests, certificates and revocation data relied on."""
        return tuple(
            digest
            for held in self.held.values()
            for digest in (held.rim.sha256, *held.rim.path.sha256, *held.status.sha256)
        )

    @property
    def ends(self) -> Iterator[datetime]:
        """When what was relied on expires."""
        for held in self.held.values():
            yield held.rim.path.not_after
            if held.status.not_after is not None:
                yield held.status.not_after


def versions(opaque: Opaque, leaf: Leaf) -> dict[str, str]:
    """Part to the version that the device states of it.

    Raises:
        Malformed: a version that is not text of its form.
    """
    if leaf.device_class is DeviceClass.SWITCH:
        stated = {BIOS: opaque.text(Field.VBIOS_VERSION)}
    else:
        stated = {DRIVER: opaque.text(Field.DRIVER_VERSION), VBIOS: opaque.gpu_vbios_version()}
    return {part: version for part, version in stated.items() if version}


def wanted(opaque: Opaque, leaf: Leaf) -> tuple[Wanted, ...]:
    """The manifests of a device's firmware; a part whose version is not stated has none.

    Raises:
        Malformed: a field is not text.
    """
    found = []
    for part, version in versions(opaque, leaf).items():
        short = version.replace(".", "").upper()
        if part == DRIVER and leaf.architecture is Architecture.BLACKWELL:
            chips = dict.fromkeys((leaf.chip, "GB100"))
            names = tuple(f"NV_GPU_CC_DRIVER_{chip}_{version}" for chip in chips)
        elif part == DRIVER:
            names = (f"NV_GPU_DRIVER_{leaf.chip}_{version}",)
        elif part == VBIOS:
            fields = (Field.PROJECT, Field.PROJECT_SKU, Field.CHIP_SKU)
            board = "_".join(opaque.text(field) or "" for field in fields)
            names = (f"NV_GPU_VBIOS_{board}_{short}",)
        else:
            names = (f"NV_SWITCH_BIOS_{_SWITCH_BOARD}_{short}",)
        found.append(Wanted(part, version, names))
    return tuple(found)


class Manifests:
    """Finds, verifies and compares manifests.

    Args:
        settings: what the operator decided.
        collateral: where manifests and revocation data are.
        roots: of manifests' signers.
    """

    def __init__(
        self, settings: NvidiaSettings, collateral: NvidiaCollateral, roots: Sequence[x509.Certificate]
    ) -> None:
        """Keep the parts; signatures are verified once per manifest."""
        self._settings = settings
        self._collateral = collateral
        self._rim_of = lru_cache(maxsize=_CACHED)(lambda data: verify_rim(data, tuple(roots)))

    def compare(
        self, exchange: Exchange, opaque: Opaque, leaf: Leaf, now: datetime, checks: Checks
    ) -> Comparison:
        """Hold a device's measurements against its manifests.

        Raises:
            Malformed, RimInvalid: a manifest at hand does not hold, or is not of the stated version.
            EndorsementError: its signer's certificates, their dates or revocation data do not hold.
        """
        parts = wanted(opaque, leaf)
        held = {one.part: found for one in parts if (found := self._held(one, now, checks)) is not None}
        expected = {BIOS} if leaf.device_class is DeviceClass.SWITCH else {DRIVER, VBIOS}
        complete = held.keys() == expected
        if not complete:
            self._missing(sorted(expected - held.keys()), checks)
        golden = _merged(held, checks)
        skipped = _skipped(opaque)
        mismatches = tuple(_mismatches(exchange.measurements, held, skipped))
        covered = {index + 1 for index in golden}
        uncovered = [i for i, value in exchange.measurements.items() if any(value) and i not in covered]
        compared = len(golden.keys() - skipped)
        if held:
            self._record(compared, mismatches, covered, checks)
        return Comparison(held, complete, compared, mismatches, tuple(sorted(uncovered)))

    def _held(self, one: Wanted, now: datetime, checks: Checks) -> Held | None:
        data = next(
            (found for name in one.names if (found := self._collateral.rim(name)) is not None), None
        )
        if data is None:
            return None
        name = f"nvidia.rim.{one.part}"
        try:
            rim = self._rim_of(data)
        except TouchstoneError as error:
            error.checks = (*checks.records, *error.checks)
            raise
        signed = Check(
            f"{name}.signature", Verdict.PASS, "signed below a RIM root", rim.sha256, source=SOURCE
        )
        checks.extend((signed,))
        require_dates(rim.path, now, f"{name}.chain", checks)
        required = self._settings.revocation == "require"
        status = check_revocation(
            rim.path, self._collateral, now, f"{name}.chain", checks, required=required, leaf=True
        )
        checks.require(
            f"{name}.version", rim.version.upper() == one.version.upper(), RimInvalid,
            expected=one.version, observed=rim.version, source=SOURCE,
        )  # fmt: skip
        return Held(rim, status)

    def _missing(self, parts: list[str], checks: Checks) -> None:
        for part in parts:
            checks.expect(
                f"nvidia.rim.{part}", self._settings.manifests != "require", EndorsementMissing,
                expected="NVIDIA's manifest of the stated version, or no demand for it", source=SOURCE,
                note="no manifest is at hand: these measurements are not compared",
            )  # fmt: skip

    def _record(
        self, compared: int, mismatches: tuple[dict[str, Any], ...], covered: set[int], checks: Checks
    ) -> None:
        checks.expect(
            "nvidia.measurements", not mismatches, PolicyViolation,
            expected=f"{compared} equal to NVIDIA's manifests", source=SOURCE,
            observed=[item["index"] for item in mismatches],
        )  # fmt: skip
        lacking = sorted(self._settings.mandatory_measurements - covered)
        if self._settings.mandatory_measurements:
            checks.expect(
                "nvidia.measurements.mandatory", not lacking, PolicyViolation,
                expected=sorted(self._settings.mandatory_measurements), observed=lacking, source="[nvidia]",
            )  # fmt: skip


def _merged(held: Mapping[str, Held], checks: Checks) -> dict[int, frozenset[str]]:
    golden: dict[int, frozenset[str]] = {}
    for item in held.values():
        shared = sorted(golden.keys() & item.rim.golden.keys())
        checks.require(
            "nvidia.rim.conflict", not shared, RimInvalid,
            expected="no index that is active in two manifests", observed=shared, source=SOURCE,
        )  # fmt: skip
        golden |= item.rim.golden
    return golden


def _skipped(opaque: Opaque) -> frozenset[int]:
    status = opaque.fields.get(Field.NVDEC0_STATUS)
    if status is None or status == bytes([ENABLED]):
        return frozenset()
    if status != bytes([DISABLED]):
        raise Malformed("the device's NVDEC0 is stated to be neither on nor off")
    return frozenset({_NVDEC0_INDEX})


def _mismatches(
    measurements: Mapping[int, bytes], held: Mapping[str, Held], skipped: frozenset[int]
) -> Iterator[dict[str, Any]]:
    for part, item in held.items():
        for index, alternatives in sorted(item.rim.golden.items()):
            observed = measurements.get(index + 1)
            if index in skipped or (observed is not None and observed.hex() in alternatives):
                continue
            yield {
                "index": index,
                "measurementSource": part,
                "runtimeValue": "NA" if observed is None else observed.hex(),
                "runtimeSize": 0 if observed is None else len(observed),
            }
