"""Bodies and queries at the edge: bounded, strict, typed; only typed errors come out."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from common.errors import DuplicateKey, Malformed, TooLarge, TouchstoneError, UnknownField
from service import requests
from service.errors import MediaTypeUnsupported
from wire.rcar import AppraisalRequest

LIMIT = 64


class Document(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int = 0


def environ_of(body: bytes, content_type: str = "application/json", **environ: object) -> dict[str, object]:
    builder = EnvironBuilder(method="POST", input_stream=io.BytesIO(body), content_type=content_type)
    built = builder.get_environ() | {"CONTENT_LENGTH": str(len(body))} | environ
    return {key: value for key, value in built.items() if value is not None}


class Endless(io.RawIOBase):
    """A body without an end; remembers how much was asked for."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self.given += len(buffer)
        buffer[:] = b" " * len(buffer)
        return len(buffer)


def test_declared_length_over_the_limit_is_refused_unread() -> None:
    body = Endless()
    environ = environ_of(b"", **{"CONTENT_LENGTH": "10000000000", "wsgi.input": body})
    with pytest.raises(TooLarge):
        requests.read_body(environ, LIMIT)
    assert body.given == 0


def test_body_without_a_length_is_cut_off_at_the_limit() -> None:
    body = Endless()
    environ = environ_of(b"", **{"CONTENT_LENGTH": None, "wsgi.input": body, "wsgi.input_terminated": True})
    with pytest.raises(TooLarge):
        requests.read_body(environ, LIMIT)
    assert body.given <= 1 << 17


def test_body_that_ends_early_is_refused_however_the_server_frames_it() -> None:
    for framing in ({}, {"wsgi.input_terminated": True}):
        environ = environ_of(b'{"name":"x"}', **{"CONTENT_LENGTH": "40", **framing})
        with pytest.raises(Malformed):
            requests.read_body(environ, LIMIT)


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "٣", "1, 1"])
def test_length_that_is_not_a_number_is_refused(length: str) -> None:
    with pytest.raises(Malformed):
        requests.read_body(environ_of(b"{}", CONTENT_LENGTH=length), LIMIT)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_other_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(MediaTypeUnsupported):
        requests.read_body(environ_of(b"{}", content_type), LIMIT)


def test_body_of_the_limit_is_read() -> None:
    body = b'{"name":"x"}'.ljust(LIMIT)
    assert requests.read_body(environ_of(body, "application/json; charset=utf-8"), LIMIT) == body


def test_member_given_twice_is_refused_on_strict_documents() -> None:
    with pytest.raises(DuplicateKey):
        requests.decode_strict(Document, b'{"name":"a","name":"b"}', LIMIT)


@pytest.mark.parametrize("body", [b'{"name":"a","nam":"b"}', b'{"name":"a","size":1,"x":{}}'])
def test_unknown_member_is_refused_by_both_decoders(body: bytes) -> None:
    with pytest.raises(UnknownField):
        requests.decode_strict(Document, body, LIMIT)
    with pytest.raises(UnknownField):
        requests.decode_fast(msgspec.json.Decoder(Document), body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name":1}',
        b'{"size":1}',
        b'{"name":"a","size":"1"}',
        b'{"name":"\xff"}',
        b"NaN",
    ],
)
def test_malformed_body_is_refused_by_both_decoders(body: bytes) -> None:
    with pytest.raises(Malformed):
        requests.decode_strict(Document, body, LIMIT)
    with pytest.raises(Malformed):
        requests.decode_fast(msgspec.json.Decoder(Document), body)


def test_deep_nesting_is_refused_by_both_decoders() -> None:
    body = b'{"name":' + b"[" * 100_000
    with pytest.raises(TouchstoneError):
        requests.decode_strict(Document, body, len(body))
    with pytest.raises(Malformed):
        requests.decode_fast(msgspec.json.Decoder(Document), body)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ([("name", "a"), ("name", "b")], DuplicateKey),
        ([("name", "a"), ("other", "b")], UnknownField),
        ([("name", "a"), ("size", "x")], Malformed),
        ([], Malformed),
    ],
)
def test_query_is_strict(pairs: list[tuple[str, str]], error: type[TouchstoneError]) -> None:
    with pytest.raises(error):
        requests.decode_query(Document, pairs)


def test_query_converts_numbers() -> None:
    assert requests.decode_query(Document, [("name", "a"), ("size", "3")]) == Document("a", 3)


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_body_gives_a_document_or_a_typed_error(body: bytes) -> None:
    decoder = msgspec.json.Decoder(AppraisalRequest)
    for decode in (
        lambda: requests.decode_fast(decoder, body),
        lambda: requests.decode_strict(AppraisalRequest, body, 1 << 20),
    ):
        try:
            decode()
        except TouchstoneError:
            pass
