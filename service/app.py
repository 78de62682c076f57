"""The Flask application: routes from ``service.api``, and nothing else that answers.

``create_app`` is given everything that was built (``service.composition``) and adds no state of its
own. What Flask would do by itself is off: static files, automatic OPTIONS, redirects to cleaned-up
paths, sessions. HTTP errors that Flask raises before a route runs become problem documents too.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from flask import Blueprint, Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from common import errors
from service import routing
from service.api import TABLES
from service.coco import attestation_api
from service.coco.cors import Cors
from service.coco.kbs_routes import KbsRoutes
from service.direct import DirectRoutes
from service.errors import MethodNotAllowed as MethodNotAllowedError
from service.observability import new_request_id
from service.responses import SecurityHeaders

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from wsgiref.types import WSGIApplication

    from flask import Response

    from service.composition import Services
    from service.responses import Reply

_FIRST_SERVER_ERROR = 500


def create_app(services: Services) -> Flask:
    """The WSGI application over ``services``."""
    app = Flask("touchstone", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    tables = [
        table for table in TABLES if services.settings.coco.enabled or table is not attestation_api.ROUTES
    ]
    for table in tables:
        blueprint = Blueprint(table.name, __name__)
        for route in table.routes:
            blueprint.add_url_rule(
                route.path,
                endpoint=route.operation.removeprefix(f"{table.name}."),
                view_func=routing.view_of(route, services),
                methods=[route.method],
                strict_slashes=True,
            )
        app.register_blueprint(blueprint)
    every_route = [route for table in tables for route in table.routes]
    below: WSGIApplication = DirectRoutes(app.wsgi_app, every_route, services)
    if services.settings.coco.enabled:
        below = KbsRoutes(
            below, services.coco.kbs, services.settings, services.clock, turn=_turn_of(services)
        )
        origins = services.settings.coco.attestation.allowed_origins
        below = Cors(below, attestation_api.PATHS, origins) if origins else below
    app.wsgi_app = SecurityHeaders(below)  # type: ignore[method-assign]
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _failure)
    return app


def _turn_of(services: Services) -> Callable[[], AbstractContextManager[None]]:
    """Threads take turns where calls compute here, not where they mostly wait for other servers."""
    database = services.database
    if database.dialect == "sqlite" and services.settings.policy.engine == "regorus":
        return database.turn
    return nullcontext


def _http_error(error: HTTPException) -> Response:
    """An error that Flask raises outside our views: no such route, wrong method, bad request line."""
    return routing.to_flask(_refusal_of(error, new_request_id()))


def _refusal_of(error: HTTPException, request_id: str) -> Reply:
    if isinstance(error, NotFound):
        return routing.refuse(
            errors.NotFound("no such route", advice="/openapi.json lists the routes."), request_id
        )
    if isinstance(error, MethodNotAllowed):
        methods = ", ".join(sorted(error.valid_methods or ()))
        refusal = MethodNotAllowedError("the route does not take this method")
        return routing.refuse(refusal, request_id, {"Allow": methods})
    if error.code is not None and error.code < _FIRST_SERVER_ERROR:
        return routing.refuse(errors.Malformed("the request is not well-formed HTTP"), request_id)
    return routing.fail(error, request_id)


def _failure(error: Exception) -> Response:
    return routing.to_flask(routing.fail(error, new_request_id()))
