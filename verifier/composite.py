"""Evidence of devices beside that of the machine they are in: one document may give several results.

Invariants:

* A device is named by its class and a number, counted in the order of the documents and of their results:
  ``gpu0``, ``gpu1``, ``switch0``. Names depend on nothing else.
* The machine comes first. Its evidence is bound to the text of the devices' documents, and theirs to the
  same session: the machine says which devices it asked, and they that they were asked for this session.
* A device whose machine is not affirming is not recognised, whatever the policy says of it: nobody genuine
  speaks for it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import msgspec

from common import strict_json
from common.checks import Check, Verdict
from common.errors import Malformed, TooLarge
from verifier.errors import PolicyViolation
from verifier.model import VerifiedEvidence  # noqa: TC001 (msgspec resolves it at run time)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from verifier.model import Expectation, InitDataClaim
    from wire.evidence import Evidence

CPU: Final = "cpu"
MAX_DEVICES: Final = 64
_MAX_DOCUMENTS: Final = 16
_MAX_TEXT: Final = 8 << 20
_NOT_RECOGNISED: Final = 97
_AFFIRMING: Final = "affirming"


class DeviceResult(msgspec.Struct, frozen=True):
    """What one device, or a system of them, came to.

    Attributes:
        device_class: of its submodule (``gpu``, ``switch``, ``ppcie``); submodules of a class are numbered.
        evidence: what was verified.
    """

    device_class: str
    evidence: VerifiedEvidence


@runtime_checkable
class DeviceVerifier(Protocol):
    """A verifier of devices: its documents give one result per device, and prove nothing of a machine."""

    @property
    def tee(self) -> str:
        """The ``tee`` tag of its evidence documents."""

    def verify_devices(
        self,
        evidence: Evidence,
        expected: Expectation,
        init_data: InitDataClaim | None,
        now: datetime,
    ) -> tuple[DeviceResult, ...]:
        """Verify every device; results in the document's order.

        Raises:
            InputError: the document cannot be parsed.
            EvidenceError: not authentic, or not bound as expected.
            EndorsementError: certificates, revocation data or their dates do not hold.
        """


def documents(text: str, evidence: Any) -> tuple[Evidence, ...]:
    """The devices' documents of a request.

    Args:
        text: JSON of a list of evidence documents.
        evidence: the union of evidence documents (``verifier.tees.EVIDENCE``).

    Raises:
        InputError: not strict JSON, not such a list, none or too many.
    """
    if len(text) > _MAX_TEXT:
        raise TooLarge("the devices' evidence is larger than that of any machine")
    data = text.encode("utf-8", "surrogatepass")
    decoded = strict_json.loads(data, what="devices", max_bytes=_MAX_TEXT)
    try:
        found: tuple[Evidence, ...] = msgspec.convert(decoded, tuple[evidence, ...])
    except msgspec.ValidationError as error:
        raise Malformed(f"the devices are not a list of evidence documents: {error}") from error
    if not 1 <= len(found) <= _MAX_DOCUMENTS:
        raise Malformed(f"1 to {_MAX_DOCUMENTS} documents of devices are taken, not {len(found)}")
    return found


def named(results: Iterable[DeviceResult]) -> dict[str, VerifiedEvidence]:
    """Submodule name to result, in the given order.

    Raises:
        TooLarge: more than a token has room for.
    """
    counted: Counter[str] = Counter()
    found: dict[str, VerifiedEvidence] = {}
    for result in results:
        found[f"{result.device_class}{counted[result.device_class]}"] = result.evidence
        counted[result.device_class] += 1
    if len(found) > MAX_DEVICES:
        raise TooLarge(f"the evidence is of {len(found)} devices, at most {MAX_DEVICES} are taken")
    return found


def beside(machine: str, device: VerifiedEvidence) -> VerifiedEvidence:
    """A device's result beside its machine's.

    Args:
        machine: EAR status of the machine.
        device: the device's.
    """
    if machine == _AFFIRMING:
        return device
    check = Check(
        "composite.machine",
        Verdict.FAIL,
        expected=_AFFIRMING,
        observed=machine,
        code=PolicyViolation.code,
        note="the machine that speaks for the device is not affirming",
    )
    floors = device.floors | {"instance-identity": _NOT_RECOGNISED}
    return msgspec.structs.replace(device, checks=(*device.checks, check), floors=floors)
