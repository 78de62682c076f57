"""The checks of a document against its chain, the expectation and the settings, in order.

``require_*`` decide authenticity or binding: a failure raises. ``assess`` records its failures, and each
sets an engine floor that no policy can improve.

Source unless a check says otherwise: AWS Nitro Enclaves User Guide, "Verifying the root of trust".
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from common import cose
from verifier.errors import (
    DebugEnabled,
    InitDataMismatch,
    PolicyViolation,
    ReportDataMismatch,
    SignatureInvalid,
)

if TYPE_CHECKING:
    from datetime import datetime

    from common.checks import Checks
    from verifier.model import InitDataClaim
    from verifier.nitro.chain import VerifiedChain
    from verifier.nitro.document import Document
    from verifier.nitro.settings import NitroSettings

AWS: Final = "AWS Nitro Enclaves, attestation document"
# Registers 0 to 2: enclave image, kernel and boot ramdisk, application. Zero in debug mode.
LAUNCH: Final = (0, 1, 2)
CONTRAINDICATED: Final = 96
NOT_RECOGNISED: Final = 97
_UNAVAILABLE: Final = 36
_INIT_DATA_SOURCE: Final = f"{AWS}: no member for launch data"


def require_signature(document: Document, chain: VerifiedChain, checks: Checks) -> None:
    """The document is signed by its certificate's key, with ES384.

    Raises:
        SignatureInvalid: it is not.
    """
    problem = cose.problem(document.message, chain.key)
    checks.require(
        "nitro.signature", problem is None, SignatureInvalid,
        expected=-35, observed=str(document.message.header.get(cose.ALG))[:32],
        source="RFC 9052 section 4.4", note=problem or "",
    )  # fmt: skip


def require_user_data(document: Document, wanted: bytes | None, checks: Checks) -> None:
    """``user_data`` is what is expected, of its length exactly.

    Raises:
        ReportDataMismatch: otherwise, also where there is none.
    """
    source = f"{AWS}: user_data"
    if wanted is None:
        checks.skip("nitro.user_data", "no expectation: the document is bound to nobody", source=source)
        return
    observed = document.user_data
    checks.require(
        "nitro.user_data", observed is not None and hmac.compare_digest(wanted, observed),
        ReportDataMismatch,
        expected=wanted.hex(), observed=None if observed is None else observed.hex(), source=source,
    )  # fmt: skip


def assess_init_data(init_data: InitDataClaim | None, floors: dict[str, int], checks: Checks) -> str:
    """Nitro binds no launch data: ``absent``, or ``unsupported`` with a floor.

    Raises:
        InitDataMismatch: the sender says that the TEE holds it.
    """
    if init_data is None:
        return "absent"
    if init_data.fitted:
        checks.fail(
            "nitro.init_data", InitDataMismatch, expected=init_data.digest.hex(), source=_INIT_DATA_SOURCE,
            note="an attestation document has no field that init-data could be bound to",
        )  # fmt: skip
    checks.warn(
        "nitro.init_data", source=_INIT_DATA_SOURCE,
        note="the enclave does not bind the init-data: it is not part of the claims",
    )  # fmt: skip
    floors["configuration"] = _UNAVAILABLE
    return "unsupported"


def is_debug(document: Document) -> bool:
    """Whether the enclave was started in debug mode: a launch register is zero, or not there."""
    return not all(any(document.pcrs.get(index, b"")) for index in LAUNCH)


def assess(
    document: Document, settings: NitroSettings, now: datetime, floors: dict[str, int], checks: Checks
) -> None:
    """Record every expectation, and set the floors of those that failed."""
    if not checks.expect(
        "nitro.debug", not is_debug(document), DebugEnabled,
        expected="PCR0, PCR1 and PCR2 are not zero",
        observed={str(index): document.pcrs.get(index, b"").hex() for index in LAUNCH},
        source="AWS Nitro CLI, run-enclave: debug mode",
    ):  # fmt: skip
        for claim in ("configuration", "executables", "runtime-opaque"):
            floors[claim] = CONTRAINDICATED
    _assess_age(document, settings, now, floors, checks)
    if document.others:
        checks.warn(
            "nitro.unknown_members", observed=list(document.others), source=AWS,
            note="the document has members that are not read here",
        )  # fmt: skip


def _assess_age(
    document: Document, settings: NitroSettings, now: datetime, floors: dict[str, int], checks: Checks
) -> None:
    age = now - document.made
    young = settings.max_age is None or age <= settings.max_age
    limit = "its certificate's end" if settings.max_age is None else f"{settings.max_age} old"
    if not checks.expect(
        "nitro.timestamp", young and -age <= settings.max_ahead, PolicyViolation,
        expected=f"at most {limit}, at most {settings.max_ahead} ahead",
        observed=document.made.isoformat(), source=f"{AWS}: timestamp; settings: max_age, max_ahead",
    ):  # fmt: skip
        floors["instance-identity"] = NOT_RECOGNISED
