"""The key provider protocol of ocicrypt: layer keys wrapped and unwrapped under keys of the KBS.

A layer's annotation is a packet, JSON in two versions: 1 has ``kid``, ``wrapped_data``, ``iv`` and
``wrap_type``; 2 adds ``version``, ``provider``, ``provider_settings`` and ``annotations``. Both are read;
1 is written, which every guest reads.

Invariants:

* A256GCM alone; the key-encryption key is the 32-byte resource that ``kid`` names.
* ``keypath`` (a file of this machine) and ``sample`` (a key that everybody knows) are refused.

Byte strings of the output are arrays of numbers, as the reference writes them: its own reader takes no
other form, and that of Go's ocicrypt takes both.

Source: ocicrypt, ``docs/keyprovider.md``; Confidential Containers, image encryption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from common import strict_json
from common.encoding import b64_decode, b64_encode
from common.errors import Malformed
from guest_agent import aead, resource_uri
from guest_agent.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from guest_agent.resource_uri import ResourceUri

T = TypeVar("T")
PROVIDER_NAME: Final = "attestation-agent"
_VERSION: Final = "0.1.0"
_KBS: Final = "kbs"
_MAX_INPUT: Final = 1 << 20
_PARAMETERS: Final = frozenset({"provider", "keyid", "keypath", "sample", "algorithm"})
_ALGORITHMS: Final = (aead.A256GCM, "A256CTR")


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """An annotation packet of either version."""

    kid: str
    wrapped_data: str
    iv: str | None = None
    wrap_type: str | None = None
    version: str = _VERSION
    provider: str = _KBS
    provider_settings: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class _Parameters(msgspec.Struct, frozen=True):
    parameters: dict[str, list[str]] = msgspec.field(name="Parameters", default_factory=dict)


class _Wrap(msgspec.Struct, frozen=True):
    ec: _Parameters | None = None
    optsdata: str | None = None


class _Unwrap(msgspec.Struct, frozen=True):
    annotation: str | None = None


class _Input(msgspec.Struct, frozen=True):
    op: str
    keywrapparams: _Wrap | None = None
    keyunwrapparams: _Unwrap | None = None


def unwrap_key(request: bytes, resource: Callable[[ResourceUri], bytes]) -> bytes:
    """Answer a ``keyunwrap``.

    Args:
        request: JSON of KeyProviderKeyWrapProtocolInput.
        resource: gets a key of the KBS.

    Returns:
        JSON of KeyProviderKeyWrapProtocolOutput.

    Raises:
        Malformed: not the form.
        Unsupported: another operation, version, provider or algorithm.
        UnwrapFailed: it does not open.
        TouchstoneError: what ``resource`` raises.
    """
    asked = _parse(request, "keyunwrap").keyunwrapparams
    if asked is None or asked.annotation is None:
        raise Malformed("the request has no annotation to unwrap")
    options = unwrap(b64_decode(asked.annotation, what="the annotation"), resource)
    return msgspec.json.encode({"keyunwrapresults": {"optsdata": list(options)}})


def wrap_key(request: bytes, resource: Callable[[ResourceUri], bytes]) -> bytes:
    """Answer a ``keywrap``; parameters and errors as for ``unwrap_key``."""
    asked = _parse(request, "keywrap").keywrapparams
    if asked is None or asked.optsdata is None or asked.ec is None:
        raise Malformed("the request has no optsdata or no encryption parameters")
    given = asked.ec.parameters.get(PROVIDER_NAME)
    if not given:
        raise Malformed(f"the request has no parameters for provider {PROVIDER_NAME}")
    kid = _key_id(b64_decode(given[0], what="the parameters"))
    iv, wrapped = aead.encrypt(
        resource(resource_uri.parse(kid)), b64_decode(asked.optsdata, what="optsdata")
    )
    packet = {
        "kid": kid,
        "wrapped_data": b64_encode(wrapped),
        "iv": b64_encode(iv),
        "wrap_type": aead.A256GCM,
    }
    return msgspec.json.encode({"keywrapresults": {"annotation": list(msgspec.json.encode(packet))}})


def unwrap(packet: bytes, resource: Callable[[ResourceUri], bytes]) -> bytes:
    """What an annotation packet has wrapped. Errors as for ``unwrap_key``."""
    parsed = _decode(packet, Packet, "the annotation packet")
    if parsed.version != _VERSION or parsed.provider != _KBS:
        raise Unsupported(f"an annotation packet is of version {_VERSION} and provider {_KBS}")
    if parsed.wrap_type != aead.A256GCM:
        raise Unsupported(f"a layer key is wrapped by {aead.A256GCM}")
    if parsed.iv is None:
        raise Malformed("the annotation packet has no iv")
    iv = b64_decode(parsed.iv, what="iv")
    wrapped = b64_decode(parsed.wrapped_data, what="wrapped_data")
    return aead.decrypt(resource(resource_uri.parse(parsed.kid)), iv, wrapped)


def _key_id(parameters: bytes) -> str:
    """The key that a parameter string (``name=value``, joined by ``::``) names."""
    try:
        text = parameters.decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("the parameters are not ASCII") from error
    values: dict[str, str] = {}
    for field in text.removeprefix(f"provider:{PROVIDER_NAME}:").split("::"):
        name, found, value = field.partition("=")
        if not found or name not in _PARAMETERS or name in values:
            raise Malformed("the parameters are name=value, joined by `::`, each once")
        values[name] = value
    if "keypath" in values or values.get("sample", "false") != "false":
        raise Unsupported(
            "the guest wraps under keys of the KBS alone",
            advice="Name the key by keyid=kbs:///...; no keypath.",
        )
    algorithm = values.get("algorithm", aead.A256GCM)
    if algorithm != aead.A256GCM:
        known = "known, but not authenticated" if algorithm in _ALGORITHMS else "not known"
        raise Unsupported(f"a layer key is wrapped by {aead.A256GCM}; the other is {known}")
    if "keyid" not in values:
        raise Malformed("the parameters name no keyid")
    return values["keyid"]


def _parse(request: bytes, operation: str) -> _Input:
    parsed = _decode(request, _Input, "the key provider request")
    if parsed.op != operation:
        raise Unsupported(f"this call is for op {operation}")
    return parsed


def _decode(data: bytes, kind: type[T], what: str) -> T:
    document = strict_json.loads(data, what=what, max_bytes=_MAX_INPUT)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"{what} is not of the form: {error}") from error
