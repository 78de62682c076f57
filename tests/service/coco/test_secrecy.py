"""No secret, token, key or stack trace in a refusal, a log or the audit log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from service.observability import JsonFormatter
from tests.service.coco.conftest import SECRET, Kbs
from tests.service.coco.kbs import Answer, Guest, b64, b64url
from tests.service.coco.test_sessions import started

PATH = "resource/default/test/dummy"


def refusals(kbs: Kbs, guest: Guest) -> list[Answer]:
    """Every kind of refusal, with secrets in what was sent."""
    token, admin = guest.token, kbs.admin.token
    forged = {"Authorization": f"Bearer {token[:-10]}AAAAAAAAAA"}
    bad = started(kbs)
    return [
        bad.call("POST", "attest", {"evil": SECRET.decode()}),
        started(kbs).call("POST", "attest", b'{"x":"' + SECRET + b'"'),
        kbs.guest().call("POST", "auth", {"version": SECRET.decode(), "tee": "sample"}),
        Guest(kbs.http).call("GET", PATH, **forged),
        guest.call("GET", "resource/default/test/nosuch"),
        guest.call("GET", f"{PATH}?a=1&a={b64url(SECRET)}"),
        kbs.admin.call("POST", "resource-policy", {"policy": b64url(SECRET)}),
        kbs.admin.call("POST", "reference-value", SECRET),
        Guest(kbs.http).call("POST", "resource-policy", b"{}", Authorization=f"Bearer {admin[:-4]}AAAA"),
        kbs.admin.call("PUT", PATH, SECRET),
        kbs.admin.call("POST", "resource/x", SECRET),
    ]


def test_case_44_nothing_secret_leaves_by_refusals_or_logs(
    kbs: Kbs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guest = kbs.guest()
    assert guest.attest().status == 200
    assert guest.call("GET", PATH).status == 200
    answers = refusals(kbs, guest)
    assert all(answer.status >= 400 for answer in answers)
    formatter = JsonFormatter()
    logged = "\n".join(formatter.format(record) for record in caplog.records)
    assert '"refused"' in logged
    keys = list((kbs.services.settings.keys_dir).glob("*"))
    private = [path.read_bytes() for path in keys if path.is_file() and path.stat().st_mode & 0o77 == 0]
    assert private
    secret = [
        SECRET.decode().strip(),
        b64(SECRET),
        b64url(SECRET),
        guest.token,
        guest.cookie,
        kbs.admin.token,
    ]
    secret += [line for data in private for line in _lines(data)]
    for text in (logged, *(answer.body.decode() for answer in answers)):
        assert not [item[:6] for item in secret if item in text]
        assert "Traceback" not in text
        assert ".py" not in text


def _lines(data: bytes) -> list[str]:
    """Lines of PEM bodies, and the base64 of binary keys."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError:
        return [b64(data).rstrip("="), data.hex()]
    return [line for line in lines if len(line) >= 32 and not line.startswith("-----")]


def test_case_44_a_fault_of_ours_is_a_500_that_tells_nothing(
    kbs: Kbs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guest = kbs.guest()
    guest.attest()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET.decode())

    monkeypatch.setattr("coco.jwe.encrypt", broken)
    answer = guest.call("GET", PATH)
    assert (answer.status, answer.variant) == (500, "PluginInternalError")
    assert answer.json["detail"] == "Plugin internal error"
    record = next(item for item in caplog.records if item.message == "unexpected failure")
    assert record.fields["request_id"] == answer.headers["X-Request-Id"]  # type: ignore[attr-defined]


def test_the_cause_of_a_failed_attestation_is_in_the_log_alone(
    kbs: Kbs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    guest = started(kbs)
    answer = guest.call("POST", "attest", guest.attestation(evidence={"svn": "1", "report_data": ""}))
    assert answer.json["detail"] == "Attestation error: RCAR handshake Attest failed"
    (record,) = [item for item in caplog.records if item.message == "refused"]
    fields = record.fields  # type: ignore[attr-defined]
    assert fields["code"] == "evidence.report_data"
    assert fields["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nSet-Cookie: x=y", "\u2028", "\x1b[31m", "é"])
def test_case_44_what_a_caller_sends_breaks_no_line(
    kbs: Kbs, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    caplog.set_level(logging.INFO)
    kbs.guest().call("POST", "auth", {"version": text, "tee": text})
    kbs.admin.call("POST", "reference-value", {"version": text, "type": text, "payload": text})
    formatter = JsonFormatter()
    for record in caplog.records:
        line = formatter.format(record)
        assert "\n" not in line
        assert line.isprintable()
        json.loads(line)


def test_files_of_keys_are_private(kbs: Kbs) -> None:
    path: Path = kbs.services.settings.keys_dir / "kbs-session.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
