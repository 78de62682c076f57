"""A client that holds every answer against the OpenAPI document, and a server built for a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException

from service.openapi import openapi_path
from service.problems import PROBLEM_TYPE

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stands where the test puts it."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Answer:
    """An answer that keeps the contract."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    operation: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["code"])


@dataclass
class ContractClient:
    """Calls the application and fails where an answer is not the one that is described.

    Attributes:
        app: the application.
        token: admin bearer token sent unless a call says otherwise.
        seen: operation and status of every answer so far.
    """

    app: Flask
    token: str | None = None
    seen: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.http: FlaskClient = self.app.test_client()
        answer = self.http.get("/openapi.json")
        assert answer.status_code == 200
        self.document: dict[str, Any] = answer.get_json()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, object] | None = None,
        token: str | None = "",
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        bearer = self.token if token == "" else token
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        got = self.http.open(path, method=method, data=data, query_string=query, headers=sent)
        answer = Answer(got.status_code, got.data, dict(got.headers), None)
        self._hold(method, path, answer)
        return answer

    def get(self, path: str, **query: object) -> Answer:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Answer:
        return self.call("POST", path, body)

    def put(self, path: str, body: object = None) -> Answer:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def _hold(self, method: str, path: str, answer: Answer) -> None:
        assert answer.headers["X-Request-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        content_type = answer.headers.get("Content-Type", "")
        try:
            rule, _ = self.app.url_map.bind("").match(path, method, return_rule=True)
        except HTTPException:
            assert content_type == PROBLEM_TYPE
            return
        operation = self.document["paths"][openapi_path(rule.rule)][method.lower()]
        answer.operation = operation["operationId"]
        self.seen.add((operation["operationId"], answer.status))
        described = operation["responses"].get(str(answer.status))
        assert described is not None, (
            f"{method} {path}: {answer.status} is not described: {answer.body[:500]!r}"
        )
        content = described.get("content")
        if content is None:
            assert answer.body == b""
            return
        media = content.get(content_type) or content.get(content_type.partition(";")[0])
        assert media is not None, f"{method} {path}: {content_type} is not described"
        if content_type.startswith("application/") and media["schema"] != {"type": "string"}:
            schema = media["schema"] | {"components": self.document["components"]}
            Draft202012Validator(schema).validate(answer.json)
