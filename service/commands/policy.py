"""``touchstone policy``: authoring on this machine, versions on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from service.commands import output, policy_trust
from service.commands.output import ExitCode, json_option
from service.commands.remote import client_of, server_options
from service.commands.trust_files import environment_option, policy_key_options, read_policy, trust_text

if TYPE_CHECKING:
    from policy.port import CompiledPolicy, PolicyEngine, PolicyKind, RuleTrace
    from policy.testing import CaseResult

_FILE = click.Path(path_type=Path, dir_okay=False)
_KINDS = click.Choice(["appraisal", "release", "resource", "trust"])
_MAX_POLICY_BYTES = 1 << 20
_MAX_CASES_BYTES = 16 << 20

_kind_option = click.option(
    "--kind", type=_KINDS, default="appraisal", show_default=True, help="What the policy decides."
)
_opa_option = click.option("--opa", metavar="URL", help="Also on this OPA server.")


@click.group()
def command() -> None:
    """Check, test, explain and manage policies."""


@command.command()
@click.argument("file", type=_FILE)
@_kind_option
@_opa_option
@json_option
def check(file: Path, kind: str, opa: str | None, as_json: bool) -> None:
    """Check a policy as an upload would; every problem with its line.

    Of kind trust: Rego where the file is called .rego, otherwise a trust policy in TOML or JSON with the
    Rego in it.
    """
    from policy.check import check as run_check

    text = _trust_rego(file) if kind == "trust" and file.suffix != ".rego" else _text(file)
    if text is None:
        output.emit({"ok": True, "problems": []}, as_json=as_json, text=lambda: "accepted: no Rego in it")
        return
    report = run_check(text, _kind(kind), _engines(opa))
    lines = [f"{file}:{item.line}:{item.column}: {item.message} [{item.code}]" for item in report.problems]
    lines += [f"{file}:{item.line}: warning: {item.message} [{item.code}]" for item in report.warnings]
    names = ", ".join(report.reference_names) or "none"
    lines.append(f"accepted: sha256 {report.digest}, reference names: {names}" if report.ok else "refused")
    output.emit(report, as_json=as_json, text=lambda: "\n".join(lines))
    if not report.ok:
        raise SystemExit(ExitCode.NEGATIVE)


@command.command()
@click.argument("file", type=_FILE)
@click.option(
    "--cases",
    required=True,
    type=click.Path(path_type=Path),
    help="TOML or JSON test cases (docs/policies.md, docs/trust-policy.md), or the folder of cases.toml.",
)
@_kind_option
@_opa_option
@json_option
def test(file: Path, cases: Path, kind: str, opa: str | None, as_json: bool) -> None:
    """Run a policy against test cases, on every engine given.

    Of kind trust, unless the file is called .rego: the cases are attestations.
    """
    if kind == "trust" and file.suffix != ".rego":
        results = policy_trust.run_cases(read_policy(file, (), 1), cases, _engines(opa))
    else:
        results = _rego_results(file, cases, kind, opa)
    failed = [result for _, result in results if not result.passed]
    document = {"passed": len(results) - len(failed), "failed": len(failed), "results": results}
    lines = [
        f"{'ok  ' if result.passed else 'FAIL'} {engine} {result.name}"
        + "".join(f"\n       {failure}" for failure in result.failures)
        for engine, result in results
    ]
    lines.append(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    output.emit(document, as_json=as_json, text=lambda: "\n".join(lines))
    if failed:
        raise SystemExit(ExitCode.NEGATIVE)


@command.command()
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--input",
    "input_file",
    type=_FILE,
    help="The policy input, JSON; of kind resource an object of `claims` and `data`.",
)
@_kind_option
@click.option("--policy", type=_FILE, help="A trust policy, to explain its decision on --attestation.")
@click.option("--attestation", type=_FILE, help="DSSE envelope or Sigstore bundle.")
@policy_key_options
@environment_option
@json_option
def explain(
    file: Path | None,
    input_file: Path | None,
    kind: str,
    policy: Path | None,
    attestation: Path | None,
    policy_keys: tuple[Path, ...],
    policy_threshold: int,
    environment: str | None,
    as_json: bool,
) -> None:
    """Evaluate a policy on one input and show which clauses decided.

    With --policy and --attestation: every check of a trust policy on an attestation, and what would have
    to change in the policy to admit it.
    """
    if policy is not None and attestation is not None and file is None and input_file is None:
        trusted = read_policy(policy, policy_keys, policy_threshold)
        policy_trust.explain_attestation(trusted, attestation, environment, as_json=as_json)
        return
    if file is None or input_file is None or policy is not None or attestation is not None:
        raise click.UsageError("give FILE and --input, or --policy and --attestation")
    from common.files import read_limited
    from policy.regorus_engine import RegorusEngine

    document = read_limited(input_file, what="input", max_bytes=_MAX_CASES_BYTES)
    compiled = _compiled(RegorusEngine(), file, kind)
    result = dict(compiled.evaluate(document))
    rules = list(compiled.explain(document))
    lines = [f"{path} = {value}" for path, value in result.items()]
    lines += [f"  line {rule.line}: {_traced(rule)}" for rule in rules]
    output.emit({"result": result, "rules": rules}, as_json=as_json, text=lambda: "\n".join(lines))


@command.command()
@click.argument("name")
@click.argument("file", type=_FILE)
@_kind_option
@click.option("--activate", is_flag=True, help="Make it the active version at once.")
@server_options
@json_option
def put(
    name: str,
    file: Path,
    kind: str,
    activate: bool,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Store FILE as the next version of the policy NAME.

    Of kind trust: TOML or JSON, files inlined, or a signed policy as `policy sign` wrote it.
    """
    text = trust_text(file) if kind == "trust" else _text(file)
    body = {"text": text, "activate": activate}
    answer = client_of(server, token_file, ca_file).call("PUT", _route(kind, name), body=body)
    output.emit(answer, as_json=as_json, text=lambda: f"{kind} policy {name} version {answer['version']}")


@command.command(name="list")
@server_options
@json_option
def list_(server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """List policies with their active and latest versions."""
    answer = client_of(server, token_file, ca_file).call("GET", "/v1/policies")
    rows = [
        (item["kind"], item["name"], str(item.get("active", "-")), str(item.get("latest", "-")))
        for item in answer["items"]
    ]
    output.emit(
        answer, as_json=as_json, text=lambda: output.table(("KIND", "NAME", "ACTIVE", "LATEST"), rows)
    )


@command.command()
@click.argument("name")
@_kind_option
@server_options
@json_option
def versions(
    name: str, kind: str, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool
) -> None:
    """List every version of a policy, and when each was activated."""
    answer = client_of(server, token_file, ca_file).call("GET", f"{_route(kind, name)}/versions")
    output.emit(answer, as_json=as_json, text=lambda: _versions(answer))


@command.command()
@click.argument("name")
@click.argument("version", type=int)
@_kind_option
@server_options
@json_option
def activate(
    name: str,
    version: int,
    kind: str,
    server: str,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Make VERSION of the policy NAME the one that decides."""
    client = client_of(server, token_file, ca_file)
    answer = client.call("POST", f"{_route(kind, name)}/activate", body={"version": version})
    output.emit(answer, as_json=as_json, text=lambda: f"{kind} policy {name}: version {version} is active")


@command.command()
@click.argument("name")
@_kind_option
@server_options
@json_option
def rollback(
    name: str, kind: str, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool
) -> None:
    """Go back to the version that was active before."""
    answer = client_of(server, token_file, ca_file).call("POST", f"{_route(kind, name)}/rollback", body={})
    output.emit(
        answer, as_json=as_json, text=lambda: f"{kind} policy {name}: version {answer['version']} is active"
    )


command.add_command(policy_trust.init)
command.add_command(policy_trust.sign)
command.add_command(policy_trust.verify)


def _traced(rule: RuleTrace) -> str:
    return f"{rule.rule} = {rule.value}" if rule.decided else f"{rule.rule} failed at: {rule.text}"


def _versions(answer: dict[str, Any]) -> str:
    versions = [
        (str(item["version"]), item["digest"], item["created_at"], item["created_by"])
        for item in answer["items"]
    ]
    activations = [
        (str(item["version"]), item["action"], item["at"], item["by"]) for item in answer["activations"]
    ]
    return "\n\n".join(
        (
            output.table(("VERSION", "SHA-256", "CREATED", "BY"), versions),
            output.table(("ACTIVE", "ACTION", "AT", "BY"), activations),
        )
    )


def _rego_results(file: Path, cases: Path, kind: str, opa: str | None) -> list[tuple[str, CaseResult]]:
    from common.files import read_limited
    from policy import testing

    parsed = testing.parse_cases(read_limited(cases, what="cases", max_bytes=_MAX_CASES_BYTES))
    return [
        (engine.name, result)
        for engine in _engines(opa)
        for result in testing.run(_compiled(engine, file, kind), parsed)
    ]


def _trust_rego(file: Path) -> str | None:
    """The Rego of a trust policy's document, which is parsed on the way; None where it has none."""
    return read_policy(file, (), 1).document.rego


def _text(file: Path) -> str:
    from common.errors import Malformed
    from common.files import read_limited

    try:
        return read_limited(file, what="policy", max_bytes=_MAX_POLICY_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{file} is not UTF-8 text") from error


def _kind(kind: str) -> PolicyKind:
    from policy.port import PolicyKind

    return PolicyKind(kind)


def _engines(opa: str | None) -> list[PolicyEngine]:
    from policy.regorus_engine import RegorusEngine

    engines: list[PolicyEngine] = [RegorusEngine()]
    if opa is not None:
        from policy.opa_engine import OpaEngine

        engines.append(OpaEngine(opa))
    return engines


def _compiled(engine: PolicyEngine, file: Path, kind: str) -> CompiledPolicy:
    from policy.port import PolicySource

    return engine.compile(PolicySource(_kind(kind), _text(file)))


def _route(kind: str, name: str) -> str:
    return f"/v1/policies/{kind}/{quote(name, safe='')}"
