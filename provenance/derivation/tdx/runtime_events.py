"""Events that software of a running guest extends into a TDX runtime register, from attested lists.

* The CoCo attestation agent measures a TCG_PCClientTaggedEvent: tag 4141454Ch, length, then the text
  ``domain operation content``. Validated against the log of a real machine.
* dstack measures ``type ":" name ":" payload`` with event type 08000001h (version 1 of its log). Not
  validated against a machine here.

Lists are strict JSON and say what is measured, in order; digests that a list might state are not read.

Sources: CoCo guest components, attestation-agent/eventlog; TCG PC Client Platform Firmware Profile 1.05,
section 10.4.2.1 (TCG_PCClientTaggedEvent); dstack, cc-eventlog.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from common import strict_json
from common.encoding import hex_decode
from common.errors import InputError
from provenance.errors import ArtifactInvalid

MAX_LIST_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 4096
_AAEL_TAG: Final = (0x4141454C).to_bytes(4, "little")
_DSTACK_EVENT_TYPE: Final = (0x08000001).to_bytes(4, "little")


class AgentEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the CoCo attestation agent's event log.

    Attributes:
        domain: as the caller of the agent names it; no space.
        operation: no space.
        content: rest of the line.
    """

    domain: str
    operation: str
    content: str


class DstackEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One runtime event of dstack.

    Attributes:
        event: its name.
        payload: lower-case hex.
    """

    event: str
    payload: str


def agent_events(data: bytes) -> list[bytes]:
    """What the CoCo attestation agent's entries are measured as.

    Args:
        data: JSON list of objects with ``domain``, ``operation`` and ``content``.

    Raises:
        ArtifactInvalid: anything else; an empty domain or operation, or one with a space.
    """
    return [_agent_event(item) for item in _listed(data, list[AgentEvent])]


def dstack_events(data: bytes) -> list[bytes]:
    """What dstack's runtime events are measured as.

    Args:
        data: JSON list of objects with ``event`` and ``payload`` (hex).

    Raises:
        ArtifactInvalid: anything else; an empty name.
    """
    return [_dstack_event(item) for item in _listed(data, list[DstackEvent])]


def _agent_event(item: AgentEvent) -> bytes:
    if any(not text or " " in text for text in (item.domain, item.operation)):
        raise ArtifactInvalid("a runtime event's domain or operation is empty or has a space")
    try:
        text = f"{item.domain} {item.operation} {item.content}".encode()
    except UnicodeEncodeError as error:
        raise ArtifactInvalid("a runtime event is not UTF-8") from error
    return _AAEL_TAG + len(text).to_bytes(4, "little") + text


def _dstack_event(item: DstackEvent) -> bytes:
    if not item.event:
        raise ArtifactInvalid("a runtime event has no name")
    try:
        payload = hex_decode(item.payload, what="payload") if item.payload else b""
        return b":".join((_DSTACK_EVENT_TYPE, item.event.encode(), payload))
    except (InputError, UnicodeEncodeError) as error:
        raise ArtifactInvalid("a runtime event's name is not UTF-8, or its payload is not hex") from error


def _listed(data: bytes, kind: Any) -> Any:
    try:
        document = strict_json.loads(data, what="the list of runtime events", max_bytes=MAX_LIST_BYTES)
        listed = msgspec.convert(document, type=kind, strict=True)
    except (InputError, msgspec.ValidationError) as error:
        raise ArtifactInvalid(f"the list of runtime events cannot be read: {error}") from error
    if not 1 <= len(listed) <= MAX_EVENTS:
        raise ArtifactInvalid(f"a list of runtime events has 1 to {MAX_EVENTS} of them")
    return listed
