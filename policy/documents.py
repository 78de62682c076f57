"""How the one document that an engine is given stands for Rego's ``input`` and ``data``.

A resource policy of Confidential Containers reads two documents: ``input``, the claims of the attestation
token, and ``data``, what is asked for (``plugin``, ``resource-path``, ``query``). An engine of ours takes
one document per evaluation and keeps no data, so that nothing of one request can meet another. The document
of that kind therefore holds both, side by side, and ``policy.modules`` spells ``input`` and ``data`` in the
policy as its two members. Side by side, since a claim can then never pass for what is asked for.

An appraisal policy has no data: the reference service gives it none. ``data.x`` is spelt there as a member
of the input that is never given, so that it is undefined on every engine, whatever an OPA server holds.

The other kinds have no ``data`` (``policy.profile`` refuses it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from common.errors import Malformed
from policy.port import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLAIMS: Final = "claims"
DATA: Final = "data"
# What is never a member of an appraisal's input.
ABSENT: Final = "touchstone_data"

# Per kind, what ``input`` and ``data`` are spelt as; what is not named stays, or is refused.
ROOTS: Final[Mapping[PolicyKind, Mapping[str, str]]] = {
    PolicyKind.APPRAISAL: {"data": f"input.{ABSENT}"},
    PolicyKind.RESOURCE: {"input": f"input.{CLAIMS}", "data": f"input.{DATA}"},
    PolicyKind.RELEASE: {},
    PolicyKind.TRUST: {},
}

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def resource_input(claims_json: bytes, data: Mapping[str, Any]) -> bytes:
    """The document that a resource policy is evaluated on.

    The claims are read over, to see that they are one JSON object and nothing beside it, and put in as they
    are: they are not decoded and encoded again.

    Args:
        claims_json: the payload of the verified token, a JSON object in UTF-8.
        data: ``plugin`` (text), ``resource-path`` (list of text) and ``query`` (text to text).

    Raises:
        Malformed: the claims are not one JSON object.
    """
    try:
        _OBJECT.decode(claims_json)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed("the token's claims are not a JSON object") from error
    return b'{"%b":%b,"%b":%b}' % (CLAIMS.encode(), claims_json, DATA.encode(), _ENCODER.encode(data))


def resource_data(
    plugin: str, path: Sequence[str], query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a request asks for, as a resource policy reads it in ``data``.

    Args:
        plugin: the segment after ``/kbs/v0/``: ``resource``, ``pkcs11`` ...
        path: the segments after it.
        query: of the URL, each name once.
    """
    return {"plugin": plugin, "resource-path": list(path), "query": dict(query or {})}
