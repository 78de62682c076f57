"""Settings of the KBS API's administrators and plugins: ``[coco.admin]`` and ``[[coco.plugins]]``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (pydantic resolves it at run time)
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from common.addresses import is_loopback
from common.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_ENDPOINT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_Method = Literal["GET", "POST", "PUT", "DELETE"]


class AdminProviderSection(Section):
    """An identity provider whose tokens administrators of the KBS API bring."""

    name: str = Field(pattern=_NAME, description="In records, beside the token's subject.")
    issuer: str | None = Field(default=None, description="The exact `iss`; not looked at where absent.")
    audience: str | None = Field(
        default=None, description="One that `aud` must have; not looked at where absent."
    )
    public_key: Path | None = Field(
        default=None,
        description="File with one public key, PEM or JWK; read at every call, so a key can be taken out.",
    )
    jwk_set: str | None = Field(
        default=None,
        description="File with a JWK Set, or an https URL on a host of `[fetch] allowed_hosts`.",
    )
    rsa_algorithm: Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] = Field(
        default="RS256", description="The one algorithm of RSA keys whose JWK names none."
    )


class AdminAclSection(Section):
    """What a role of the providers' tokens may do; any matching rule allows."""

    role: str = Field(min_length=1, max_length=255, description="The exact `role` claim.")
    methods: tuple[_Method, ...] = Field(
        default=("GET", "POST", "PUT", "DELETE"), min_length=1, description="The methods that it allows."
    )
    allowed_endpoints: str = Field(
        max_length=512,
        description="Pattern over the whole path, `^/kbs/...$`, without the query (docs/kbs-admin.md).",
    )


class CocoAdminSection(Section):
    """Who may administer over the KBS API (docs/kbs-admin.md)."""

    authorization_mode: Literal["AuthenticatedAuthorization", "DenyAll", "InsecureAllowAll"] = Field(
        default="AuthenticatedAuthorization",
        description="`InsecureAllowAll` asks nobody for anything: development profile only.",
    )
    native_tokens: bool = Field(
        default=True, description="Take our own tokens (`ts_...`) too, by their scopes."
    )
    revoked_token_ids: tuple[str, ...] = Field(
        default=(), max_length=10_000, description="`jti` of providers' tokens that are refused."
    )
    providers: tuple[AdminProviderSection, ...] = Field(
        default=(), max_length=16, description="Identity providers."
    )
    acls: tuple[AdminAclSection, ...] = Field(default=(), max_length=64, description="Rules.")


class PluginBackendSection(Section):
    """A gRPC server of the plugin `external`."""

    name: str = Field(pattern=_ENDPOINT_NAME, description="The segment after `/kbs/v0/external/`.")
    endpoint: str = Field(
        max_length=512,
        description="`https://host:port`, or `http://host:port` on loopback (beyond: development profile).",
    )
    tls_mode: Literal["auto", "tls", "insecure"] = Field(
        default="auto", description="Must agree with the endpoint's scheme, which decides."
    )
    ca_certificate: Path | None = Field(
        default=None, description="PEM authorities for the server's certificate; https demands it."
    )
    client_certificate: Path | None = Field(
        default=None, description="PEM chain that we present; with `client_key`."
    )
    client_key: Path | None = Field(default=None, description="PEM private key, mode 0600.")
    timeout_ms: int = Field(default=5000, ge=1, le=60_000, description="Limit of one call.")


class CocoPluginSection(Section):
    """A plugin of the KBS API beside `resource`, which is always there (docs/kbs-admin.md)."""

    name: Literal["pkcs11", "external"] = Field(description="Which.")
    module: Path | None = Field(default=None, description="pkcs11: the PKCS#11 library.")
    pin_file: Path | None = Field(default=None, description="pkcs11: file with the user PIN, mode 0600.")
    token_label: str | None = Field(
        default=None, max_length=32, description="pkcs11: which token; by `slot_index` where absent."
    )
    slot_index: int = Field(default=0, ge=0, le=1023, description="pkcs11: among the slots with a token.")
    lookup_label: str = Field(
        default="", max_length=255, description="pkcs11: label of the RSA pair of `wrap-key`."
    )
    oaep_hash: Literal["SHA-256", "SHA-1"] = Field(
        default="SHA-256",
        description="pkcs11: hash of RSA-OAEP and its MGF1; SoftHSM 2.6 offers SHA-1 alone.",
    )
    backends: tuple[PluginBackendSection, ...] = Field(
        default=(), max_length=64, description="external: the servers."
    )


def insecure_switches(admin: CocoAdminSection, plugins: Iterable[CocoPluginSection]) -> Iterator[str]:
    """What the production profile refuses, one phrase each (``service.profile``)."""
    if admin.authorization_mode == "InsecureAllowAll":
        yield '[coco.admin] authorization_mode = "InsecureAllowAll" lets anyone write secrets and policies'
    for plugin in plugins:
        for backend in plugin.backends:
            parts = urlsplit(backend.endpoint)
            if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
                yield f"[[coco.plugins]] {backend.name} is plain HTTP beyond loopback: secrets leak"
