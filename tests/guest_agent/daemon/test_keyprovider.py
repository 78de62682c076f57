"""Wrapped layer keys: both packets, the reference's bytes, and what is refused."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.encoding import b64_decode, b64_encode
from common.errors import InputError, InvalidIdentifier, Malformed, TooLarge
from guest_agent.daemon import keyprovider
from guest_agent.errors import Unsupported, UnwrapFailed

KEK = bytes(range(32))
IV = bytes(12)
OPTIONS = b'{"symkey":"c2VjcmV0","digest":"sha256:00","cipheroptions":{"nonce":"bm9uY2U="}}'
V1 = {
    "kid": "kbs:///default/key/kek",
    "wrapped_data": b64_encode(AESGCM(KEK).encrypt(IV, OPTIONS, None)),
    "iv": b64_encode(IV),
    "wrap_type": "A256GCM",
}
V2 = V1 | {"version": "0.1.0", "provider": "kbs", "provider_settings": {}, "annotations": {}}


def resource(uri):
    assert uri.path == "default/key/kek"
    return KEK


def unwrap_request(packet, **changes):
    body = packet if isinstance(packet, bytes) else json.dumps(packet).encode()
    return json.dumps(
        {
            "op": "keyunwrap",
            "keywrapparams": {},
            "keyunwrapparams": {
                "dc": {"Parameters": {"attestation-agent": ["YQ=="]}},
                "annotation": b64_encode(body),
            },
        }
        | changes
    ).encode()


def wrap_request(parameters, **changes):
    return json.dumps(
        {
            "op": "keywrap",
            "keywrapparams": {
                "ec": {
                    "Parameters": {"attestation-agent": [b64_encode(parameters.encode())]},
                    "DecryptConfig": {"Parameters": None},
                },
                "optsdata": b64_encode(OPTIONS),
            },
            "keyunwrapparams": {"dc": None, "annotation": None},
        }
        | changes
    ).encode()


@pytest.mark.parametrize("packet", [V1, V2])
def test_unwrapping(packet):
    answer = json.loads(keyprovider.unwrap_key(unwrap_request(packet), resource))
    # Arrays of numbers: what the reference writes, and the only form that its own reader takes.
    assert answer == {"keyunwrapresults": {"optsdata": list(OPTIONS)}}


@pytest.mark.parametrize(
    "parameters",
    [
        "keyid=kbs:///default/key/kek",
        "provider:attestation-agent:keyid=kbs:///default/key/kek",
        "keyid=kbs:///default/key/kek::algorithm=A256GCM::sample=false",
    ],
)
def test_wrapping_and_back(parameters):
    answer = json.loads(keyprovider.wrap_key(wrap_request(parameters), resource))
    packet = json.loads(bytes(answer["keywrapresults"]["annotation"]))
    assert set(packet) == {"kid", "wrapped_data", "iv", "wrap_type"}
    assert packet["kid"] == "kbs:///default/key/kek"
    assert (
        AESGCM(KEK).decrypt(b64_decode(packet["iv"]), b64_decode(packet["wrapped_data"]), None) == OPTIONS
    )
    back = json.loads(keyprovider.unwrap_key(unwrap_request(packet), resource))
    assert bytes(back["keyunwrapresults"]["optsdata"]) == OPTIONS


def test_each_wrapping_has_its_own_iv():
    packets = [
        bytes(
            json.loads(keyprovider.wrap_key(wrap_request("keyid=kbs:///default/key/kek"), resource))[
                "keywrapresults"
            ]["annotation"]
        )
        for _ in range(2)
    ]
    assert json.loads(packets[0])["iv"] != json.loads(packets[1])["iv"]


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ("keyid=kbs:///default/key/kek::keypath=/etc/shadow", Unsupported),
        ("keyid=kbs:///default/key/kek::sample=true", Unsupported),
        ("sample=true", Unsupported),
        ("keyid=kbs:///default/key/kek::algorithm=A256CTR", Unsupported),
        ("keyid=kbs:///default/key/kek::algorithm=x", Unsupported),
        ("algorithm=A256GCM", Malformed),
        ("keyid=kbs:///default/key/kek::keyid=kbs:///a/b/c", Malformed),
        ("keyid=kbs:///default/key/kek::more=1", Malformed),
        ("keyid", Malformed),
        ("", Malformed),
        ("kéyid=x", Malformed),
        ("keyid=file:///etc/shadow", InvalidIdentifier),
        ("keyid=kbs:///a/../c", InvalidIdentifier),
    ],
)
def test_parameters_that_are_refused(parameters, error):
    with pytest.raises(error):
        keyprovider.wrap_key(wrap_request(parameters), lambda _uri: pytest.fail("nothing is fetched"))


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (V1 | {"wrap_type": "A256CTR"}, Unsupported),
        (V1 | {"wrap_type": None}, Unsupported),
        (V2 | {"version": "0.2.0"}, Unsupported),
        (V2 | {"provider": "aliyun"}, Unsupported),
        ({name: value for name, value in V1.items() if name != "iv"}, Malformed),
        (V1 | {"iv": "!"}, Malformed),
        (V1 | {"iv": b64_encode(bytes(16))}, UnwrapFailed),
        (V1 | {"wrapped_data": b64_encode(bytes(64))}, UnwrapFailed),
        (V1 | {"wrapped_data": ""}, UnwrapFailed),
        (V1 | {"kid": "kbs:///a/b/../c"}, InvalidIdentifier),
        (b"not json", Malformed),
        (b"[]", Malformed),
    ],
)
def test_packets_that_are_refused(packet, error):
    with pytest.raises(error):
        keyprovider.unwrap_key(unwrap_request(packet), resource)


@pytest.mark.parametrize(
    "request_",
    [b"", b"{}", b"null", b'{"op":1}', b'{"op":"keyunwrap"}', b'{"op":"keyunwrap","keyunwrapparams":{}}'],
)
def test_requests_that_are_not_of_the_form(request_):
    with pytest.raises(InputError):
        keyprovider.unwrap_key(request_, resource)
    with pytest.raises(InputError):
        keyprovider.wrap_key(request_, resource)


def test_an_operation_at_the_wrong_call():
    with pytest.raises(Unsupported):
        keyprovider.wrap_key(unwrap_request(V1), resource)
    with pytest.raises(Unsupported):
        keyprovider.unwrap_key(wrap_request("keyid=kbs:///default/key/kek"), resource)


def test_no_parameters_for_us():
    request = wrap_request(
        "x", keywrapparams={"ec": {"Parameters": {"other": ["YQ=="]}}, "optsdata": "YQ=="}
    )
    with pytest.raises(Malformed):
        keyprovider.wrap_key(request, resource)


def test_too_large():
    with pytest.raises(TooLarge):
        keyprovider.unwrap_key(unwrap_request(b"x" * (1 << 20)), resource)
