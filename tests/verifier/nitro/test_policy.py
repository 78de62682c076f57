"""What the shipped appraisal policy makes of Nitro evidence."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from service.inspection import appraise, recognise
from service.inspection import verify as inspect
from testkit.nitro_enclave import NOW, NitroAuthority, register
from tests.verifier.nitro.test_verifier import USER_DATA, verify
from verifier.model import InitDataClaim, VerifiedEvidence
from verifier.tee import Inspection

AUTHORITY = NitroAuthority()
NAMES = ("hardware", "executables", "configuration", "instance-identity", "runtime-opaque")
KNOWN: dict[str, Any] = {f"nitro_pcr{index}": [register(index).hex()] for index in range(3)}
CARELESS = (
    "package policy\n\nimport rego.v1\n\n"
    'trust_claims := {"hardware": 2, "executables": 3, "configuration": 2, "instance-identity": 2}\n'
)


def vector(
    verified: VerifiedEvidence, known: dict[str, Any], policy: str | None = None, now: datetime = NOW
) -> tuple[int, ...]:
    found = appraise(verified, policy, known, now).trust_vector
    return tuple(found[name] for name in NAMES)


def test_what_is_registered_affirms() -> None:
    verified = verify()
    assert vector(verified, KNOWN) == (2, 3, 3, 2, 0)
    assert vector(verified, {}) == (2, 96, 3, 2, 0)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_single_register_that_is_not_known(index: int) -> None:
    verified = verify()
    for other in ([], ["00" * 48], [register(3).hex()]):
        assert vector(verified, KNOWN | {f"nitro_pcr{index}": other})[1] == 96


def test_debug_is_refused_whatever_the_policy_says() -> None:
    """Abuse case 12: also where the zeros of a debug enclave are registered."""
    evidence = AUTHORITY.evidence(user_data=USER_DATA, pcrs=dict.fromkeys(range(16), bytes(48)))
    verified = verify(evidence, AUTHORITY)
    zeros = {f"nitro_pcr{index}": ["00" * 48] for index in range(3)}
    assert vector(verified, zeros) == (97, 96, 96, 97, 96)
    assert vector(verified, zeros, CARELESS)[1:3] == (96, 96)
    assert appraise(verified, CARELESS, zeros, NOW).status == "contraindicated"


def test_init_data_that_is_not_bound_takes_the_configuration_away() -> None:
    """Abuse case 30."""
    verified = verify(init_data=InitDataClaim(bytes(32), b"init"))
    assert vector(verified, KNOWN)[2] == 36
    assert vector(verified, KNOWN, CARELESS)[2] == 36


def test_a_document_that_is_too_old_is_of_nobody() -> None:
    late = NOW.replace(hour=13)
    verified = verify(now=late)
    assert vector(verified, KNOWN, CARELESS, late)[3] == 97
    assert vector(verified, KNOWN, None, late)[:1] == (97,)


def test_a_real_document_affirms_with_its_own_registers(vectors: Path) -> None:
    data = (vectors / "evidence" / "nitro" / "dstack-nsm" / "nsm.bin").read_bytes()
    length = int.from_bytes(data[2:4], "little") >> 2
    at = datetime.fromisoformat("2025-12-25T13:15:37Z")
    inspection = Inspection(now=at, report_data=bytes(64))
    verified = inspect(recognise(data[4 : 4 + length]), inspection)
    nitro = verified.claims["nitro"]
    known = {f"nitro_pcr{index}": [nitro[f"pcr{index}"]] for index in range(3)}
    assert vector(verified, known, None, at) == (2, 3, 3, 2, 0)
