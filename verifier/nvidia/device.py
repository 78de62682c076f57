"""One device, after everything that raises: what claims and results are made of."""

from __future__ import annotations

import msgspec

from common.checks import Checks  # noqa: TC001 (msgspec resolves it at run time)
from verifier.nvidia.certificates import Path  # noqa: TC001
from verifier.nvidia.chain import Leaf  # noqa: TC001
from verifier.nvidia.manifests import Comparison  # noqa: TC001
from verifier.nvidia.opaque import Opaque  # noqa: TC001
from verifier.nvidia.revocation import Status  # noqa: TC001
from verifier.nvidia.spdm import Exchange  # noqa: TC001


class Device(msgspec.Struct, frozen=True):
    """A genuine device that answered the expected nonce.

    Attributes:
        exchange: what it signed.
        opaque: what it states of itself there.
        leaf: what its certificates prove.
        path: the certificates.
        status: what is known of their revocation.
        comparison: how its measurements compare with NVIDIA's manifests.
        checks: every check so far; those over all devices of a document are added.
        floors: likewise, the engine floors.
    """

    exchange: Exchange
    opaque: Opaque
    leaf: Leaf
    path: Path
    status: Status
    comparison: Comparison
    checks: Checks
    floors: dict[str, int]
