"""Runs a trust policy against attestations: what ``touchstone policy test --kind trust`` does.

A case file is TOML or JSON: ``cases``, a list of

* ``name``: for people;
* ``attestation``: file, relative to the case file;
* ``expect``: ``admitted``, or the code of the refusal (docs/trust-policy.md);
* ``environment``: which of the policy's environments decides, if it has any;
* ``now``: RFC 3339; the present otherwise.

A case passes only with exactly the code that it expects: another refusal is a failure too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import Malformed, PolicyError, StatementError
from common.files import read_limited
from policy.testing import CaseResult, decode_cases
from provenance import dsse
from provenance.instants import rfc3339
from provenance.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from policy.port import PolicyEngine
    from provenance.trust import TrustPolicy

ADMITTED: Final = "admitted"
CASES_FILE: Final = "cases.toml"
_MAX_CASES_BYTES: Final = 1 << 20


class TrustCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case, see the module's docstring."""

    name: str
    attestation: str
    expect: str
    environment: str | None = None
    now: str | None = None


def read_cases(path: Path) -> tuple[Path, tuple[TrustCase, ...]]:
    """The cases of a file, or of ``cases.toml`` in a folder; and the folder that names are relative to.

    Raises:
        NotFound: no such file.
        Malformed: another shape, or no case.
    """
    file = path / CASES_FILE if path.is_dir() else path
    data = read_limited(file, what="cases", max_bytes=_MAX_CASES_BYTES)
    return file.parent, decode_cases(data, tuple[TrustCase, ...])


def run(
    policy: TrustPolicy,
    engine: PolicyEngine,
    folder: Path,
    cases: Sequence[TrustCase],
    now: datetime,
) -> tuple[CaseResult, ...]:
    """Decide every case.

    Raises:
        NotFound, TooLarge: an attestation cannot be read.
        TrustPolicyInvalid: the policy has not the environment of a case.
        PolicyError: its Rego is refused.
    """
    return tuple(_run(policy, engine, folder, case, now) for case in cases)


def _run(
    policy: TrustPolicy, engine: PolicyEngine, folder: Path, case: TrustCase, now: datetime
) -> CaseResult:
    moment = now if case.now is None else rfc3339(case.now)
    if moment is None:
        raise Malformed(f"case {case.name!a}: now is not RFC 3339")
    envelope = read_limited(
        folder / case.attestation, what="attestation", max_bytes=dsse.MAX_ENVELOPE_BYTES
    )
    pipeline = Pipeline(policy, engine, environment=case.environment)
    observed, why = ADMITTED, ""
    try:
        pipeline.admit(envelope, moment)
    except (StatementError, PolicyError) as error:
        observed, why = error.code, f" ({error.message})"
    passed = observed == case.expect
    failures = () if passed else (f"expected {case.expect}, got {observed}{why}",)
    return CaseResult(case.name, passed=passed, failures=failures)
