"""The routes that guests call, served below Flask.

Flask's part of a request (contexts, routing, its request and response objects) costs as much as policy,
reference values and token together. The routes that every guest calls are open, have no path parameter
and no query: their exact method and path is looked up here, and everything else goes on to Flask. Both
ways end in the same function (``service.routing.server_of``), so that they cannot answer differently.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from service.routing import NoQuery, server_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from service.composition import Services
    from service.routing import Route

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class DirectRoutes:
    """WSGI middleware that answers some routes itself.

    Args:
        app: the application below, for everything else.
        routes: of which those that are ``fast`` are served here.
        services: what their handlers use.
    """

    def __init__(self, app: WSGIApplication, routes: Iterable[Route], services: Services) -> None:
        """Prepare the routes."""
        self._app = app
        self._servers = {
            (route.method, route.path): server_of(route, services)
            for route in routes
            if route.fast and "<" not in route.path and route.query is NoQuery
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        serve = self._servers.get((environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")))
        if serve is None:
            return self._app(environ, start_response)
        reply = serve(environ, {})
        reply.headers.append(("Content-Length", str(len(reply.body))))
        start_response(_STATUS_LINES[reply.status], reply.headers)
        return [reply.body]  # a list: a server may then send it whole, without iterating
