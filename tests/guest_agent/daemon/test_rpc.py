"""The gRPC interfaces of a running guest, by real clients over its sockets."""

from __future__ import annotations

import json
import stat

import grpc
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.encoding import b64_encode
from guest_agent import sealed, sealed_keys
from testkit.daemon import free_port
from tests.guest_agent.daemon.kbs import Kbs
from tests.guest_agent.daemon.running import Guest
from wire.proto import (
    attestation_agent_pb2 as aa,
)
from wire.proto import (
    attestation_agent_pb2_grpc,
    confidential_data_hub_pb2_grpc,
    keyprovider_pb2,
    keyprovider_pb2_grpc,
)
from wire.proto import (
    confidential_data_hub_pb2 as cdh,
)

KEY = sealed_keys.new_key()


@pytest.fixture
def agent(guest):
    with grpc.insecure_channel(f"unix:{guest.agent}") as channel:
        yield attestation_agent_pb2_grpc.AttestationAgentServiceStub(channel)


@pytest.fixture
def hub(guest):
    with grpc.insecure_channel(f"unix:{guest.hub}") as channel:
        yield channel


def refused(call, request):
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=20)
    return error.value.code(), error.value.details()


def test_modes_of_socket_and_folder(guest):
    for path in (guest.agent, guest.hub):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(guest.agent.parent.stat().st_mode) == 0o755


def test_tee(agent):
    assert agent.GetTeeType(aa.GetTeeTypeRequest()).tee == "sample"
    assert list(agent.GetAdditionalTees(aa.GetAdditionalTeesRequest()).additional_tees) == []


def test_evidence(agent):
    answer = agent.GetEvidence(aa.GetEvidenceRequest(RuntimeData=b"xxxx"))
    assert answer.Evidence == b'{"report_data":"eHh4eA==","svn":"1"}'
    assert agent.GetAdditionalEvidence(aa.GetAdditionalEvidenceRequest(RuntimeData=b"x")).Evidence == b""
    code, _ = refused(agent.GetEvidence, aa.GetEvidenceRequest(RuntimeData=bytes(65)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_tokens(agent, guest):
    token = agent.GetToken(aa.GetTokenRequest(TokenType="kbs")).Token
    assert list(json.loads(token)) == ["token", "tee_keypair"]
    assert token == guest.get("/aa/token?token_type=kbs").data
    assert agent.GetToken(aa.GetTokenRequest(TokenType="coco_as")).Token.count(b".") == 2
    code, details = refused(agent.GetToken, aa.GetTokenRequest(TokenType="nosuch"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "input.malformed" in details


def test_events_that_are_not_measured(agent):
    request = aa.ExtendRuntimeMeasurementRequest(Domain="example.com", Operation="load", Content="x")
    assert agent.ExtendRuntimeMeasurement(request).Result in {aa.NOT_ENABLED, aa.NOT_SUPPORTED}
    request.RegisterIndex = 9
    assert agent.ExtendRuntimeMeasurement(request).Result in {aa.NOT_ENABLED, aa.NOT_SUPPORTED}


def test_init_data_that_cannot_be_told(agent):
    code, _ = refused(agent.BindInitData, aa.BindInitDataRequest(Digest=bytes(32)))
    assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
    code, _ = refused(agent.BindInitData, aa.BindInitDataRequest(Digest=b"short"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_resources(hub):
    stub = confidential_data_hub_pb2_grpc.GetResourceServiceStub(hub)

    def ask(path):
        return cdh.GetResourceRequest(ResourcePath=path)

    assert stub.GetResource(ask("kbs:///default/test/dummy")).Resource == b"1234567890abcde\n"
    for path, expected in {
        "kbs:///default/test/nosuch": grpc.StatusCode.NOT_FOUND,
        "kbs:///default/test/denied": grpc.StatusCode.PERMISSION_DENIED,
        "kbs://evil.example/default/test/dummy": grpc.StatusCode.PERMISSION_DENIED,
        "kbs:///default/../dummy": grpc.StatusCode.INVALID_ARGUMENT,
        "http://127.0.0.1/default/test/dummy": grpc.StatusCode.INVALID_ARGUMENT,
        "": grpc.StatusCode.INVALID_ARGUMENT,
    }.items():
        assert refused(stub.GetResource, ask(path))[0] == expected, path


def test_unsealing(hub, guest, kbs):
    stub = confidential_data_hub_pb2_grpc.SealedSecretServiceStub(hub)
    kbs.resources["default/sealing/key"] = sealed_keys.jwk_bytes(KEY, private=False)
    (guest.keys / "local").write_bytes(sealed_keys.jwk_bytes(KEY, private=False))
    vault = sealed.vault("kbs:///default/test/dummy")
    envelope = sealed.envelope(
        b"inside", key_id="kbs:///default/key/kek", kek=kbs.resources["default/key/kek"]
    )
    for kid in ("kbs:///default/sealing/key", "local"):
        for content, secret in ((vault, b"1234567890abcde\n"), (envelope, b"inside")):
            text = sealed.seal(content, KEY, kid).encode()
            assert stub.UnsealSecret(cdh.UnsealSecretInput(secret=text)).plaintext == secret
    forged = sealed.seal(vault, sealed_keys.new_key(), "local").encode()
    code, details = refused(stub.UnsealSecret, cdh.UnsealSecretInput(secret=forged))
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "release.sealed_untrusted" in details
    for secret in (b"", b"sealed.x", b"\xff", b"x" * (2 << 20)):
        code, _ = refused(stub.UnsealSecret, cdh.UnsealSecretInput(secret=secret))
        assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_layer_keys(hub, kbs):
    stub = keyprovider_pb2_grpc.KeyProviderServiceStub(hub)
    kek = kbs.resources["default/key/kek"]

    def message(document):
        return keyprovider_pb2.keyProviderKeyWrapProtocolInput(
            KeyProviderKeyWrapProtocolInput=json.dumps(document).encode()
        )

    def unwrap(kid, wrapped):
        packet = {
            "kid": kid,
            "wrapped_data": b64_encode(wrapped),
            "iv": b64_encode(bytes(12)),
            "wrap_type": "A256GCM",
        }
        return message(
            {"op": "keyunwrap", "keyunwrapparams": {"annotation": b64_encode(json.dumps(packet).encode())}}
        )

    wrapped = AESGCM(kek).encrypt(bytes(12), b"options", None)
    answer = stub.UnWrapKey(unwrap("kbs:///default/key/kek", wrapped))
    assert json.loads(answer.KeyProviderKeyWrapProtocolOutput) == {
        "keyunwrapresults": {"optsdata": list(b"options")}
    }
    parameters = b64_encode(b"keyid=kbs:///default/key/kek")
    ask = message(
        {
            "op": "keywrap",
            "keywrapparams": {
                "ec": {"Parameters": {"attestation-agent": [parameters]}},
                "optsdata": b64_encode(b"more"),
            },
        }
    )
    output = json.loads(stub.WrapKey(ask).KeyProviderKeyWrapProtocolOutput)
    annotation = b64_encode(bytes(output["keywrapresults"]["annotation"]))
    back = stub.UnWrapKey(message({"op": "keyunwrap", "keyunwrapparams": {"annotation": annotation}}))
    assert (
        bytes(json.loads(back.KeyProviderKeyWrapProtocolOutput)["keyunwrapresults"]["optsdata"]) == b"more"
    )
    for kid, expected in {
        "kbs:///default/key/nosuch": grpc.StatusCode.NOT_FOUND,
        "kbs:///default/key/short": grpc.StatusCode.PERMISSION_DENIED,
        "kbs:///default/test/denied": grpc.StatusCode.PERMISSION_DENIED,
    }.items():
        assert refused(stub.UnWrapKey, unwrap(kid, wrapped))[0] == expected
    assert (
        refused(stub.UnWrapKey, unwrap("kbs:///default/key/kek", bytes(32)))[0]
        == grpc.StatusCode.PERMISSION_DENIED
    )
    assert refused(stub.WrapKey, message({}))[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_not_served_says_so(hub):
    mount = confidential_data_hub_pb2_grpc.SecureMountServiceStub(hub)
    pull = confidential_data_hub_pb2_grpc.ImagePullServiceStub(hub)
    assert refused(mount.SecureMount, cdh.SecureMountRequest())[0] == grpc.StatusCode.UNIMPLEMENTED
    assert refused(pull.PullImage, cdh.ImagePullRequest())[0] == grpc.StatusCode.UNIMPLEMENTED


def test_the_two_parts_are_on_their_own_sockets(agent, hub):
    other = attestation_agent_pb2_grpc.AttestationAgentServiceStub(hub)
    assert refused(other.GetTeeType, aa.GetTeeTypeRequest())[0] == grpc.StatusCode.UNIMPLEMENTED


def test_both_parts_on_one_loopback_port_and_the_kbs_refuses():
    where = f"127.0.0.1:{free_port()}"
    with (
        Kbs() as kbs,
        Guest(kbs.url, grpc={"attestation_agent": where, "confidential_data_hub": where}) as guest,
        grpc.insecure_channel(where) as channel,
    ):
        kbs.refuse_evidence = True
        stub = attestation_agent_pb2_grpc.AttestationAgentServiceStub(channel)
        assert stub.GetTeeType(aa.GetTeeTypeRequest()).tee == "sample"
        assert (
            refused(stub.GetToken, aa.GetTokenRequest(TokenType="kbs"))[0]
            == grpc.StatusCode.UNAUTHENTICATED
        )
        assert (
            refused(stub.GetToken, aa.GetTokenRequest(TokenType="coco_as"))[0]
            == grpc.StatusCode.FAILED_PRECONDITION
        )
        resources = confidential_data_hub_pb2_grpc.GetResourceServiceStub(channel)
        ask = cdh.GetResourceRequest(ResourcePath="kbs:///default/test/dummy")
        assert refused(resources.GetResource, ask)[0] == grpc.StatusCode.UNAUTHENTICATED
        assert guest.get("/info").status == 200
