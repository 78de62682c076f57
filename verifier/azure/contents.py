"""What an HCL report says of itself before anything vouches for it, for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import TouchstoneError
from verifier.azure.runtime_claims import parse_runtime_claims

if TYPE_CHECKING:
    from verifier.azure.hcl import HclReport


def hcl_contents(hcl: HclReport) -> dict[str, Any]:
    """Type, hash, hardware report (hex), and of the runtime claims what can be read."""
    found: dict[str, Any] = {
        "hcl_version": hcl.version,
        "report_type": hcl.type.name.lower(),
        "hash": hcl.hash_name,
        "hardware_report": hcl.hardware_report.hex(),
    }
    try:
        claims = parse_runtime_claims(hcl.runtime_claims)
    except TouchstoneError:
        return found
    return found | {
        "vm_configuration": claims.vm_configuration,
        "user_data": None if claims.user_data is None else claims.user_data.hex(),
    }
