"""The shipped appraisal policies hold made evidence against declared and verified reference values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy import shipped
from policy.port import PolicyKind
from policy.regorus_engine import RegorusEngine
from testkit.intel_platform import IntelPlatform
from verifier.model import VerifiedEvidence

from .helpers import failed, verify_enclave, verify_td

_DEFAULT = RegorusEngine().compile(shipped.load(PolicyKind.APPRAISAL, "default"))
_COCO = RegorusEngine().compile(shipped.load(PolicyKind.APPRAISAL, "default_cpu"))
_AFFIRMED = {
    "executables": 3,
    "hardware": 2,
    "configuration": 3,
    "instance-identity": 2,
    "runtime-opaque": 2,
}
_TD = {"mr_td": ["22" * 48], "rtmr_1": ["31" * 48], "rtmr_2": ["32" * 48]}


def _entries(values: list[Any], group: str) -> dict[str, Any]:
    return {
        str(value): {"value": value, "scalar": len(values) == 1, "group": group, "groups": [group]}
        for value in values
    }


def _decided(
    compiled: Any, verified: VerifiedEvidence, references: dict[str, Any], **groups: str
) -> dict[str, int]:
    document = verified.claims | {
        "verification": {
            "tee": verified.tee,
            "bound": verified.bound,
            "identity": verified.identity,
            "failed": failed(verified),
            "init_data": verified.init_data,
        },
        "reference": {
            name: _entries(values, groups.get(name, "release")) for name, values in references.items()
        },
    }
    decided = compiled.evaluate(json.dumps(document).encode())
    return next(dict(value) for rule, value in decided.items() if rule.endswith("trust_claims"))


def test_a_td_of_one_release_is_affirmed(platform: IntelPlatform) -> None:
    verified = verify_td(platform)
    assert _decided(_DEFAULT, verified, _TD) == _AFFIRMED
    assert _decided(_DEFAULT, verified, _TD, rtmr_2="other")["executables"] == 96
    assert _decided(_DEFAULT, verified, _TD | {"mr_td": ["00" * 48]})["executables"] == 96
    assert _decided(_DEFAULT, verified, {})["executables"] == 96


def test_cocos_policy_affirms_the_same_td(platform: IntelPlatform) -> None:
    decided = _decided(_COCO, verify_td(platform), _TD | {"xfam": ["e702060000000000"]})
    assert (decided["executables"], decided["hardware"], decided["configuration"]) == (4, 2, 2)


def test_what_fails_is_not_affirmed(platform: IntelPlatform) -> None:
    old = IntelPlatform(pck={"pcesvn": 5})
    assert _decided(_DEFAULT, verify_td(old), _TD)["hardware"] == 97
    assert _decided(_COCO, verify_td(old), _TD)["hardware"] == 97
    debug = verify_td(platform, platform.td_quote(td_attributes=1 | 1 << 28))
    decided = _decided(_DEFAULT, debug, _TD)
    assert (decided["configuration"], decided["runtime-opaque"]) == (36, 0)
    assert _decided(_COCO, debug, _TD | {"xfam": ["e702060000000000"]})["configuration"] == 36


@pytest.mark.parametrize(
    ("references", "executables"),
    [
        ({"sgx_mr_enclave": ["44" * 32]}, 3),
        ({"sgx_mr_enclave": ["45" * 32]}, 96),
        ({"sgx_mr_signer": ["55" * 32], "sgx_isv_prod_id": [7], "sgx_isv_svn": [3]}, 4),
        ({"sgx_mr_signer": ["55" * 32], "sgx_isv_prod_id": [7], "sgx_isv_svn": [2]}, 4),
        ({"sgx_mr_signer": ["55" * 32], "sgx_isv_prod_id": [8], "sgx_isv_svn": [3]}, 96),
        ({"sgx_mr_signer": ["55" * 32], "sgx_isv_prod_id": [7], "sgx_isv_svn": [4]}, 96),
        ({"sgx_mr_signer": ["55" * 32], "sgx_isv_svn": [3]}, 96),
    ],
)
def test_enclaves(platform: IntelPlatform, references: dict[str, Any], executables: int) -> None:
    decided = _decided(_DEFAULT, verify_enclave(platform), references)
    assert decided == _AFFIRMED | {"executables": executables}


def test_cocos_policy_affirms_enclaves(platform: IntelPlatform) -> None:
    references = {
        "sgx_mr_signer": ["55" * 32], "sgx_isv_prod_id": ["0700"], "sgx_minimum_isv_svn": [3],
        "sgx_attributes_flags": ["0500000000000000"],
    }  # fmt: skip
    decided = _decided(_COCO, verify_enclave(platform), references)
    assert (decided["executables"], decided["hardware"], decided["configuration"]) == (4, 2, 2)
    decided = _decided(_COCO, verify_enclave(platform), {"sgx_mr_enclave": ["44" * 32]})
    assert (decided["executables"], decided["hardware"], decided["configuration"]) == (3, 2, 3)
