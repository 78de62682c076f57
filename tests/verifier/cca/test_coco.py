"""CCA evidence and claims as Confidential Containers has them."""

from __future__ import annotations

import hashlib

import pytest

from common.errors import Malformed, TooLarge
from testkit.cca_platform import CcaPlatform, document
from tests.verifier.cca.test_verifier import CHALLENGE, verify
from verifier.cca.coco import CcaCocoForm
from verifier.model import InitDataClaim

FORM = CcaCocoForm()
PLATFORM = CcaPlatform()


def test_the_token_is_a_list_of_bytes() -> None:
    token = PLATFORM.token(CHALLENGE)
    assert FORM.evidence_of({"token": list(token)}) == document(token)
    assert FORM.evidence_of({"token": list(token), "more": 1}) == document(token)


@pytest.mark.parametrize(
    "theirs",
    [{}, {"token": "AAAA"}, {"token": None}, {"token": [256]}, {"token": [-1]}, {"token": [1.5]}, [], 5],
)
def test_another_form_is_refused(theirs: object) -> None:
    with pytest.raises(Malformed):
        FORM.evidence_of(theirs)


def test_a_token_that_is_too_long() -> None:
    with pytest.raises(TooLarge):
        FORM.evidence_of({"token": [0] * 70_000})


def test_init_data_is_the_personalization_value() -> None:
    digest = hashlib.sha512(b"init").digest()
    evidence = PLATFORM.evidence(CHALLENGE, realm={"claim_44235": digest})
    bound = FORM.claims_of(
        verify(evidence, PLATFORM, init_data=InitDataClaim(digest, b"init", fitted=True))
    )
    absent = FORM.claims_of(verify(evidence, PLATFORM))
    assert bound["init_data"] == absent["init_data"] == digest.hex()
    assert set(absent["cca"]["realm"]) >= {
        "cca-realm-challenge",
        "cca-realm-extensible-measurements",
        "cca-realm-hash-algo-id",
        "cca-realm-initial-measurement",
        "cca-realm-personalization-value",
    }
    assert set(absent["cca"]["platform"]) >= {"cca-platform-instance-id", "cca-platform-implementation-id"}
