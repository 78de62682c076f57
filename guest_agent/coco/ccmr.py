"""PCRs as CC measurement registers, which TDX (RTMRs) and CSV number alike.

==========  ==========================  ================
PCR         CC measurement register     TDX
==========  ==========================  ================
1, 7        1                           RTMR 0
2 to 6      2                           RTMR 1
8 to 15     3                           RTMR 2
16 to 23    4                           RTMR 3
==========  ==========================  ================

PCR 0 stands for register 0, the launch measurement, which nothing extends.

Source: UEFI specification 2.11, section 38.4.1 (vendor-specific information); guest-components.
"""

from __future__ import annotations

from guest_agent.errors import RuntimeRegisterInvalid

_PCRS = 24
_BY_PCR = {1: 1, 7: 1} | dict.fromkeys(range(2, 7), 2) | dict.fromkeys(range(8, 16), 3)
_LAST = 4


def register_of(pcr: int) -> int:
    """The register of a PCR.

    Raises:
        RuntimeRegisterInvalid: PCR 0, or no PCR.
    """
    if not 0 < pcr < _PCRS:
        raise RuntimeRegisterInvalid(f"no measurement register stands for PCR {pcr}")
    return _BY_PCR.get(pcr, _LAST)
