"""Errors as problem documents: a status for every code, advice always, and nothing that was not meant."""

from __future__ import annotations

import importlib

import pytest

from common.checks import Check, Verdict
from common.errors import TouchstoneError, registry
from service import problems

# Codes of the rooms' error modules alone: what else is loaded depends on which tests run.
_ROOMS = ("common", "provenance", "policy", "rvps", "verifier", "kms", "service")
for _room in _ROOMS:
    importlib.import_module(f"{_room}.errors")

_EXPECTED = {
    "input.malformed": 400,
    "input.identifier": 400,
    "input.not_found": 404,
    "input.method": 405,
    "input.conflict": 409,
    "input.too_large": 413,
    "input.media_type": 415,
    "evidence.nonce": 409,
    "evidence.signature": 422,
    "endorsement.revoked": 422,
    "statement.untrusted_signer": 422,
    "derivation.undetermined": 422,
    "policy.rejected": 422,
    "policy.not_found": 404,
    "policy.conflict": 409,
    "reference.retracted": 409,
    "reference.unknown_value": 404,
    "release.denied": 403,
    "release.not_found": 404,
    "access.unauthenticated": 401,
    "access.ear": 401,
    "access.scope": 403,
    "audit.unavailable": 503,
    "unavailable.database": 503,
    "configuration.invalid": 500,
    "internal.error": 500,
}


@pytest.mark.parametrize("code", sorted(_EXPECTED))
def test_status_of_a_code(code: str) -> None:
    assert problems.status_of(registry()[code]) == _EXPECTED[code]


@pytest.mark.parametrize(
    "code",
    [code for code, kind in registry().items() if kind.__module__ in {f"{room}.errors" for room in _ROOMS}],
)
def test_every_code_has_an_error_status_a_title_and_advice(code: str) -> None:
    problem = problems.problem_of(registry()[code]("what is wrong"), "r1")
    assert 400 <= problem.status < 600
    assert problem.title
    assert problem.advice
    assert (problem.code, problem.request_id, problem.detail) == (code, "r1", "what is wrong")


def test_every_error_of_configuration_or_of_no_category_is_the_servers_own_fault() -> None:
    assert problems.status_of(TouchstoneError) == 500


def test_checks_made_before_the_failure_are_told() -> None:
    check = Check("snp.report.signature", Verdict.FAIL, code="evidence.signature")
    error = registry()["evidence.signature"]("bad", checks=[check], details={"check": "x"})
    encoded = problems.encode(problems.problem_of(error, "r1"))
    assert b"snp.report.signature" in encoded
    assert b'"details":{"check":"x"}' in encoded


@pytest.mark.parametrize(
    ("status", "headers"), [(401, {"WWW-Authenticate": "Bearer"}), (503, {"Retry-After": "1"}), (404, {})]
)
def test_headers_that_a_status_asks_for(status: int, headers: dict[str, str]) -> None:
    assert problems.headers_of(status) == headers
