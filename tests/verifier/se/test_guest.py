"""Our guest answers our challenge: the agent's attester over a played device, with a test Ultravisor."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from common.encoding import b64_encode
from guest_agent.coco.se import SeAttester
from testkit.se_host import Ultravisor, image_header
from tests.guest_agent.fake_kernel import at, device, put
from tests.verifier.se.conftest import NOW, World
from verifier.errors import ReportDataMismatch
from verifier.model import RuntimeDataBinding
from verifier.se.coco import SeCocoForm
from verifier.se.header import parse_header

_CONTROL = struct.Struct("=IHHQI44x")
_ATTEST = struct.Struct("=QQQ256s16sIIIHH")
_UID_OFFSET, _ADDITIONAL_OFFSET = 0x118, 0x130
DIGEST = bytes(range(64))


def kernel(ultravisor: Ultravisor) -> Any:
    """What the kernel does on UVIO_IOCTL_ATT."""

    def handler(_request: int, argument: bytearray) -> None:
        address, length = _CONTROL.unpack(argument)[3:5]
        asked = _ATTEST.unpack(at(address, length))
        measurement, additional = ultravisor.attest(at(asked[0], asked[5]), asked[3][: asked[8]])
        put(asked[1], measurement)
        put(asked[2], additional)
        put(address + _UID_OFFSET, ultravisor.cuid)
        put(address + _ADDITIONAL_OFFSET, len(additional).to_bytes(4, sys.byteorder))
        argument[4:6] = (1).to_bytes(2, sys.byteorder)

    return handler


@pytest.mark.parametrize("additional", [(), ("secret-store", "firmware-state")])
def test_evidence_of_our_guest_holds(world: World, tmp_path: Path, additional: tuple[str, ...]) -> None:
    verifier = world.verifier(image_headers=(parse_header(image_header()),), additional=additional)
    nonce, algorithm = verifier.coco_challenge(NOW)
    assert algorithm == "sha512"
    request = json.loads(nonce) | {"runtime_data_digest": b64_encode(DIGEST)}
    attester = SeAttester(device(tmp_path, kernel(Ultravisor(world.host))))
    evidence = SeCocoForm().evidence_of(attester.evidence(json.dumps(request).encode()))
    expected = RuntimeDataBinding(data=DIGEST, nonce=nonce, tee_pubkey={"kty": "EC"})
    verified = verifier.verify(evidence, expected, None, NOW)
    assert (verified.bound, verified.tee_pubkey) == ("session", {"kty": "EC"})
    assert ("firmware_state" in verified.claims["se"]) is bool(additional)
    with pytest.raises(ReportDataMismatch):
        verifier.verify(evidence, RuntimeDataBinding(data=bytes(64)), None, NOW)
