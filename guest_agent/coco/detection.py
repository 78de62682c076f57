"""Which TEE this guest is in, and which devices it has: looked for in a fixed order, the first one wins.

======================  =================================================================================
TEE                     looked for
======================  =================================================================================
``tdx``                 ``/dev/tdx_guest`` (``tdx-guest``, ``tdx-attest``), or provider ``tdx_guest``
``sgx``                 ``/dev/attestation/quote`` (Gramine); ``/dev/sgx`` with ``OCCLUM`` in the env
``az-tdx-vtpm``,        a TPM, Azure's chassis tag, and an HCL report of that kind in the vTPM
``az-snp-vtpm``
``snp``                 ``/dev/sev-guest`` or its platform device, or provider ``sev_guest``
``csv``                 ``/dev/csv-guest``
``cca``                 provider ``arm_cca_guest``
``se``                  ``/sys/firmware/uv/prot_virt_guest`` is 1
``tpm``                 ``/dev/tpmrm0``, ``/dev/tpm0`` to ``tpm2``
``sample``              only where it is allowed by name: it is no TEE
======================  =================================================================================

The provider is that of configfs-tsm. What a host can show or hide is no proof of anything: evidence is.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from guest_agent.attesters.azure import AK_HANDLE, HCL_REPORT_INDEX, SNP, TDX, HclReport
from guest_agent.attesters.configfs_tsm import CCA, REPORT_FOLDER, TsmReports
from guest_agent.attesters.configfs_tsm import SNP as SNP_PROVIDER
from guest_agent.attesters.configfs_tsm import TDX as TDX_PROVIDER
from guest_agent.attesters.ioctl import Device
from guest_agent.attesters.vtpm import Vtpm
from guest_agent.coco.azure import AzureAttester
from guest_agent.coco.cca import CcaAttester
from guest_agent.coco.csv import CsvAttester
from guest_agent.coco.nvidia import NvidiaAttester
from guest_agent.coco.sample import SampleAttester
from guest_agent.coco.se import DEVICE as UV_DEVICE
from guest_agent.coco.se import SeAttester
from guest_agent.coco.sgx import GRAMINE, OCCLUM, SgxAttester
from guest_agent.coco.snp import SnpCocoAttester
from guest_agent.coco.tdx import TdxAttester
from guest_agent.coco.tpm import TpmCocoAttester
from guest_agent.errors import EvidenceNotMade, TeeUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from guest_agent.coco.protocol import CocoAttester

_LOG: Final = logging.getLogger(__name__)
_TDX_DEVICES: Final = ("dev/tdx_guest", "dev/tdx-guest", "dev/tdx-attest")
_SNP_PATHS: Final = ("dev/sev-guest", "sys/devices/platform/sev-guest")
_TPM_DEVICES: Final = ("dev/tpmrm0", "dev/tpm0", "dev/tpm1", "dev/tpm2")
_NVIDIA_PATHS: Final = ("dev/nvidia0", "dev/nvidiactl")
_UV_GUEST: Final = "sys/firmware/uv/prot_virt_guest"
_CHASSIS_TAG: Final = "sys/class/dmi/id/chassis_asset_tag"
_AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest's interfaces are opened.

    Attributes:
        tsm: makes configfs-tsm reports in a folder.
        vtpm: a TPM by its TCTI and the handle of its attestation key.
        environment: the process's.
        ak_handle: persistent handle of a TPM's own attestation key; None to make one.
        agent_log: the agent's event log, which TDX and CSV evidence carries; None for its usual place.
    """

    tsm: Callable[[Path], TsmReports] = TsmReports
    vtpm: Callable[[str, str | None], Any] = lambda tcti, handle: Vtpm(tcti, handle=handle)
    environment: Mapping[str, str] = os.environ
    ak_handle: str | None = None
    agent_log: Path | None = None


def detect(
    root: Path = Path("/"), *, allow_sample: bool = False, probes: Probes | None = None
) -> CocoAttester:
    """The attester of the TEE that this guest is in.

    Args:
        root: of the file system.
        allow_sample: whether ``sample`` is better than none. It proves nothing.
        probes: how interfaces are opened.

    Raises:
        TeeUnavailable: there is none.
    """
    guest = _Guest(root, probes or Probes())
    for find in (
        guest.tdx,
        guest.sgx,
        guest.azure,
        guest.snp,
        guest.csv,
        guest.cca,
        guest.se,
        guest.tpm,
    ):
        found = find()
        if found is not None:
            return found
    if allow_sample:
        _LOG.warning("no TEE was found: sample evidence proves nothing")
        return SampleAttester()
    raise TeeUnavailable(
        "no TEE was found in this guest",
        advice="Check that the guest was started as a confidential one and that the agent may open it.",
    )


def detect_devices(
    root: Path = Path("/"),
    *,
    primary: CocoAttester | None = None,
    with_tpm: bool = False,
    allow_sample: bool = False,
    probes: Probes | None = None,
) -> dict[str, CocoAttester]:
    """Attesters of additional devices, by TEE name.

    Args:
        root: of the file system.
        primary: the guest's own attester; a TPM that it uses is no additional device.
        with_tpm: whether a TPM is one. Nothing binds it to the TEE: a host can give any.
        allow_sample: whether to add ``sampledevice``, which proves nothing.
        probes: how interfaces are opened.
    """
    guest = _Guest(root, probes or Probes())
    devices: dict[str, CocoAttester] = {}
    if guest.any_of(_NVIDIA_PATHS):
        _LOG.warning("an NVIDIA GPU was found; its evidence is not supported and not sent")
    uses_tpm = primary is not None and primary.tee in {"tpm", "az-snp-vtpm", "az-tdx-vtpm"}
    tpm = guest.tpm() if with_tpm and not uses_tpm else None
    if tpm is not None:
        _LOG.warning("the TPM is sent as an additional device: nothing binds it to the TEE")
        devices["tpm"] = tpm
    if allow_sample:
        devices["sampledevice"] = SampleAttester("sampledevice")
    return devices


def by_name(tee: str, root: Path = Path("/"), *, probes: Probes | None = None) -> CocoAttester:
    """The attester of a TEE that is configured by name, whether or not it is there.

    Raises:
        TeeUnavailable: no attester has that name.
    """
    guest = _Guest(root, probes or Probes())
    if tee in {"az-snp-vtpm", "az-tdx-vtpm"}:
        return AzureAttester(tee, vtpm=guest.vtpm(AK_HANDLE))
    if tee in {"sample", "sampledevice"}:
        return SampleAttester(tee)
    makers: dict[str, Callable[[], CocoAttester]] = {
        "tdx": guest.make_tdx,
        "sgx": guest.make_sgx,
        "snp": guest.make_snp,
        "csv": guest.make_csv,
        "cca": guest.make_cca,
        "se": guest.make_se,
        "tpm": guest.make_tpm,
        "nvidia": NvidiaAttester,
    }
    if tee not in makers:
        raise TeeUnavailable("no attester has that name", advice=f"Use one of {', '.join(makers)}.")
    return makers[tee]()


class _Guest:
    """The interfaces below a root."""

    def __init__(self, root: Path, probes: Probes) -> None:
        self._root = root
        self._probes = probes
        self._reports = root / REPORT_FOLDER.relative_to("/")
        self._tsm = probes.tsm(self._reports)

    def any_of(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if (self._root / name).exists()), None)

    def tdx(self) -> CocoAttester | None:
        found = self.any_of(_TDX_DEVICES) or self._provider() == TDX_PROVIDER
        return self.make_tdx() if found else None

    def make_tdx(self) -> CocoAttester:
        return TdxAttester(self._root, tsm=self._tsm, agent_log=self._probes.agent_log)

    def sgx(self) -> CocoAttester | None:
        gramine = (self._root / GRAMINE / "quote").exists()
        occlum = "OCCLUM" in self._probes.environment and (self._root / OCCLUM).exists()
        return self.make_sgx() if gramine or occlum else None

    def make_sgx(self) -> CocoAttester:
        return SgxAttester(self._root)

    def azure(self) -> CocoAttester | None:
        if self.any_of(_TPM_DEVICES) is None or self._text(_CHASSIS_TAG) != _AZURE_TAG:
            return None
        vtpm = self.vtpm(AK_HANDLE)
        try:
            kind = HclReport.parse(vtpm.nv_read(HCL_REPORT_INDEX)).kind
        except (TeeUnavailable, EvidenceNotMade):  # an Azure VM that is not a confidential one
            return None
        tee = {TDX: "az-tdx-vtpm", SNP: "az-snp-vtpm"}.get(kind)
        return None if tee is None else AzureAttester(tee, vtpm=vtpm)

    def snp(self) -> CocoAttester | None:
        found = self.any_of(_SNP_PATHS) or self._provider() == SNP_PROVIDER
        return self.make_snp() if found else None

    def make_snp(self) -> CocoAttester:
        device = Device(self._root / _SNP_PATHS[0])
        return SnpCocoAttester(self._reports, tsm=self._tsm, device=device)

    def csv(self) -> CocoAttester | None:
        return self.make_csv() if (self._root / "dev/csv-guest").exists() else None

    def make_csv(self) -> CocoAttester:
        return CsvAttester(self._root, agent_log=self._probes.agent_log)

    def cca(self) -> CocoAttester | None:
        return self.make_cca() if self._provider() == CCA else None

    def make_cca(self) -> CocoAttester:
        return CcaAttester(self._tsm)

    def se(self) -> CocoAttester | None:
        return self.make_se() if self._text(_UV_GUEST) == "1" else None

    def make_se(self) -> CocoAttester:
        return SeAttester(Device(self._root / UV_DEVICE.relative_to("/")))

    def tpm(self) -> CocoAttester | None:
        return None if self.any_of(_TPM_DEVICES) is None else self.make_tpm()

    def make_tpm(self) -> CocoAttester:
        return TpmCocoAttester(self.vtpm(self._probes.ak_handle))

    def vtpm(self, handle: str | None) -> Any:
        device = self.any_of(_TPM_DEVICES) or _TPM_DEVICES[0]
        return self._probes.vtpm(f"device:{self._root / device}", handle)

    def _provider(self) -> str | None:
        if not self._reports.is_dir():
            return None
        try:
            return self._tsm.provider()
        except (TeeUnavailable, EvidenceNotMade):
            return None

    def _text(self, name: str) -> str | None:
        try:
            return (self._root / name).read_text("ascii", "replace").strip()
        except OSError:
            return None
