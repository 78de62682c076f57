"""Who may call what: every route, with no token, a wrong one, and every role."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from service.access import ROLES, Scope
from service.api import TABLES
from service.composition import Services
from service.routing import Route, RouteTable
from tests.service.harness import NOW, ContractClient

ROUTES = [route for table in TABLES for route in table.routes]
GUARDED = [route for route in ROUTES if route.scope is not None]
OPEN = {
    ("POST", "/v1/challenges"),
    ("POST", "/v1/appraisals"),
    ("POST", "/v1/resources/<repository>/<type>/<tag>/release"),
    ("POST", "/v1/keys/<key_id>/release"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/openapi.json"),
    ("POST", "/attestation"),
    ("POST", "/challenge"),
}
# Open or not by setting, or to administrators of the KBS too: tests/service/coco/test_attestation_api.py.
ADMITTED = {("POST", "/policy"), ("GET", "/policy"), ("GET", "/policy/<policy_id>")}


def name(route: Route) -> str:
    return route.operation


def path_of(route: Route) -> str:
    return re.sub(r"<\w+>", "x1", route.path)


def call(client: ContractClient, route: Route, token: str | None) -> int:
    """A call without a body: who is let in is told before anything of a body is read."""
    return client.call(route.method, path_of(route), token=token).status


def test_nothing_is_open_but_what_must_be() -> None:
    unscoped = [route for route in ROUTES if route.scope is None]
    assert {(route.method, route.path) for route in unscoped if route.admit is None} == OPEN
    assert {(route.method, route.path) for route in unscoped if route.admit is not None} == ADMITTED


def test_route_that_says_neither_scope_nor_open_cannot_be_declared() -> None:
    table = RouteTable("t")
    with pytest.raises(TypeError):
        table.add("GET", "/t", answers={200: None})
    with pytest.raises(TypeError):
        table.add("GET", "/t", answers={200: None}, scope=Scope.AUDIT_READ, open_to_all=True)
    assert table.routes == []


@pytest.mark.parametrize("route", GUARDED, ids=name)
def test_without_a_token_or_with_a_wrong_one(client: ContractClient, route: Route) -> None:
    assert client.token is not None
    for token in (None, "", "ts_0", client.token[:-1] + ("A" if client.token[-1] != "A" else "B")):
        answer = client.call(route.method, path_of(route), token=token or None)
        assert (answer.status, answer.code) == (401, "access.unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_role_is_let_into_exactly_the_routes_of_its_scopes(
    client: ContractClient, services: Services, role: str
) -> None:
    token, _ = services.tokens.create(label=role, roles=(role,), by="test", now=NOW)
    for route in GUARDED:
        status = call(client, route, token)
        allowed = route.scope in ROLES[role]
        assert (status not in (401, 403)) is allowed, (route.operation, status)


def test_token_works_on_no_route_once_it_is_revoked(client: ContractClient, services: Services) -> None:
    token, info = services.tokens.create(label="x", roles=("admin",), by="test", now=NOW)
    assert client.call("GET", "/v1/policies", token=token).status == 200
    services.tokens.revoke(info.id, NOW)
    assert {call(client, route, token) for route in GUARDED} == {401}


def test_refused_caller_learns_nothing_of_what_exists(client: ContractClient, services: Services) -> None:
    token, _ = services.tokens.create(label="x", roles=("monitor",), by="test", now=NOW)
    for path in ("/v1/policies/appraisal/default", "/v1/policies/appraisal/absent"):
        answer = client.call("GET", path, token=token)
        assert (answer.status, answer.code) == (403, "access.scope")


def test_attestation_result_is_no_admin_token(client: ContractClient, services: Services) -> None:
    ear = services.token_keys.sign(
        {"jti": "1", "aud": "touchstone"}, now=NOW, expires=NOW + timedelta(minutes=5)
    )
    assert client.call("GET", "/v1/policies", token=ear).status == 401


def test_scope_of_a_route_is_in_its_description(client: ContractClient) -> None:
    for route in GUARDED:
        path = re.sub(r"<(\w+)>", r"{\1}", route.path)
        described = client.document["paths"][path][route.method.lower()]
        assert described["x-scope"] == route.scope.value
        assert described["security"]
