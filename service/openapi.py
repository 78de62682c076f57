"""The OpenAPI 3.1 document, built from the route declarations and the structs they name.

``tests/service/test_contract.py`` holds it to the code: every route that Flask serves is described, and
every answer in the tests has a declared status and a body of the declared schema.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from service import responses
from service.access import ROLES
from service.problems import PROBLEM_TYPE, Problem
from service.routing import NoQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.routing import Route, RouteTable

_REF_TEMPLATE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"<(\w+)>")
_SECURITY_SCHEME = "adminToken"
_ROUTE_DESCRIPTION = "Every refusal is a problem document (RFC 9457) with a stable `code` and `advice`."
_BAD_REQUEST = 400
_INTERNAL = 500
_STATUS_TEXT = {
    200: "OK",
    201: "Created",
    204: "Done; no body",
    400: "Malformed request",
    401: "No valid token",
    403: "Not allowed",
    404: "Not found",
    409: "Contradicts the present state",
    413: "Body too large",
    415: "Wrong media type",
    422: "Well-formed, but it does not hold",
    429: "Asked too often",
    500: "Internal error",
    503: "Something the server depends on does not answer",
}


def build(tables: Sequence[RouteTable], *, version: str, url: str | None) -> dict[str, Any]:
    """The document as JSON-compatible data.

    Args:
        tables: every part of the API.
        version: of the product.
        url: the server's public URL, if it is known.
    """
    routes = [(table.name, route) for table in tables for route in table.routes]
    schemas, components = _schemas([route for _, route in routes])
    paths: dict[str, dict[str, Any]] = {}
    for tag, route in routes:
        operations = paths.setdefault(openapi_path(route.path), {})
        operations[route.method.lower()] = _operation(tag, route, schemas)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Touchstone", "version": version, "description": _ROUTE_DESCRIPTION},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {_SECURITY_SCHEME: _security_scheme()}},
        "tags": [{"name": table.name} for table in tables],
    }
    if url is not None:
        document["servers"] = [{"url": url}]
    # Defaults in the schemas may be tuples or enumeration members: through JSON they are plain data.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def openapi_path(rule: str) -> str:
    """A Flask rule in OpenAPI's notation."""
    return _PARAMETER.sub(r"{\1}", rule)


def problem_statuses(route: Route) -> tuple[int, ...]:
    """Every refusal status that a route may give."""
    statuses = {_BAD_REQUEST, _INTERNAL, *route.problems}
    if route.scope is not None or route.admit is not None:
        statuses |= {401, 403, 503}
    if route.body is not None:
        statuses |= {413, 415}
    return tuple(sorted(statuses))


def _security_scheme() -> dict[str, Any]:
    roles = "; ".join(
        f"{role}: {', '.join(sorted(scope.value for scope in scopes))}" for role, scopes in ROLES.items()
    )
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ts_<id>_<secret>",
        "description": f"Scopes by role. {roles}.",
    }


def _operation(tag: str, route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [tag],
        "responses": {str(status): _success(route, status, schemas) for status in route.answers},
    }
    for status in problem_statuses(route):
        described = operation["responses"].get(str(status))
        problem = {PROBLEM_TYPE: {"schema": schemas[Problem]}}
        if described is None:
            operation["responses"][str(status)] = {"description": _STATUS_TEXT[status], "content": problem}
        else:
            described.setdefault("content", {}).update(problem)
    parameters = [*_path_parameters(route), *_query_parameters(route)]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        content = {responses.JSON_TYPE: {"schema": schemas[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.scope is not None:
        operation["security"] = [{_SECURITY_SCHEME: []}]
        operation["x-scope"] = route.scope.value
    elif route.admit is not None:
        operation["security"] = [{_SECURITY_SCHEME: []}]
    return operation


def _success(route: Route, status: int, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _STATUS_TEXT[status]}
    kind = route.answers[status]
    if kind is bytes:
        answer["content"] = {route.content_type: {"schema": {"type": "string"}}}
    elif kind is not None:
        answer["content"] = {route.content_type: {"schema": schemas[kind]}}
    return answer


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is NoQuery:
        return
    (_, components) = msgspec.json.schema_components((route.query,), ref_template=_REF_TEMPLATE)
    schema = components[route.query.__name__]
    required = set(schema.get("required", ()))
    for name, described in schema["properties"].items():
        yield {"name": name, "in": "query", "required": name in required, "schema": described}


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Schema of every type that a route names, and the components they refer to."""
    kinds: list[Any] = [Problem]
    for route in routes:
        named = [route.body, *route.answers.values()]
        kinds.extend(kind for kind in named if kind is not None and kind is not bytes)
    unique = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF_TEMPLATE)
    return dict(zip(unique, schemas, strict=True)), dict(components)
