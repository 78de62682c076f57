"""``reference.ReferenceValueProviderService``: register, query and list reference values.

An id without a value has no ``reference_value_results``: that is an answer, not an error.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from service.coco import admission
from service.grpc import access
from service.grpc.calls import unary
from wire.proto import reference_pb2 as pb
from wire.proto import reference_pb2_grpc as stubs

if TYPE_CHECKING:
    import grpc

    from service.composition import Services
    from service.grpc.calls import GrpcCall

SERVICE = "reference.ReferenceValueProviderService"


class ReferenceServicer(stubs.ReferenceValueProviderServiceServicer):
    """Serves the methods.

    Args:
        services: what they use.
    """

    def __init__(self, services: Services) -> None:
        """Wrap the handlers."""
        self._query = unary(
            services,
            f"/{SERVICE}/QueryReferenceValue",
            "Failed to query reference values",
            partial(_query, services),
        )
        self._register = unary(
            services,
            f"/{SERVICE}/RegisterReferenceValue",
            "Register reference value",
            partial(_register, services),
        )
        self._list = unary(
            services,
            f"/{SERVICE}/ListReferenceValues",
            "Failed to list reference values",
            partial(_list, services),
        )

    def QueryReferenceValue(  # noqa: N802 (name of the contract)
        self, request: pb.ReferenceValueQueryRequest, context: grpc.ServicerContext
    ) -> pb.ReferenceValueQueryResponse:
        """Give the value of an id."""
        return self._query(request, context)

    def RegisterReferenceValue(  # noqa: N802
        self, request: pb.ReferenceValueRegisterRequest, context: grpc.ServicerContext
    ) -> pb.ReferenceValueRegisterResponse:
        """Register what a message says."""
        return self._register(request, context)

    def ListReferenceValues(  # noqa: N802
        self, request: pb.ReferenceValueListRequest, context: grpc.ServicerContext
    ) -> pb.ReferenceValueListResponse:
        """Give every value."""
        return self._list(request, context)


def _query(
    services: Services, request: pb.ReferenceValueQueryRequest, call: GrpcCall
) -> pb.ReferenceValueQueryResponse:
    value = services.coco.reference_values.query(request.reference_value_id, call.now)
    if value is None:
        return pb.ReferenceValueQueryResponse()
    return pb.ReferenceValueQueryResponse(reference_value_results=_json(value))


def _register(
    services: Services, request: pb.ReferenceValueRegisterRequest, call: GrpcCall
) -> pb.ReferenceValueRegisterResponse:
    by = access.writer(services, admission.WRITE_REFERENCE_VALUES, call)
    services.coco.reference_values.register(request.message, by=by, now=call.now)
    return pb.ReferenceValueRegisterResponse()


def _list(
    services: Services, request: pb.ReferenceValueListRequest, call: GrpcCall
) -> pb.ReferenceValueListResponse:
    del request
    return pb.ReferenceValueListResponse(
        reference_value_results=_json(services.coco.reference_values.list(call.now))
    )


def _json(value: object) -> str:
    """JSON text as the reference writes it: no blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
