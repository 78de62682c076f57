"""Logs: one JSON object a line, no forged records, no messages of unexpected exceptions."""

from __future__ import annotations

import json
import logging

import pytest

from service.observability import JsonFormatter, new_request_id


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("touchstone.test", logging.INFO, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    "text", ['x\n{"level":"info"}', "x\r\nfaked", "x\u2028y", "\x1b[31mred", '"', "\\"]
)
def test_no_text_makes_a_second_line(text: str) -> None:
    line = JsonFormatter().format(record("path %s", text, fields={"name": text}))
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert json.loads(line)["name"] == text


def test_exception_is_told_by_type_and_place_not_by_message() -> None:
    try:
        try:
            {}["inner hunter2"]
        except KeyError as error:
            raise RuntimeError("parameters: hunter2") from error
    except RuntimeError as error:
        made = record("unexpected failure")
        made.exc_info = (type(error), error, error.__traceback__)
    line = JsonFormatter().format(made)
    told = json.loads(line)["exception"]
    assert "hunter2" not in line
    assert told["type"] == "builtins.RuntimeError"
    assert told["cause"]["type"] == "builtins.KeyError"
    assert "test_observability.py" in told["at"][0]


def test_fields_stand_beside_the_message() -> None:
    document = json.loads(
        JsonFormatter().format(record("refused", fields={"request_id": "r", "status": 4}))
    )
    assert (document["message"], document["request_id"], document["status"]) == ("refused", "r", 4)
    assert document["level"] == "info"
    assert document["time"].endswith("+00:00")


def test_request_ids_differ() -> None:
    assert len({new_request_id() for _ in range(1000)}) == 1000
