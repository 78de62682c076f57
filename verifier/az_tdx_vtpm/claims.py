"""Claims of an Azure VM on TDX, as they go into the policy input: those of ``tdx``, and the vTPM's."""

from __future__ import annotations

from typing import Any, NotRequired

from verifier.tdx.claims import TdxClaims


class AzTdxVtpmClaims(TdxClaims):
    """``input["az-tdx-vtpm"]``. The TD's runtime registers are zero: the guest's boot is in the vTPM.

    Attributes:
        tpm: registers (``pcr00`` to ``pcr23``, ``pcrs`` by bank), ``firmware_version``, ``reset_count``,
            ``restart_count``, ``clock``, ``safe``; ``event_log`` and ``ima`` where logs came.
        vm_configuration: of the runtime claims: ``secure-boot``, ``console-enabled``, ``tpm-enabled``,
            ``vmUniqueId`` and whatever else the paravisor states.
        user_data: of the runtime claims, hex.
        hcl_fresh: whether the hardware report was made for this request, not at an earlier time.
    """

    tpm: dict[str, Any]
    vm_configuration: dict[str, Any]
    user_data: NotRequired[str | None]
    hcl_fresh: bool
