"""The settings section ``[nvidia]``, and the verifier's own settings from it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from verifier.nvidia.chain import Architecture
from verifier.nvidia.settings import NvidiaSettings
from verifier.tee import TeeSection

if TYPE_CHECKING:
    from collections.abc import Iterator


class NvidiaSection(TeeSection):
    """NVIDIA GPUs and NVSwitches, as devices beside the machine's own evidence."""

    collateral_dir: Path | None = Field(
        default=None,
        description="Endorsement store: OCSP responses, revocation lists and manifests are in its folder"
        " `nvidia`; `data_dir`/collateral otherwise.",
    )
    revocation: Literal["require", "if-present"] = Field(
        default="require",
        description="Demand an OCSP response or a revocation list for every authority of a device and of a"
        " manifest's signer, or use what there is (not in production).",
    )
    manifests: Literal["require", "if-present"] = Field(
        default="if-present",
        description="Demand NVIDIA's signed manifest (RIM) of every firmware that a device states, or use"
        " what there is.",
    )
    architectures: tuple[Literal["HOPPER", "BLACKWELL", "LS10"], ...] = Field(
        default=("HOPPER", "BLACKWELL", "LS10"), min_length=1, description="Accepted architectures."
    )
    modes: tuple[Literal["spt", "mpt", "ppcie"], ...] = Field(
        default=("spt", "mpt", "ppcie"),
        min_length=1,
        description="Accepted modes of a GPU: alone, one of several, behind protected PCIe.",
    )
    mandatory_measurements: tuple[int, ...] = Field(
        default=(), description="Measurement blocks (from 1) that the manifests at hand must cover."
    )
    permit_partial_topology: bool = Field(
        default=False,
        description="Accept GPUs behind protected PCIe without evidence of the whole system.",
    )
    extra_anchors: tuple[Path, ...] = Field(
        default=(), description="PEM files with roots of test devices (not in production)."
    )
    extra_manifest_anchors: tuple[Path, ...] = Field(
        default=(), description="PEM files with roots of test manifests (not in production)."
    )


def nvidia_settings(section: NvidiaSection) -> NvidiaSettings:
    """The verifier's own settings.

    Raises:
        InvalidSetting: settings that nothing can meet.
    """
    return NvidiaSettings(
        architectures=frozenset(Architecture(name) for name in section.architectures),
        revocation=section.revocation,
        manifests=section.manifests,
        mandatory_measurements=frozenset(section.mandatory_measurements),
        modes=frozenset(section.modes),
        permit_partial_topology=section.permit_partial_topology,
    )


def insecure_switches(section: NvidiaSection) -> Iterator[str]:
    """One sentence for each switch that weakens a verdict."""
    if section.extra_anchors:
        yield "[nvidia] extra_anchors trusts test devices as if they were NVIDIA's"
    if section.extra_manifest_anchors:
        yield "[nvidia] extra_manifest_anchors trusts test manifests as if they were NVIDIA's"
    if section.enabled and section.revocation != "require":
        yield '[nvidia] revocation = "if-present" accepts revoked certificates where nothing is at hand'
    if section.permit_partial_topology:
        yield "[nvidia] permit_partial_topology accepts GPUs that may be linked to anything"
