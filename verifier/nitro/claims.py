"""Claims of a verified document, as a policy sees them under ``input.nitro``. Bytes are lower-case hex.

Confidential Containers has no Nitro evidence: all names are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from verifier.nitro.checks import is_debug
from verifier.nitro.document import DIGEST

if TYPE_CHECKING:
    from verifier.nitro.document import Document
    from verifier.tee import CommonClaims


class NitroClaims(TypedDict, total=False):
    """``input.nitro``.

    Attributes:
        module_id: instance and enclave.
        digest: hash of the registers, ``SHA384``.
        timestamp: milliseconds since 1970.
        pcrs: every locked register, index as text.
        pcr0: enclave image file.
        pcr1: kernel and boot ramdisk.
        pcr2: application.
        pcr3: IAM role of the parent instance.
        pcr4: id of the parent instance.
        pcr8: certificate that signed the image.
        debug: started in debug mode.
        user_data: what the enclave passed along; absent where nothing was.
        nonce: likewise.
        public_key: likewise.
        unknown_members: names of members that are not read.
    """

    module_id: str
    digest: str
    timestamp: int
    pcrs: dict[str, str]
    pcr0: str
    pcr1: str
    pcr2: str
    pcr3: str
    pcr4: str
    pcr8: str
    debug: bool
    user_data: str
    nonce: str
    public_key: str
    unknown_members: list[str]


def nitro_claims(document: Document) -> dict[str, Any]:
    """The ``nitro`` member of the policy input (``NitroClaims``; other registers likewise)."""
    claims: dict[str, Any] = {
        "module_id": document.module_id,
        "digest": DIGEST,
        "timestamp": document.timestamp,
        "pcrs": {str(index): value.hex() for index, value in document.pcrs.items()},
        "debug": is_debug(document),
        "unknown_members": list(document.others),
    }
    claims |= {f"pcr{index}": value.hex() for index, value in document.pcrs.items()}
    passed = (
        ("user_data", document.user_data),
        ("nonce", document.nonce),
        ("public_key", document.public_key),
    )
    return claims | {name: value.hex() for name, value in passed if value is not None}


def common_claims(document: Document) -> CommonClaims:
    """``input.common``."""
    claims: CommonClaims = {
        "registers": {str(index): value.hex() for index, value in document.pcrs.items()},
        "debug": is_debug(document),
    }
    if 0 in document.pcrs:
        claims["measurement"] = document.pcrs[0].hex()
    signer = document.pcrs.get(8, b"")
    if any(signer):
        claims["signer"] = signer.hex()
    return claims
