"""Evidence and collateral of the Intel test authority for the profiles of TDX and SGX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64url_encode
from testkit.intel_platform import IntelPlatform
from tests.service.harness import NOW


def platform() -> IntelPlatform:
    """A platform whose collateral is valid at the tests' instant."""
    return IntelPlatform(now=NOW)


def section(made: IntelPlatform, folder: Path) -> dict[str, Any]:
    """Settings that trust it."""
    anchor = folder / "root.pem"
    anchor.write_bytes(made.root.public_bytes(Encoding.PEM))
    return {"extra_anchors": [str(anchor)], "collateral_dir": str(folder / "collateral")}


def collateral(made: IntelPlatform, tee: str, status: str = "UpToDate") -> str:
    """Collateral by which the platform has a TCB status, base64url."""
    info = made.tcb_info(tee)
    info["tcbLevels"][0]["tcbStatus"] = status
    if status != "UpToDate":
        info["tcbLevels"][0]["advisoryIDs"] = ["INTEL-SA-00615"]
    return b64url_encode(made.collateral_json(tee, tcb_info=made.signed("tcbInfo", info)))
