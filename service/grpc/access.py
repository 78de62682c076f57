"""Who may write over gRPC: holders of a token, of a client certificate, or, by setting, loopback callers.

A token that was sent decides, whatever else speaks for the caller: a wrong one is refused. Clients of the
reference (``rvps-tool``, its KBS) send none and show no certificate; they can write from loopback alone,
and only where ``[grpc] unauthenticated_writes`` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.coco import admission
from service.errors import Unauthenticated

if TYPE_CHECKING:
    from service.coco.admission import Right
    from service.composition import Services
    from service.grpc.calls import GrpcCall

_LOOPBACK: Final = "a loopback caller (unauthenticated_writes)"
_ADVICE: Final = (
    "Send metadata `authorization: Bearer <token>`, or connect with a client certificate ([grpc]"
    " tls_client_ca). For clients on this machine that can do neither, such as rvps-tool, the operator may"
    ' set [grpc] unauthenticated_writes = "loopback".'
)


def writer(services: Services, right: Right, call: GrpcCall) -> str:
    """How records name the caller, if it may write.

    Raises:
        Unauthenticated, AdminDenied: nothing speaks for it, or a token that does not hold.
        ScopeMissing: a token of ours without the scope.
    """
    if call.authorization is not None:
        return admission.admit(services, right, call.authorization, call.now).name
    if call.certificate is not None:
        return f"{call.certificate} (client certificate)"
    if services.settings.grpc.unauthenticated_writes == "loopback" and call.loopback:
        return _LOOPBACK
    raise Unauthenticated("writing needs authentication, and the call has none", advice=_ADVICE)
