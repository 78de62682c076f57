"""A registry that lies, leads away, floods or asks for secrets: nothing of it is used, nothing leaks."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.encoding import b64_encode
from common.errors import NotFound, TouchstoneError
from provenance.oci import authorization, credentials, manifest, reference
from provenance.oci.attachments import MAX_ATTACHMENTS, attachments_of
from provenance.oci.cosign import DSSE_LAYER, tag_of
from provenance.oci.credentials import Credential, Credentials
from provenance.oci.errors import (
    RegistryAccessDenied,
    RegistryContentInvalid,
    RegistryCredentialsInvalid,
    RegistryForbidden,
    RegistryUnavailable,
)
from provenance.oci.manifest import Descriptor
from provenance.oci.transport import Transport, TransportOptions
from provenance.sigstore.bundle_format import V03
from tests.provenance.oci.hostile import (
    Hostile,
    Reply,
    Sleeps,
    client,
    descriptor,
    digest_of,
    image_manifest,
    index_of,
)
from tests.service.running import Authority

USER, PASSWORD, TOKEN = "reader", "pass-word-123", "token-abc"
BASE = "/v2/acme/cvm"


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


def image(server: Hostile, wanted: str = ":v1") -> reference.Reference:
    return reference.parse(f"{server.host}/acme/cvm{wanted}")


def account(server: Hostile) -> Credentials:
    return Credentials({server.host: Credential(USER, PASSWORD)})


def described(data: bytes, **changes: Any) -> Descriptor:
    return Descriptor(
        **({"media_type": "application/x", "digest": digest_of(data), "size": len(data)} | changes)
    )


def test_a_manifest_of_another_digest_is_refused(hostile: Hostile) -> None:
    wanted = digest_of(image_manifest())
    hostile.routes[f"{BASE}/manifests/{wanted}"] = Reply(image_manifest(annotations={"a": "b"}))
    with pytest.raises(RegistryContentInvalid, match="digest"):
        client(hostile.host).manifest(image(hostile, f"@{wanted}"))


def test_a_manifest_by_tag_is_refused_where_the_header_states_another_digest(hostile: Hostile) -> None:
    lie = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(image_manifest(), headers=lie)
    with pytest.raises(RegistryContentInvalid, match="states"):
        client(hostile.host).manifest(image(hostile))


def test_a_manifest_of_another_media_type_than_the_header_is_refused(hostile: Hostile) -> None:
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(
        image_manifest(), headers={"Content-Type": manifest.IMAGE_INDEX}
    )
    with pytest.raises(RegistryContentInvalid, match="media type"):
        client(hostile.host).manifest(image(hostile))


@pytest.mark.parametrize("given_bytes", [b"other", b"blo", b"blob and more", b""])
def test_a_blob_of_another_digest_or_size_is_refused(hostile: Hostile, given_bytes: bytes) -> None:
    hostile.routes[f"{BASE}/blobs/{digest_of(b'blob!')}"] = Reply(given_bytes)
    with pytest.raises(RegistryContentInvalid):
        client(hostile.host).blob(image(hostile), described(b"blob!"))


def test_a_blob_that_is_stated_too_large_is_never_asked_for(hostile: Hostile) -> None:
    with pytest.raises(RegistryContentInvalid, match="limit"):
        client(hostile.host).blob(image(hostile), described(b"blob", size=1 << 40))
    assert hostile.seen == []


def test_a_manifest_over_the_limit_is_not_read(hostile: Hostile) -> None:
    size = manifest.MAX_MANIFEST_BYTES + 1
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(b"", headers={"Content-Length": str(size)})
    with pytest.raises(RegistryContentInvalid, match="limit"):
        client(hostile.host).manifest(image(hostile))


def test_an_answer_without_an_end_stops_at_the_limit(hostile: Hostile) -> None:
    flood = Reply(b"x" * (manifest.MAX_MANIFEST_BYTES + 65536), headers={"Content-Length": ""})
    hostile.routes[f"{BASE}/manifests/v1"] = flood
    with pytest.raises((RegistryContentInvalid, RegistryUnavailable)):
        client(hostile.host).manifest(image(hostile))


def test_a_compressed_answer_is_refused(hostile: Hostile) -> None:
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(image_manifest(), headers={"Content-Encoding": "gzip"})
    with pytest.raises(RegistryContentInvalid, match="encoded"):
        client(hostile.host).manifest(image(hostile))


def bearer(hostile: Hostile, realm: str) -> None:
    """Wants a token of ``realm`` for the blob, then redirects."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="test",scope="repository:other:push"'}

    def answer(_: str, headers: dict[str, str]) -> Reply:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(status=401, headers=challenge)
        return Reply(image_manifest())

    hostile.routes[f"{BASE}/manifests/v1"] = answer


def test_a_token_is_asked_for_pulling_this_repository_whatever_the_challenge_says(hostile: Hostile) -> None:
    bearer(hostile, f"{hostile.url}/token")
    hostile.routes["/token"] = Reply(json.dumps({"token": TOKEN}).encode())
    found = client(hostile.host, credentials=account(hostile)).manifest(image(hostile))
    assert found.digest == digest_of(image_manifest())
    (asked,) = [path for path, _ in hostile.seen if path.startswith("/token")]
    assert "scope=repository%3Aacme%2Fcvm%3Apull" in asked
    assert "push" not in asked


def test_a_token_service_on_another_host_gets_no_credentials(hostile: Hostile, elsewhere: Hostile) -> None:
    bearer(hostile, f"{elsewhere.url}/token")
    with pytest.raises(RegistryForbidden, match="not one that may be contacted"):
        client(hostile.host, credentials=account(hostile)).manifest(image(hostile))
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "realm", ["http://registry.test/token", "ftp://x/token", "", "http://u:p@127.0.0.1/t"]
)
def test_a_token_service_in_the_clear_or_without_an_address_is_refused(
    hostile: Hostile, realm: str
) -> None:
    bearer(hostile, realm)
    with pytest.raises(RegistryForbidden):
        client(hostile.host, "registry.test", "127.0.0.1").manifest(image(hostile))


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "", 7, None, "x" * 20000, "spaced out"])
def test_a_token_that_fits_no_header_is_refused(hostile: Hostile, token: object) -> None:
    bearer(hostile, f"{hostile.url}/token")
    hostile.routes["/token"] = Reply(json.dumps({"token": token}).encode())
    with pytest.raises(RegistryUnavailable):
        client(hostile.host).manifest(image(hostile))


def test_an_identity_token_is_posted_never_in_an_address(hostile: Hostile) -> None:
    bearer(hostile, f"{hostile.url}/token")
    hostile.routes["/token"] = Reply(json.dumps({"access_token": TOKEN}).encode())
    known = Credentials({hostile.host: Credential("", "", "identity-secret")})
    assert client(hostile.host, credentials=known).manifest(image(hostile)).digest
    assert all("identity-secret" not in path for path, _ in hostile.seen)


def test_basic_authentication_goes_to_the_registry_alone(hostile: Hostile) -> None:
    wanted = f"Basic {b64_encode(f'{USER}:{PASSWORD}'.encode())}"

    def answer(_: str, headers: dict[str, str]) -> Reply:
        if headers.get("authorization") == wanted:
            return Reply(image_manifest())
        return Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    hostile.routes[f"{BASE}/manifests/v1"] = answer
    with pytest.raises(RegistryAccessDenied):
        client(hostile.host).manifest(image(hostile))
    assert client(hostile.host, credentials=account(hostile)).manifest(image(hostile)).digest


def test_a_refused_password_is_in_no_error(hostile: Hostile) -> None:
    echo = json.dumps({"errors": [{"code": "DENIED", "message": PASSWORD}]}).encode()
    refusal = Reply(echo, status=401, headers={"WWW-Authenticate": f'Basic realm="{PASSWORD}"'})
    hostile.routes[f"{BASE}/manifests/v1"] = refusal
    with pytest.raises(RegistryAccessDenied) as refused:
        client(hostile.host, credentials=account(hostile)).manifest(image(hostile))
    told = f"{refused.value} {refused.value.advice} {refused.value.details} {refused.value.__cause__}"
    assert PASSWORD not in told
    assert b64_encode(f"{USER}:{PASSWORD}".encode()) not in told
    assert refused.value.details["registry_code"] == "DENIED"


def test_credentials_show_nothing_of_themselves() -> None:
    config = {"auths": {"registry.test": {"auth": b64_encode(f"{USER}:{PASSWORD}".encode())}}}
    known = credentials.parse(json.dumps(config).encode())
    credential = known.of("registry.test")
    assert credential is not None
    assert credential.password == PASSWORD
    assert PASSWORD not in f"{known!r} {credential!r}"


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b'{"auths": []}',
        b'{"auths": {"registry.test": 1}}',
        b'{"auths": {"registry.test": {"auth": "secret-not-base64!"}}}',
        b'{"auths": {"registry.test": {"auth": "c2VjcmV0"}}}',
        b'{"auths": {"not a host": {"auth": "YTpi"}}}',
        b'{"credHelpers": []}',
    ],
)
def test_a_docker_configuration_of_another_shape_is_refused_and_not_quoted(config: bytes) -> None:
    with pytest.raises(RegistryCredentialsInvalid) as refused:
        credentials.parse(config)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_credential_helper_is_never_run_and_never_becomes_anonymous() -> None:
    config = {
        "auths": {"https://index.docker.io/v1/": {}},
        "credsStore": "desktop",
        "credHelpers": {"gcr.io": "gcloud"},
    }
    known = credentials.parse(json.dumps(config).encode())
    for registry in ("docker.io", "gcr.io"):
        with pytest.raises(RegistryCredentialsInvalid, match="helper"):
            known.of(registry)
    assert known.of("quay.io") is None


def test_a_redirect_to_another_host_carries_no_authorization(hostile: Hostile, elsewhere: Hostile) -> None:
    bearer(hostile, f"{hostile.url}/token")
    hostile.routes["/token"] = Reply(json.dumps({"token": TOKEN}).encode())
    away = Reply(status=307, headers={"Location": f"{elsewhere.url}/store?signature=secret"})
    hostile.routes[f"{BASE}/blobs/{digest_of(b'blob')}"] = away
    elsewhere.routes["/store"] = Reply(b"blob")
    asking = client(hostile.host, elsewhere.host, credentials=account(hostile))
    asking.manifest(image(hostile))
    assert asking.blob(image(hostile), described(b"blob")) == b"blob"
    assert "authorization" in hostile.seen[-1][1]
    assert ["authorization" in headers for _, headers in elsewhere.seen] == [False]


def test_a_redirect_to_a_host_that_is_not_listed_is_refused_without_its_query(
    hostile: Hostile, elsewhere: Hostile
) -> None:
    away = Reply(status=302, headers={"Location": f"{elsewhere.url}/store?signature=secret"})
    hostile.routes[f"{BASE}/blobs/{digest_of(b'blob')}"] = away
    with pytest.raises(RegistryForbidden) as refused:
        client(hostile.host).blob(image(hostile), described(b"blob"))
    assert elsewhere.seen == []
    assert "secret" not in f"{refused.value} {refused.value.details}"


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.test/x",
        "file:///etc/passwd",
        "http://user:pw@127.0.0.1/x",
        "//[::1",
        "http://\x01/",
    ],
)
def test_a_redirect_into_the_clear_or_to_no_address_is_refused(hostile: Hostile, location: str) -> None:
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(status=302, headers={"Location": location})
    with pytest.raises((RegistryForbidden, RegistryUnavailable)):
        client(hostile.host, "registry.test", "127.0.0.1").manifest(image(hostile))
    assert len(hostile.seen) == 1


def test_redirects_are_bounded(hostile: Hostile) -> None:
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(
        status=302, headers={"Location": f"{hostile.url}{BASE}/manifests/v1"}
    )
    with pytest.raises(RegistryUnavailable, match="redirects"):
        client(hostile.host).manifest(image(hostile))
    assert len(hostile.seen) == 4


def test_a_challenge_of_the_redirects_target_is_not_answered(hostile: Hostile, elsewhere: Hostile) -> None:
    away = Reply(status=307, headers={"Location": f"{elsewhere.url}/store"})
    hostile.routes[f"{BASE}/manifests/v1"] = away
    elsewhere.routes["/store"] = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(RegistryAccessDenied):
        client(hostile.host, elsewhere.host, credentials=account(hostile)).manifest(image(hostile))
    assert all("authorization" not in headers for _, headers in hostile.seen + elsewhere.seen)


def test_plain_http_needs_the_switch_and_loopback(hostile: Hostile) -> None:
    off = TransportOptions(allowed_hosts=(hostile.host, "registry.test"), timeout_s=1)
    on = TransportOptions(allowed_hosts=(hostile.host, "registry.test"), plain_http=True, timeout_s=1)
    with pytest.raises(RegistryForbidden, match="plain http"):
        Transport(off).get(hostile.url, max_bytes=1)
    with pytest.raises(RegistryForbidden, match="plain http"):
        Transport(on).get("http://registry.test/", max_bytes=1)
    assert Transport(on).base_url("registry.test") == "https://registry.test"
    assert Transport(off).base_url(hostile.host) == f"https://{hostile.host}"
    assert hostile.seen == []


def test_tls_is_not_left_where_it_was_not_asked_to(hostile: Hostile) -> None:
    with pytest.raises(RegistryUnavailable):
        client(hostile.host, plain_http=False).manifest(image(hostile))
    assert hostile.seen == []


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Hostile]:
    Authority().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")
    with Hostile(context) as server:
        yield server


def test_the_registrys_certificate_is_verified(encrypted: Hostile, tmp_path: Path) -> None:
    encrypted.serve_image(image_manifest())
    with pytest.raises(RegistryUnavailable):
        client(encrypted.host, plain_http=False).manifest(image(encrypted))
    known = client(encrypted.host, plain_http=False, ca_file=tmp_path / "tls.pem")
    assert known.manifest(image(encrypted)).digest == digest_of(image_manifest())


def test_a_redirect_never_leaves_tls_even_where_plain_http_is_on(
    encrypted: Hostile, elsewhere: Hostile, tmp_path: Path
) -> None:
    encrypted.routes["/x"] = Reply(status=307, headers={"Location": f"{elsewhere.url}/x"})
    elsewhere.routes["/x"] = Reply(b"clear")
    hosts = (encrypted.host, elsewhere.host)
    options = TransportOptions(allowed_hosts=hosts, plain_http=True, ca_file=tmp_path / "tls.pem")
    with pytest.raises(RegistryForbidden, match="leaves https"):
        Transport(options).get(f"{encrypted.url}/x", max_bytes=10)
    assert elsewhere.seen == []


def test_a_referrers_list_without_an_end_is_refused(hostile: Hostile) -> None:
    digest = hostile.serve_image(image_manifest())
    number = count()

    def page(_: str, __: dict[str, str]) -> Reply:
        link = f'<{BASE}/referrers/{digest}?last={next(number)}>; rel="next"'
        return Reply(index_of(), headers={"Link": link})

    hostile.routes[f"{BASE}/referrers/{digest}"] = page
    with pytest.raises(RegistryContentInvalid, match="pages"):
        attachments_of(client(hostile.host), image(hostile))
    assert next(number) == 16


@pytest.mark.parametrize(
    "target", ["/v2/other/referrers/x", "http://127.0.0.1:1/v2/acme/cvm/referrers/x", "//["]
)
def test_a_next_page_that_leads_away_is_refused(hostile: Hostile, target: str) -> None:
    digest = hostile.serve_image(image_manifest())
    hostile.routes[f"{BASE}/referrers/{digest}"] = Reply(
        index_of(), headers={"Link": f'<{target}>; rel="next"'}
    )
    with pytest.raises((RegistryForbidden, RegistryContentInvalid)):
        attachments_of(client(hostile.host), image(hostile))


def test_an_index_bomb_is_refused_before_anything_of_it_is_fetched(hostile: Hostile) -> None:
    digest = hostile.serve_image(image_manifest())
    entries = [descriptor(bytes([n % 256, n // 256]), artifactType=V03) for n in range(MAX_ATTACHMENTS + 1)]
    hostile.routes[f"{BASE}/referrers/{digest}"] = Reply(index_of(*entries))
    with pytest.raises(RegistryContentInvalid, match="the limit is"):
        attachments_of(client(hostile.host), image(hostile))
    assert len(hostile.seen) == 2


def test_an_index_that_points_to_itself_is_no_attachment(hostile: Hostile) -> None:
    digest = hostile.serve_image(image_manifest())
    nested = index_of(descriptor(b"more", manifest.IMAGE_INDEX))
    hostile.routes[f"{BASE}/manifests/{digest_of(nested)}"] = Reply(nested)
    hostile.routes[f"{BASE}/referrers/{digest}"] = Reply(index_of(descriptor(nested, manifest.IMAGE_INDEX)))
    found = attachments_of(client(hostile.host), image(hostile))
    assert (found.found, [fault.code for fault in found.faults]) == ((), ["statement.registry_content"])


def test_a_tag_that_moves_between_calls_does_not_move_the_search(hostile: Hostile) -> None:
    first, second = image_manifest(), image_manifest(annotations={"n": "2"})
    answers = iter([first, second, second, second])
    hostile.routes[f"{BASE}/manifests/v1"] = lambda _, __: Reply(next(answers))
    asking = client(hostile.host)
    assert attachments_of(asking, image(hostile)).image == digest_of(first)
    asked = [path for path, _ in hostile.seen]
    assert asked.count(f"{BASE}/manifests/v1") == 1
    assert f"{BASE}/referrers/{digest_of(first)}" in asked
    assert not [path for path in asked if digest_of(second).removeprefix("sha256:") in path]


def test_a_listed_manifest_without_this_subject_is_a_fault_and_does_not_hide_the_rest(
    hostile: Hostile,
) -> None:
    digest = hostile.serve_image(image_manifest())
    stray = image_manifest(artifactType=V03)
    other = image_manifest(artifactType=V03, subject=descriptor(b"another image"))
    good = image_manifest(
        artifactType=V03,
        subject={"mediaType": "x", "digest": digest, "size": 1},
        layers=[descriptor(b"{}", V03)],
    )
    listed = [descriptor(item, manifest.IMAGE_MANIFEST, artifactType=V03) for item in (stray, other, good)]
    for item in (stray, other, good):
        hostile.routes[f"{BASE}/manifests/{digest_of(item)}"] = Reply(item)
    hostile.routes[f"{BASE}/blobs/{digest_of(b'{}')}"] = Reply(b'{"dsseEnvelope":{}}')
    hostile.routes[f"{BASE}/referrers/{digest}"] = Reply(index_of(*listed))
    found = attachments_of(client(hostile.host), image(hostile))
    # The third is reached: its layer is not of its digest.
    codes = [fault.code for fault in found.faults]
    assert codes == ["statement.attachment", "statement.attachment", "statement.registry_content"]


def test_a_registry_that_fails_half_way_is_an_error_not_a_shorter_list(hostile: Hostile) -> None:
    digest = hostile.serve_image(image_manifest())
    hostile.routes[f"{BASE}/referrers/{digest}"] = Reply(index_of())
    hostile.routes[f"{BASE}/manifests/{tag_of(digest, '.att')}"] = Reply(status=500)
    with pytest.raises(RegistryUnavailable) as failed:
        attachments_of(client(hostile.host), image(hostile))
    assert failed.value.details["status"] == 500


def test_attachments_are_bounded_in_bytes_together(hostile: Hostile) -> None:
    digest = hostile.serve_image(image_manifest())
    layers = [descriptor(bytes([n]), DSSE_LAYER, size=8 << 20) for n in range(9)]
    hostile.routes[f"{BASE}/manifests/{tag_of(digest, '.att')}"] = Reply(image_manifest(layers=layers))
    found = attachments_of(client(hostile.host), image(hostile))
    assert found.found == ()
    assert [fault.code for fault in found.faults] == ["input.not_found"] * 8 + [
        "statement.registry_content"
    ]
    assert len([path for path, _ in hostile.seen if "/blobs/" in path]) == 8


def test_a_busy_registry_is_asked_again_with_growing_pauses_and_not_for_ever(hostile: Hostile) -> None:
    hostile.routes[f"{BASE}/manifests/v1"] = Reply(status=503)
    sleeps = Sleeps()
    with pytest.raises(RegistryUnavailable):
        client(hostile.host, sleep=sleeps).manifest(image(hostile))
    assert sleeps.made == [1.0, 2.0]


@pytest.mark.parametrize(("asked", "made"), [("7", 7.0), ("99999", 20.0), ("soon", 1.0), ("0", 1.0)])
def test_a_registry_may_ask_for_a_pause_within_bounds(hostile: Hostile, asked: str, made: float) -> None:
    answers = iter([Reply(status=429, headers={"Retry-After": asked}), Reply(image_manifest())])
    hostile.routes[f"{BASE}/manifests/v1"] = lambda _, __: next(answers)
    sleeps = Sleeps()
    assert client(hostile.host, sleep=sleeps).manifest(image(hostile)).digest
    assert sleeps.made == [made]


def test_an_image_that_is_not_there_is_said_to_be_so(hostile: Hostile) -> None:
    with pytest.raises(NotFound, match="acme/cvm"):
        client(hostile.host).manifest(image(hostile))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.from_regex(r'(Bearer|Basic) ([a-z]{1,8}="?[ -~]{0,10}"?,? ?){0,4}'))
def test_any_challenge_is_read_or_refused_with_our_error(text: str) -> None:
    try:
        scheme, _ = authorization.parse_challenge(text)
    except TouchstoneError:
        return
    assert scheme.isalpha()


@settings(deadline=None, max_examples=150)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["auths", "auth", "credHelpers", "x.test"]), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
)
def test_any_docker_configuration_is_read_or_refused_with_our_error(value: object) -> None:
    try:
        credentials.parse(json.dumps(value).encode())
    except TouchstoneError:
        pass
