"""What the in-process engine's binding does, and what the adapter makes of it."""

from __future__ import annotations

import gc
import json
import os
import threading
from typing import Any

import pytest
import regorus

from common.errors import Malformed
from policy import regorus_engine, shipped
from policy.errors import PolicyEvaluationFailed, PolicyRejected, PolicySyntax
from policy.modules import Prepared
from policy.port import PolicyKind, PolicySource
from policy.regorus_engine import RegorusEngine, RegorusPolicy
from policy.tree import parse

DEFAULT = shipped.load(PolicyKind.APPRAISAL, "default")


def appraisal(rules: str) -> PolicySource:
    return PolicySource(PolicyKind.APPRAISAL, f"package policy\n\nimport rego.v1\n\n{rules}\n")


def unchecked(rules: str) -> RegorusPolicy:
    """A policy that goes round the profile, to reach the engine's own failures."""
    source = appraisal(rules)
    return RegorusPolicy(
        Prepared(
            source=source,
            module=parse(source.text),
            reference_names=frozenset(),
            input_names={},
            entry_points=("data.policy.trust_claims",),
            helpers=frozenset(),
        )
    )


def test_a_panic_of_the_engine_is_a_typed_error_and_leaves_the_engine_usable() -> None:
    # regorus 0.13: object.subset(array, []) panics; the profile refuses it for that reason.
    policy = unchecked('trust_claims := {"hardware": 2} if object.subset(input.a, input.b)')
    with pytest.raises(PolicyEvaluationFailed):
        policy.evaluate(b'{"a": [1], "b": []}')
    assert policy.evaluate(b'{"a": [1, 2], "b": [1]}') == {"data.policy.trust_claims": {"hardware": 2}}


def test_using_an_engine_from_another_thread_is_what_the_adapter_must_avoid() -> None:
    engine = regorus.Engine()
    caught: list[str] = []

    def use() -> None:
        try:
            engine.set_input_json("{}")
        except BaseException as error:  # noqa: BLE001 (the point is that it is not an Exception)
            caught.append(f"{type(error).__name__} {isinstance(error, Exception)}")

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert caught == ["PanicException False"]


def test_dropping_a_policy_in_one_thread_leaves_the_engines_of_another_alone() -> None:
    engine = RegorusEngine()
    policies = [engine.compile(appraisal(f'trust_claims := {{"hardware": {value}}}')) for value in (2, 97)]
    ready, done = threading.Event(), threading.Event()
    answers: list[Any] = []

    def work() -> None:
        answers.extend(policy.evaluate(b"{}") for policy in policies)
        ready.set()
        done.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10)
    del engine
    policies.clear()
    gc.collect()  # an unraisable error here would fail the test (filterwarnings = error)
    done.set()
    thread.join()
    assert [answer["data.policy.trust_claims"]["hardware"] for answer in answers] == [2, 97]


def test_a_fork_makes_engines_of_its_own() -> None:
    policy = RegorusEngine().compile(DEFAULT)
    expected = policy.evaluate(b"{}")
    child = os.fork()
    if child == 0:
        os._exit(0 if policy.evaluate(b"{}") == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_engines_per_thread_are_bounded() -> None:
    engine = RegorusEngine()
    for value in range(2, 32):
        for name in ("hardware", "executables"):
            policy = engine.compile(appraisal(f'trust_claims := {{"{name}": {value}}}'))
            assert policy.evaluate(b"{}")["data.policy.trust_claims"] == {name: value}
    assert len(regorus_engine._ENGINES._held) <= regorus_engine._ENGINES_PER_THREAD


def test_why_the_bytecode_machine_is_not_used() -> None:
    """It takes an assignment from something absent for true. If this fails, it may be looked at again."""
    text = "package policy\n\nallow if { token := input.token }\n"
    program = regorus.Program.compile_from_modules("{}", [("p.rego", text)], ["data.policy.allow"])
    machine = regorus.Rvm()
    machine.load_program(program)
    machine.set_input_json("{}")
    assert machine.execute() == "true"
    release = PolicySource(PolicyKind.RELEASE, text)
    assert RegorusEngine().compile(release).evaluate(b"{}") == {}


def test_state_does_not_leak_from_one_evaluation_into_the_next() -> None:
    policy = RegorusEngine().compile(DEFAULT)
    empty = policy.evaluate(b"{}")
    good = json.dumps(
        {
            "snp": {
                "measurement": "aa", "policy_debug_allowed": False, "policy_migrate_ma": False, "vmpl": 0,
            },
            "verification": {
                "tee": "snp", "bound": "session", "identity": "x", "failed": [], "init_data": "absent",
            },
            "reference": {"snp_launch_measurement": {"aa": {"value": "aa"}}},
        }
    ).encode()  # fmt: skip
    affirmed = policy.evaluate(good)
    assert affirmed != empty
    assert policy.evaluate(b"{}") == empty
    assert policy.evaluate(good) == affirmed


def test_an_input_that_is_not_json_is_malformed() -> None:
    policy = RegorusEngine().compile(DEFAULT)
    for data in (b"", b"{", b"\xff", b'{"a": NaN}', b"{} {}"):
        with pytest.raises(Malformed):
            policy.evaluate(data)


def test_an_unsafe_variable_is_a_syntax_error_with_its_place() -> None:
    source = PolicySource(PolicyKind.RELEASE, "package policy\n\nallow if {\n\tnot a\n\ta := input.x\n}\n")
    with pytest.raises(PolicySyntax) as caught:
        RegorusEngine().compile(source)
    assert caught.value.details["line"] in (4, 5)


def test_a_policy_that_fails_on_an_empty_input_is_refused() -> None:
    with pytest.raises(PolicyRejected):
        RegorusEngine().compile(appraisal('trust_claims := {"hardware": count(5)}'))


def test_errors_are_one_line_without_the_bindings_backtrace() -> None:
    policy = RegorusEngine().compile(appraisal('trust_claims := {"hardware": count(input.snp.list)}'))
    with pytest.raises(PolicyEvaluationFailed) as caught:
        policy.evaluate(b'{"snp": {"list": 5}}')
    message = caught.value.message
    assert "\n" not in message
    assert "backtrace" not in message.lower()
    assert len(message) < 300
