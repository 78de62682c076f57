"""What the reference's rvps-tool and its server exchanged, against our gRPC server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.service.coco.transcripts import transcripts
from tests.service.grpc.conftest import Client, Running, connect, refusal, running, serve
from wire.proto import reference_pb2

__all__ = ["connect", "running", "serve"]
QUERY = "/reference.ReferenceValueProviderService/QueryReferenceValue"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DIRECTION = re.compile(rb"\n?===== \S+ conn \d+ (REQUEST|RESPONSE) [^\n]*=====\n")


@pytest.fixture
def folder() -> Path:
    return transcripts()


@pytest.fixture
def client(running: Running, connect: Callable[..., Client]) -> Client:
    return connect(running.reference_address)


def register(client: Client, admin: Any, text: str) -> None:
    request = reference_pb2.ReferenceValueRegisterRequest(message=text)
    client.reference.RegisterReferenceValue(request, metadata=admin)


def test_rvps_tool(folder: Path, running: Running, client: Client) -> None:
    text = (folder / "40_rvps_tool.txt").read_text("utf-8")
    message = text.splitlines()[1]
    register(client, running.admin, message)
    (expected,) = re.findall(r"Get reference values succeeded:\n (.+)", text)
    asked = reference_pb2.ReferenceValueQueryRequest(reference_value_id="snp_launch_measurement")
    assert client.reference.QueryReferenceValue(asked).reference_value_results == expected
    assert "No reference values found for the given id" in text
    asked = reference_pb2.ReferenceValueQueryRequest(reference_value_id="nosuch")
    assert not client.reference.QueryReferenceValue(asked).HasField("reference_value_results")
    bad = message.replace("0.1.0", "0.2.0")
    error = refusal(lambda: register(client, running.admin, bad))
    (expected,) = re.findall(r"'The operation was aborted', message: \"([^\"]+)\"", text)
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, expected)


def test_bytes_of_a_query(
    folder: Path,
    running: Running,
    client: Client,
    connect: Callable[..., Client],
) -> None:
    sent = recorded(folder)
    register(client, running.admin, (folder / "40_rvps_tool.txt").read_text("utf-8").splitlines()[1])
    channel = connect(running.reference_address).channel
    call = channel.unary_unary(QUERY, request_serializer=bytes, response_deserializer=bytes)
    assert call(sent["REQUEST"]) == sent["RESPONSE"]


def recorded(folder: Path) -> dict[str, bytes]:
    """The one message of each direction."""
    text = (folder / "41_rvps_grpc_raw_hexdump.txt").read_text("utf-8")
    rows = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]+ )+)", text, re.MULTILINE)
    dump = bytes.fromhex("".join(rows).replace(" ", ""))
    _, *parts = _DIRECTION.split(dump)
    found: dict[str, bytes] = {}
    for direction, data in zip(parts[::2], parts[1::2], strict=True):
        for body in data_frames(data.removeprefix(_PREFACE)):
            assert body[:1] == b"\0"
            found[direction.decode()] = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    return found


def data_frames(data: bytes) -> Iterator[bytes]:
    """Bodies of the DATA frames (RFC 9113 section 4.1); what is cut at the end is left."""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if data[3] == 0 and size >= 5:
            yield data[9 : 9 + size]
        data = data[9 + size :]
