"""Claims of a log that was replayed to the registers of a quote.

``uefi_event_logs`` is the list that Confidential Containers makes: ``index``, ``type_name``,
``digest_matches_event``, ``digests`` and ``event``, with ``details`` where the digest covers the whole data
and an empty object elsewhere (their device paths and strings of uncovered data are left out: anybody could
have written them). Ours: ``measured``, the text of a covered part, and ``phase`` (``verifier.ccel.boot``).

``event_log`` sums up, for policies. Both are bounded, since result tokens carry them: ``truncated`` tells
that events are left out, ``event`` is absent where raw data would exceed its share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

from common.encoding import b64_encode
from common.tcg_log import BANK_HASHES, EV_NO_ACTION
from verifier.ccel.boot import FIRMWARE_REGISTER, images, left_boot_services, phases
from verifier.ccel.measured import EV_EVENT_TAG, content_of, covered, details, logical_event, text_of
from verifier.tpm.events import EVENT_TYPES, secure_boot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.tcg_log import Event, EventLog

MAX_CLAIMED_EVENTS: Final = 1024
MAX_CLAIMED_BYTES: Final = 128 << 10
_ALGORITHMS: Final[Mapping[str, str]] = {
    "sha1": "SHA-1",
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
    "sm3_256": "SM3",
    "sha3_256": "SHA3-256",
    "sha3_384": "SHA3-384",
    "sha3_512": "SHA3-512",
}


class RuntimeEvent(TypedDict):
    """An event that the guest's agent measured, its words covered by the digest.

    Attributes:
        index: register.
        domain: whose vocabulary it is of.
        operation: what was done.
        content: to what; an object where it is JSON.
    """

    index: int
    domain: str
    operation: str
    content: Any


class EventLogSummary(TypedDict):
    """What a log comes to, for policies. Digests are lower-case hex.

    Attributes:
        algorithm: the hash of the registers, as TCG logs name it.
        events: events that were measured.
        unverified: those of them whose digest covers nothing of their data.
        unexplained: registers that software of the guest extended and no event explains (register 4).
        truncated: whether ``uefi_event_logs`` or ``runtime_events`` leaves events out.
        secure_boot: state that the firmware measured; None where the log does not tell.
        exit_boot_services: whether register 2 says that an operating system was started.
        images: digests of everything that was booted, in order.
        runtime_events: of the guest's agent, in order.
    """

    algorithm: str
    events: int
    unverified: int
    unexplained: list[int]
    truncated: bool
    secure_boot: bool | None
    exit_boot_services: bool
    images: list[str]
    runtime_events: list[RuntimeEvent]


def log_claims(log: EventLog, bank: str, unexplained: list[int]) -> dict[str, Any]:
    """``uefi_event_logs`` and ``event_log`` of a replayed log."""
    entries: list[dict[str, Any]] = []
    runtime: list[RuntimeEvent] = []
    count = unverified = 0
    left = MAX_CLAIMED_BYTES
    truncated = len(log.events) > MAX_CLAIMED_EVENTS
    for event, phase in zip(log.events, phases(log, bank), strict=True):
        part = None if event.type == EV_NO_ACTION else covered(event, bank)
        if event.type != EV_NO_ACTION:
            count += 1
            unverified += part is None
        if len(entries) == MAX_CLAIMED_EVENTS:
            continue
        shown = len(event.data) <= left
        left -= len(event.data) if shown else 0
        truncated = truncated or not shown
        entries.append(_entry(event, bank, part, phase, shown=shown))
        if shown and part == event.data and event.type == EV_EVENT_TAG:
            runtime += _runtime(event)
    summary: EventLogSummary = {
        "algorithm": bank,
        "events": count,
        "unverified": unverified,
        "unexplained": unexplained,
        "truncated": truncated,
        "secure_boot": secure_boot(log, bank, FIRMWARE_REGISTER),
        "exit_boot_services": left_boot_services(log, bank),
        "images": [digest.hex() for digest in images(log, bank)[:MAX_CLAIMED_EVENTS]],
        "runtime_events": runtime,
    }
    return {"uefi_event_logs": entries, "event_log": summary}


def _entry(
    event: Event, bank: str, part: bytes | None, phase: str | None, *, shown: bool
) -> dict[str, Any]:
    whole = BANK_HASHES[bank](event.data) == event.digests[bank]
    entry: dict[str, Any] = {
        "index": event.pcr,
        "type_name": EVENT_TYPES.get(event.type, f"{event.type:#010x}"),
        "digest_matches_event": whole,
        "digests": [
            {"alg": _ALGORITHMS[name], "digest": digest.hex()} for name, digest in event.digests.items()
        ],
        "details": details(event) if whole and shown and event.type != EV_NO_ACTION else {},
    }
    if shown:
        entry["event"] = b64_encode(event.data)
    if phase is not None:
        entry["phase"] = phase
    text = text_of(part) if part is not None and not whole and shown else None
    if text is not None:
        entry["measured"] = text
    return entry


def _runtime(event: Event) -> list[RuntimeEvent]:
    logical = logical_event(event.data)
    if logical is None:
        return []
    return [
        {
            "index": event.pcr,
            "domain": logical.domain,
            "operation": logical.operation,
            "content": content_of(logical),
        }
    ]
