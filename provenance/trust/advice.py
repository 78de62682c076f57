"""What to change in a trust policy so that it would admit a statement: advice, never done by itself.

Every line is made from a failed check record. What no member of a policy decides (signatures, certificates,
log entries, the binding to the certificate) has no advice of that kind: it says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.checks import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from common.checks import Check

_FIXED: Final = "no member of a trust policy changes this: the attestation itself must be another one"


class Advice(msgspec.Struct, frozen=True):
    """Advice for one failed check.

    Attributes:
        check: its name.
        change: what to change, in the words of docs/trust-policy.md.
    """

    check: str
    change: str


def advise(checks: Iterable[Check]) -> tuple[Advice, ...]:
    """Advice for every failed check, in their order, each once."""
    found = [Advice(check.name, _change(check)) for check in checks if check.verdict is Verdict.FAIL]
    return tuple(dict.fromkeys(found))


def _change(check: Check) -> str:
    make = _CHANGES.get(check.name)
    return _FIXED if make is None else make(check.observed)


def _signers(observed: Any) -> str:
    if not observed:
        return _FIXED
    entries = [
        "[[signers]] with the root that vouches for it"
        + "".join(
            f", {name} = {_text(item.get(name))}" for name in ("issuer", "identity") if item.get(name)
        )
        for item in observed
        if isinstance(item, dict)
    ]
    return f"if the signer is meant, add {' and '.join(entries)}; or lower threshold"


def _predicate_type(observed: Any) -> str:
    return f"if this kind is meant, add {_text(observed)} to predicate_types"


def _builder(observed: Any) -> str:
    if not isinstance(observed, str):
        return "the statement names no builder: leave builders out, or ask for build provenance"
    location, at, ref = observed.partition("@")
    entry = f"[[builders]] id = {_text(location)}" + (f", ref = {_text(ref)}" if at else "")
    return f"if the builder is meant, add {entry}, or name the signer in its signers"


def _level(observed: Any) -> str:
    return f"the policy gives this builder level {observed}: correct its level, or lower min_level"


def _source(observed: Any) -> str:
    found: Mapping[str, Any] = observed if isinstance(observed, dict) else {}
    if not found.get("uri"):
        return "nothing proves the source: leave sources out, or ask for build provenance"
    lists = (("refs", "ref"), ("branches", "branch"), ("workflows", "workflow"))
    members = "".join(f", {name} = [{_text(found[key])}]" for name, key in lists if found.get(key))
    return f"if the source is meant, add [[sources]] uri = {_text(found['uri'])}{members}"


def _parameters(observed: Any) -> str:
    return f"if they are meant, add {_text(observed)} to external_parameters"


def _values(observed: Any) -> str:
    return f"the build had {_text(observed)}: add the value in parameter_values"


def _inputs(observed: Any) -> str:
    return f"if they are meant, add {_text(observed)} to dispatch_inputs"


_CHANGES: Final[Mapping[str, Callable[[Any], str]]] = {
    "trust.signers": _signers,
    "trust.predicate_type": _predicate_type,
    "trust.builder": _builder,
    "trust.level": _level,
    "trust.source": _source,
    "trust.parameters": _parameters,
    "trust.parameter_values": _values,
    "trust.dispatch_inputs": _inputs,
    "trust.age": lambda _: (
        "raise max_age_seconds, or name the attestation in exceptions until it is renewed"
    ),
    "trust.policy_in_force": lambda _: "issue the policy anew: a later expires, a higher serial",
    "trust.rego": lambda _: (
        "change the policy's rego: the reasons in its deny set are given with the check"
    ),
    "trust.domains": lambda _: "lower required_domains, or submit further domains' attestations",
    "trust.required_predicates": lambda _: "submit what is missing, or take it out of required_predicates",
    "github.runner": lambda _: "if the runner is meant, set allow_self_hosted = true",
}


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, default=str)
