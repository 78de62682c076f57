"""Errors of the service room: access to the administrative routes, and the HTTP protocol itself."""

from __future__ import annotations

from common.errors import AccessError, InputError, TouchstoneError, UnavailableError


class Unauthenticated(AccessError):
    """No bearer token, or one that is unknown, expired or revoked."""

    code = "access.unauthenticated"
    advice = "Send `Authorization: Bearer ts_...`; `touchstone token create` makes a token."


class ScopeMissing(AccessError):
    """The token is good, but its roles do not give the scope that this needs."""

    code = "access.scope"
    advice = "Use a token whose roles give the named scope; `touchstone token create --role` lists roles."


class ClientCertificateMissing(AccessError):
    """The route needs a client certificate, and the connection has none."""

    code = "access.client_certificate"
    advice = "Connect with a certificate of the authority that [server] tls_client_ca names."


class RoleUnknown(InputError):
    """A token was asked for with a role that does not exist."""

    code = "input.role"
    advice = "docs/configuration.md and `touchstone token create --help` list the roles."


class MethodNotAllowed(InputError):
    """The path exists, the method does not."""

    code = "input.method"
    advice = "The Allow header lists the methods; /openapi.json describes them."


class MediaTypeUnsupported(InputError):
    """The body's Content-Type is not the one that the route takes."""

    code = "input.media_type"
    advice = "Send `Content-Type: application/json`."


class InternalError(TouchstoneError):
    """Something failed that should not; nothing of it is shown to the caller."""

    code = "internal.error"
    advice = "Give the request id to the operator: the log has the cause under it."


class NotReady(UnavailableError):
    """The server runs, but cannot answer requests yet or any more."""

    code = "unavailable.not_ready"
    advice = "The checks name what is missing; retry when it is back."


class SandboxUnavailable(UnavailableError):
    """The sandbox for inspections of in-toto layouts cannot be built."""

    code = "unavailable.sandbox"
    advice = "It needs util-linux (unshare, mount, prlimit, setpriv) and unprivileged user namespaces."
