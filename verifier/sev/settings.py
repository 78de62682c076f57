"""What an operator decides about SEV and SEV-ES: which platforms, which guest policies."""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import InvalidSetting
from verifier.sev.chain import Authorities  # noqa: TC001 (msgspec resolves it at run time)
from verifier.sev.products import Product
from verifier.sev.report import POLICY_BITS, POLICY_ES, POLICY_NODBG, POLICY_NOKS, POLICY_NOSEND

DEFAULT_REQUIRED: Final = POLICY_NODBG | POLICY_NOKS | POLICY_ES | POLICY_NOSEND


class SevSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the SEV verifier. Policy bits are the constants of ``verifier.sev.report``.

    Attributes:
        products: accepted product lines.
        policy_required: policy bits that must be set. Debugging is contraindicated whatever stands here.
        minimum_api: lowest firmware API (major, minor) that the policy must demand.
        owners: key digests (hex) of accepted owners' OCAs; empty: any, a platform's own among them.
        chips: key digests (hex) of accepted CEKs; empty: any that AMD certified.
        extra_authorities: roots of test firmware by product, instead of AMD's.
    """

    products: frozenset[Product] = frozenset(Product)
    policy_required: int = DEFAULT_REQUIRED
    minimum_api: tuple[int, int] = (0, 0)
    owners: frozenset[str] = frozenset()
    chips: frozenset[str] = frozenset()
    extra_authorities: dict[Product, Authorities] = {}

    def __post_init__(self) -> None:
        """Refuse settings that no report can meet.

        Raises:
            InvalidSetting: policy bits that do not exist.
        """
        if self.policy_required & ~POLICY_BITS:
            raise InvalidSetting(f"[sev] policy_required has bits beyond {POLICY_BITS:#x}")
