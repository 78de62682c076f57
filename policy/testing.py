"""Runs a policy against test cases on any engine: what `touchstone policy test` does.

A case file is TOML or JSON: ``cases``, a list of

* ``name``: for people;
* ``input``: the policy input, as docs/policies.md describes it; of a resource policy the token's claims;
* ``data``: of a resource policy alone, what is asked for: ``plugin``, ``resource-path``, ``query``;
* ``expect``: entry point (last segment: ``trust_claims``, ``allow``, ``reasons`` ...) to the value it must
  have, or to the text ``undefined``. Of an object only the members given are compared.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from common import strict_json
from common.errors import Malformed, PolicyError
from policy.documents import resource_input
from policy.port import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy.port import CompiledPolicy

UNDEFINED = "undefined"
Cases = TypeVar("Cases", bound=tuple[msgspec.Struct, ...])


class PolicyCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case, see the module's docstring."""

    name: str
    input: dict[str, Any]
    expect: dict[str, Any]
    data: dict[str, Any] | None = None


class CaseResult(msgspec.Struct, frozen=True):
    """What one case came to; ``failures`` is empty where it passed."""

    name: str
    passed: bool
    failures: tuple[str, ...]


def parse_cases(data: bytes) -> tuple[PolicyCase, ...]:
    """The cases of a file.

    Raises:
        Malformed: see ``decode_cases``.
    """
    return decode_cases(data, tuple[PolicyCase, ...])


def decode_cases(data: bytes, kind: type[Cases]) -> Cases:
    """``cases`` of a case file, the one member it has; JSON if it starts with ``{``, TOML otherwise.

    Raises:
        Malformed: neither, another shape, or no case.
    """
    try:
        if data.lstrip().startswith(b"{"):
            document = strict_json.loads(data, what="case file")
        else:
            document = tomllib.loads(data.decode("utf-8"))
        if set(document) != {"cases"}:
            raise Malformed("the case file has `cases`, and nothing else")
        cases = msgspec.convert(document["cases"], kind)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the case file is not one: {error}") from error
    if not cases:
        raise Malformed("the case file has no case")
    return cases


def run(policy: CompiledPolicy, cases: Sequence[PolicyCase]) -> tuple[CaseResult, ...]:
    """Evaluate every case."""
    return tuple(_run(policy, case) for case in cases)


def _run(policy: CompiledPolicy, case: PolicyCase) -> CaseResult:
    try:
        document = msgspec.json.encode(case.input)
        if policy.source.kind is PolicyKind.RESOURCE:
            document = resource_input(document, case.data or {})
        found = policy.evaluate(document)
    except PolicyError as error:
        return CaseResult(case.name, passed=False, failures=(f"the policy failed: {error.message}",))
    by_name = {path.rpartition(".")[2]: value for path, value in found.items()}
    failures = tuple(
        f"{name}: expected {wanted!r}, got {by_name.get(name, UNDEFINED)!r}"
        for name, wanted in case.expect.items()
        if not _meets(by_name.get(name, UNDEFINED), wanted)
    )
    return CaseResult(case.name, passed=not failures, failures=failures)


def _meets(found: object, wanted: object) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(name in found and _meets(found[name], value) for name, value in wanted.items())
    # 1 and true are one value to Python and two to a policy.
    return type(found) is type(wanted) and found == wanted
