"""The ``pkcs11`` plugin: secrets and a wrapping key of an HSM.

=======  ==========================  ==========================================================
method   path                        who and what
=======  ==========================  ==========================================================
GET      ``resource/<r>/<t>/<tag>``  attested guests: the generic secret labelled ``r/t/tag``
POST     the same                    administrators: store it, in place of what was there
DELETE   the same                    administrators: destroy it
POST     ``wrap-key``                administrators: RSA-OAEP encryption of the body
GET      ``wrap-key``                attested guests: decryption of the body
=======  ==========================  ==========================================================

What an HSM does is no transaction of ours, so the audit record of a call (``requested``) is committed
before it: of changes, and of what guests get. ``DELETE`` is ours; the reference has none.

Source of paths and roles: Trustee, the plugin ``pkcs11``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coco.errors import PluginFailed
from coco.plugins.port import OCTETS, PluginAnswer, PluginCall, no_such_call
from coco.plugins.resource import path_ref
from kms.audit import AuditEvent, AuditLog

if TYPE_CHECKING:
    from datetime import datetime

    from coco.plugins.hsm import Hsm

_WRAP: Final = "wrap-key"
_RESOURCE: Final = "resource"
_MAX_VALUE: Final = 64 << 10
_MAX_WRAPPED: Final = 1024  # RSA of 8192 bits


class Pkcs11Plugin:
    """Secrets of an HSM.

    Args:
        hsm: the token.
        audit: where changes are recorded.
    """

    name = "pkcs11"

    def __init__(self, hsm: Hsm, audit: AuditLog) -> None:
        """Keep the parts."""
        self._hsm = hsm
        self._audit = audit

    def validate_auth(self, call: PluginCall) -> bool:
        """Reading is for attested guests, the rest for administrators.

        Raises:
            PluginFailed: no such call.
        """
        _label(call)
        return call.method != "GET"

    def needs_encryption(self, call: PluginCall) -> bool:
        """All that guests get is secret.

        Raises:
            PluginFailed: no such call.
        """
        _label(call)
        return True

    def handle(self, call: PluginCall, *, by: str, now: datetime) -> PluginAnswer:
        """Read, store, destroy, wrap or unwrap.

        Raises:
            PluginFailed: no such call or object, or the HSM refuses the data.
            PluginUnavailable: the HSM does not answer.
            AuditUnavailable: the record could not be written; nothing was done.
        """
        label = _label(call)
        if label is None:
            return self._wrap(call, by, now)
        if call.method == "GET":
            self._record("pkcs11.read", label, by, now, {})
            value = self._hsm.read(label)
            if value is None:
                raise PluginFailed("the HSM has no such secret")
            return PluginAnswer(body=value, content_type=OCTETS)
        if call.method == "POST":
            if not 0 < len(call.body) <= _MAX_VALUE:
                raise PluginFailed(f"a secret of the HSM has 1 to {_MAX_VALUE} bytes")
            self._record("pkcs11.put", label, by, now, {"size": len(call.body)})
            self._hsm.store(label, call.body, now)
            return PluginAnswer()
        self._record("pkcs11.delete", label, by, now, {})
        if not self._hsm.delete(label):
            raise PluginFailed("the HSM has no such secret")
        return PluginAnswer()

    def _wrap(self, call: PluginCall, by: str, now: datetime) -> PluginAnswer:
        if not 0 < len(call.body) <= _MAX_WRAPPED:
            raise PluginFailed(f"what is wrapped has 1 to {_MAX_WRAPPED} bytes")
        if call.method == "POST":
            self._record("pkcs11.wrap", _WRAP, by, now, {"size": len(call.body)})
            return PluginAnswer(body=self._hsm.wrap(call.body), content_type=OCTETS)
        self._record("pkcs11.unwrap", _WRAP, by, now, {"size": len(call.body)})
        return PluginAnswer(body=self._hsm.unwrap(call.body), content_type=OCTETS)

    def _record(self, action: str, target: str, by: str, now: datetime, details: dict[str, object]) -> None:
        self._audit.record(AuditEvent(action, by, f"pkcs11/{target}", "requested", now, details))


def _label(call: PluginCall) -> str | None:
    """The label that a call names; None for the wrapping key.

    Raises:
        PluginFailed: no such path or method.
    """
    if call.path == (_WRAP,) and call.method in {"GET", "POST"}:
        return None
    if call.path[:1] == (_RESOURCE,) and call.method in {"GET", "POST", "DELETE"}:
        return path_ref(call.path[1:]).id
    raise no_such_call()
