"""``touchstone-guest``: where a secret goes, and what the exit code says."""

from __future__ import annotations

import json
from contextlib import contextmanager

import msgspec
import pytest
from click.testing import CliRunner

from common.errors import TouchstoneError
from guest_agent import cli
from tests.guest_agent.exchange import SECRET, EchoAttester, Exchange
from wire.rcar import AppraisalRequest

PATH = "default/disk/key"


@pytest.fixture
def server():
    with Exchange() as running:
        yield running


@pytest.fixture
def run(server, monkeypatch, capsysbinary):
    @contextmanager
    def attester(_settings):
        yield EchoAttester()

    monkeypatch.setattr(cli, "_attester", attester)

    def invoke(command, *arguments):
        common = ["--tee", "snp", "--server", server.url]
        monkeypatch.setattr("sys.argv", ["touchstone-guest", command, *common, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsysbinary.readouterr()
        return ended.value.code, output.out, output.err

    return invoke


def test_a_secret_goes_to_a_private_file_and_nowhere_else(run, tmp_path):
    target = tmp_path / "secret"
    code, out, err = run("get-resource", PATH, "--output", target)
    assert code == 0
    assert target.read_bytes() == SECRET
    assert target.stat().st_mode & 0o777 == 0o600
    assert SECRET not in out + err
    assert f"{len(SECRET)} bytes" in out.decode()


def test_a_secret_goes_to_standard_output_where_it_is_asked_for(run):
    assert run("get-key", "volume-key", "--stdout") == (0, SECRET, b"")


@pytest.mark.parametrize("more", [(), ("--stdout", "--output", "x"), ("--stdout", "--json")])
def test_where_the_secret_goes_must_be_said(run, server, more):
    code, out, _ = run("get-resource", PATH, *more)
    assert (code, out, server.requests) == (2, b"", [])


def test_json_tells_about_the_secret_without_it(run, tmp_path):
    code, out, _ = run("get-resource", PATH, "--output", tmp_path / "secret", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["secret"], document["size"]) == (f"resource/{PATH}", len(SECRET))
    assert SECRET not in out


def test_attest_says_the_verdict_by_its_exit_code(run, server, tmp_path):
    code, out, _ = run("attest", "--output", tmp_path / "ear")
    assert (code, out.split()[0]) == (0, b"affirming")
    assert (tmp_path / "ear").read_text().count(".") == 2
    server.status = "contraindicated"
    server.bend["appraisal"] = lambda answer: (
        answer | {"explanation": {"checks": [{"name": "snp.tcb", "verdict": "fail", "note": "too old"}]}}
    )
    code, out, _ = run("attest", "--explain")
    assert code == 1
    assert "snp.tcb: too old" in out.decode()
    code, out, _ = run("attest", "--json")
    assert (code, json.loads(out)["status"]) == (1, "contraindicated")


def test_a_refusal_of_the_server_is_told_with_its_code(run, server, tmp_path):
    problem = (
        b'{"code":"release.denied","detail":"not affirmed","advice":"look","details":{"reasons":["a"]}}'
    )
    server.raw["release"] = ("403 Forbidden", [("Content-Type", "application/problem+json")], problem)
    target = tmp_path / "secret"
    code, _, err = run("get-resource", PATH, "--output", target)
    assert code == 1
    assert b"[release.denied]" in err
    assert b"next: look" in err
    assert not target.exists()
    code, out, _ = run("get-resource", PATH, "--output", target, "--json")
    assert json.loads(out)["error"]["details"]["reasons"] == ["a"]


@pytest.mark.parametrize(
    ("status", "code_text", "expected"),
    [
        ("400 Bad", "input.malformed", 2),
        ("503 Busy", "audit.unavailable", 4),
        ("409 Stale", "release.stale", 1),
    ],
)
def test_exit_codes_follow_the_servers_refusal(run, server, status, code_text, expected):
    body = json.dumps({"code": code_text}).encode()
    server.raw["release"] = (status, [("Content-Type", "application/problem+json")], body)
    assert run("get-resource", PATH, "--stdout")[:2] == (expected, b"")


def test_exit_codes_of_local_failures(run, tmp_path):
    assert run("get-resource", "../x/y", "--stdout")[0] == 2
    assert run("attest", "--ca-file", tmp_path / "absent", "--server", "https://localhost:1")[0] == 3
    assert run("get-resource", PATH, "--output", tmp_path / "no" / "folder")[0] == 3


def test_a_swapped_answer_is_a_refusal_and_leaves_no_file(run, server, tmp_path):
    server.released = {"resource": "resource/a/b/c"}
    target = tmp_path / "secret"
    code, _, err = run("get-resource", PATH, "--output", target)
    assert (code, target.exists()) == (1, False)
    assert b"[release.mismatch]" in err


def test_evidence_is_the_body_of_an_appraisal(run, server, tmp_path):
    code, out, _ = run("evidence")
    request = msgspec.json.decode(out, type=AppraisalRequest)
    assert (code, request.evidence.__struct_config__.tag) == (0, "snp")
    assert server.requests == ["/v1/challenges"]
    code, _, _ = run("evidence", "--report-data", "ab" * 64, "--output", tmp_path / "evidence.json")
    request = msgspec.json.decode((tmp_path / "evidence.json").read_bytes(), type=AppraisalRequest)
    assert (code, request.report_data, request.nonce) == (0, "ab" * 64, None)
    assert server.requests == ["/v1/challenges"]
    assert run("evidence", "--report-data", "xy")[0] == 2


def test_every_typed_error_has_an_exit_code():
    from common.errors import registry

    for kind in registry().values():
        if kind.__init__ is TouchstoneError.__init__:
            assert cli.exit_code_of(kind("x")) in set(cli.ExitCode)


def test_help_names_every_command():
    result = CliRunner().invoke(cli.cli, ["--help"])
    for name in ("attest", "get-resource", "get-key", "evidence"):
        assert name in result.output
