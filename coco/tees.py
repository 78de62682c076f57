"""TEE names of Confidential Containers: how they are spelt, and which class of submodule each gives.

Source: kbs-types 0.18 (names), attestation-service ``ear_token`` (classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coco.errors import TeeUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU = "cpu"


class Tee(msgspec.Struct, frozen=True):
    """One TEE.

    Attributes:
        name: as it stands in a request and as the claims' member.
        tee_class: of its submodule and of the policy that judges it (``default_<class>``).
        primary: it may be the evidence of the CPU; the others are additional devices only.
    """

    name: str
    tee_class: str = CPU
    primary: bool = True


_ALL = (
    Tee("az-snp-vtpm"),
    Tee("az-tdx-vtpm"),
    Tee("sgx"),
    Tee("snp"),
    Tee("tdx"),
    Tee("cca"),
    Tee("csv"),
    Tee("se"),
    Tee("tpm"),
    Tee("sample"),
    Tee("nvidia", "gpu", primary=False),
    Tee("hygondcu", "dcu", primary=False),
    Tee("nvidia-dpu", "nvidia-dpu", primary=False),
    Tee("sampledevice", "gpu", primary=False),
)
# Other spellings on input: kbs-types' own alias, and those of the Anolis fork.
_ALIASES = {"nvidiadpu": "nvidia-dpu", "azsnpvtpm": "az-snp-vtpm", "aztdxvtpm": "az-tdx-vtpm"}
BY_NAME: Mapping[str, Tee] = {tee.name: tee for tee in _ALL}


def named(name: str) -> Tee:
    """The TEE of that name or alias.

    Raises:
        TeeUnknown: there is none.
    """
    tee = BY_NAME.get(_ALIASES.get(name, name))
    if tee is None:
        raise TeeUnknown("no TEE has that name")
    return tee
