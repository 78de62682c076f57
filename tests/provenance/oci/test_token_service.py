"""The token flow against Docker's registry, which verifies what a token service signed for us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from common.encoding import b64_encode, b64url_encode
from common.errors import NotFound
from provenance.oci import reference
from provenance.oci.credentials import Credential, Credentials
from provenance.oci.errors import RegistryAccessDenied
from testkit.daemon import find_binary
from testkit.registry import Distribution
from tests.components import require
from tests.provenance.oci.hostile import Hostile, Reply, client

_USER = f"Basic {b64_encode(b'reader:secret')}"


class TokenService:
    """Signs tokens for one repository, for one user."""

    def __init__(self, folder: Path, server: Hostile) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(7)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_file = folder / "token.pem"
        self.certificate_file.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self.url = f"{server.url}/token"
        self.host = server.host
        server.routes["/token"] = self._answer

    def _answer(self, path: str, headers: dict[str, str]) -> Reply:
        asked = parse_qs(urlsplit(path).query)
        assert asked["service"] == ["test"]
        if headers.get("authorization") != _USER:
            return Reply(status=401)
        kind, name, actions = asked["scope"][0].split(":")
        granted = [{"type": kind, "name": name, "actions": actions.split(",")}]
        if name != "acme/cvm":
            granted = []
        return Reply(json.dumps({"token": self._signed(granted)}).encode())

    def _signed(self, access: list[dict[str, object]]) -> str:
        now = int(datetime.now(UTC).timestamp())
        der = self._certificate.public_bytes(Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [b64_encode(der)]}
        claims = {
            "iss": "test", "sub": "reader", "aud": "test", "exp": now + 60, "nbf": now - 5, "iat": now,
            "jti": "1", "access": access,
        }  # fmt: skip
        signed = ".".join(b64url_encode(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64url_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    with Hostile() as server:
        yield TokenService(tmp_path_factory.mktemp("tokens"), server)


@pytest.fixture(scope="module")
def guarded(service: TokenService) -> Iterator[Distribution]:
    require(find_binary("distribution"), "no distribution registry: run `make registries`")
    with Distribution(tokens=(service.url, service.certificate_file)) as server:
        yield server


def test_a_token_for_the_repository_is_asked_for_and_accepted(
    guarded: Distribution, service: TokenService
) -> None:
    known = Credentials({guarded.host: Credential("reader", "secret")})
    asking = client(guarded.host, service.host, credentials=known)
    # Let in, and told that there is no such image.
    with pytest.raises(NotFound):
        asking.manifest(reference.parse(f"{guarded.host}/acme/cvm:v1"))
    with pytest.raises(RegistryAccessDenied):
        asking.manifest(reference.parse(f"{guarded.host}/acme/other:v1"))


def test_without_the_password_there_is_no_token(guarded: Distribution, service: TokenService) -> None:
    with pytest.raises(RegistryAccessDenied):
        client(guarded.host, service.host).manifest(reference.parse(f"{guarded.host}/acme/cvm:v1"))
