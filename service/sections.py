"""The sections of the settings: every key with its default, bounds and meaning.

Unknown keys are refused, and no error quotes what was given. How they are read is ``service.settings``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from common.section import Section
from service.sections_keys import TokenKeyFields
from service.sections_tls import TlsFields

_MIB = 1 << 20


class ServerSettings(Section, TlsFields):
    """The HTTP server."""

    listen: str = Field(
        default="127.0.0.1:8080", description="Address and port, `host:port` or `[ipv6]:port`."
    )
    engine: Literal["gunicorn", "granian"] = Field(
        default="gunicorn",
        description=(
            "The HTTP server. granian (`touchstone[granian]`) answers more requests a second; gunicorn"
            " replaces a worker that hangs (docs/adr/0010-second-server.md)."
        ),
    )
    workers: int = Field(default=2, ge=1, le=256, description="Worker processes; one per core is right.")
    threads: int = Field(
        default=4,
        ge=1,
        le=64,
        description=(
            "Threads per worker of gunicorn. 1 selects its sync worker, which closes each connection after"
            " its answer and is for use behind a buffering proxy only; more select gthread with"
            " keep-alive. A worker of granian has two."
        ),
    )
    behind_tls_proxy: bool = Field(
        default=False,
        description="A proxy in front ends TLS: allows plain HTTP beyond loopback in production.",
    )
    audience: str = Field(
        default="touchstone",
        min_length=1,
        max_length=255,
        description="Our identity as relying party: hashed into every binding, `aud` of every token.",
    )
    public_url: str | None = Field(default=None, description="URL under which clients reach the server.")
    timeout_s: int = Field(default=30, ge=1, le=600, description="A worker silent for so long is replaced.")
    graceful_timeout_s: int = Field(
        default=20, ge=1, le=600, description="Time to finish requests when stopping."
    )
    keep_alive_s: int = Field(
        default=15, ge=0, le=600, description="How long an idle connection stays open."
    )
    metrics: Literal["loopback", "open", "token"] = Field(
        default="loopback",
        description="Who may read /metrics: loopback peers, anyone, or holders of scope `metrics:read`.",
    )


class StorageSettings(Section):
    """Where state is kept."""

    data_dir: Path = Field(
        default=Path("touchstone-data"), description="Folder of the database and key files."
    )
    url: str | None = Field(
        default=None,
        description=(
            "Database URL, `sqlite:///path` or `postgresql+psycopg://host/name` (credentials by"
            " PGPASSFILE); SQLite in `data_dir` otherwise."
        ),
    )


class TokenSettings(Section, TokenKeyFields):
    """Attestation results."""

    issuer: str = Field(
        default="touchstone", min_length=1, max_length=255, description="`iss` of every token."
    )
    lifetime_s: int = Field(
        default=300,
        ge=10,
        le=86_400,
        description="Lifetime of a token, unless something it rests on expires earlier.",
    )


class OpaSettings(Section):
    """The OPA server, for `engine = "opa"`."""

    url: str = Field(default="http://127.0.0.1:8181", description="Base URL.")
    token_file: Path | None = Field(default=None, description="File with the bearer token, mode 0600.")
    ca_file: Path | None = Field(
        default=None, description="PEM bundle that replaces the system's authorities."
    )
    timeout_s: float = Field(default=2.0, gt=0, le=30, description="Time limit of one call; then: denial.")


class PolicyKeySection(Section):
    """A key that signs trust policies."""

    file: Path = Field(description="Public key, PEM.")
    algorithm: Literal[
        "ecdsa-p256-sha256",
        "ecdsa-p384-sha384",
        "ecdsa-p521-sha512",
        "ed25519",
        "rsa-pss-sha256",
        "rsa-pkcs1v15-sha256",
    ] = Field(description="The one algorithm of its signatures.")


class PolicySettings(Section):
    """The policy engine."""

    engine: Literal["regorus", "opa"] = Field(
        default="regorus", description="In-process, or an OPA server."
    )
    appraisal: str = Field(
        default="default", description="Appraisal policy used when a request names none."
    )
    selectable: tuple[str, ...] = Field(
        default=(),
        description=(
            "Further appraisal policies that a request may name. A caller chooses among them freely:"
            " a secret must not hang on a stricter one than the laxest here."
        ),
    )
    trust_policy_keys: tuple[PolicyKeySection, ...] = Field(
        default=(),
        description=(
            "Keys that sign trust policies. With any, only signed ones are taken, and an active one that"
            " they did not sign admits nothing."
        ),
    )
    trust_policy_threshold: int = Field(
        default=1, ge=1, le=16, description="How many of `trust_policy_keys` must have signed."
    )
    environment: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Which of a trust policy's `environments` decides here (`prod`).",
    )
    opa: OpaSettings = Field(default_factory=OpaSettings)


class FetchSettings(Section):
    """Fetching of endorsements and revocation lists."""

    enabled: bool = Field(
        default=False, description="Fetch what the collateral folder lacks; offline otherwise."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(
            "kdsintf.amd.com",
            "api.trustedservices.intel.com",
            "certificates.trustedservices.intel.com",
            "cert.hygon.cn",
        ),
        description="Hosts that may be asked. Redirects are never followed.",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=60, description="Time limit of one fetch.")
    max_bytes: int = Field(default=_MIB, ge=1024, le=64 * _MIB, description="Size limit of one fetch.")


class SigstoreSettings(Section):
    """Refreshing the public-good root by `touchstone trust refresh`; the server itself fetches nothing."""

    tuf_url: str = Field(
        default="https://tuf-repo-cdn.sigstore.dev", description="TUF repository that it is refreshed from."
    )
    tuf_root: Path | None = Field(
        default=None,
        description=(
            "TUF root metadata to begin from, for a repository of your own; the pinned one otherwise."
        ),
    )
    ca_file: Path | None = Field(
        default=None, description="PEM bundle that replaces the system's authorities, for a mirror."
    )
    allow_private: bool = Field(
        default=False, description="Also ask a repository at a private or loopback address."
    )


class LimitSettings(Section):
    """Bounds on what a caller may ask for; checked before a body is read."""

    body_bytes: int = Field(default=_MIB, ge=1024, le=64 * _MIB, description="Body of most requests.")
    attestation_bytes: int = Field(
        default=96 * _MIB, ge=1024, le=1024 * _MIB, description="Body of a submission, artefacts included."
    )
    resource_bytes: int = Field(default=_MIB, ge=1, le=16 * _MIB, description="One stored secret.")
    outstanding_challenges: int = Field(default=100_000, ge=1, description="Unspent challenges at a time.")
    challenge_lifetime_s: int = Field(
        default=300, ge=10, le=300, description="Life of an unspent challenge."
    )
    releases_per_identity: int | None = Field(
        default=None, ge=1, description="How often one hardware identity may get one secret in a window."
    )
    release_window_s: int = Field(
        default=3600, ge=1, le=31_536_000, description="The window of `releases_per_identity`."
    )


class LogSettings(Section):
    """Structured logs, one JSON object a line, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level written."
    )
    requests: bool = Field(
        default=False, description="One line per request (method, route, status, duration, request id)."
    )


class RegistrySettings(Section):
    """OCI registries, for `[[sources]]` (docs/registries.md)."""

    docker_config: Path | None = Field(
        default=None,
        description=(
            "Docker `config.json` with credentials, mode 0600; anonymous otherwise. Helpers are never run."
        ),
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description=(
            "Hosts (`host` or `host:port`) that may be contacted besides the registries of `[[sources]]`:"
            " their token services, and stores that they redirect to."
        ),
    )
    ca_file: Path | None = Field(
        default=None, description="PEM bundle that replaces the system's authorities."
    )
    plain_http_loopback: bool = Field(
        default=False, description="Speak plain HTTP to registries on loopback; never to others."
    )
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Time limit of one request.")


class SourceSection(Section):
    """A registry or folder that attestations are pulled from on a schedule (docs/registries.md)."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="In logs, metrics, audit and `/v1/sources`.",
    )
    kind: Literal["registry", "directory"] = Field(description="What it is.")
    reference: str | None = Field(
        default=None,
        description="Image, of a registry: `registry/repository:tag`, or `@sha256:...` to pin it.",
    )
    path: Path | None = Field(default=None, description="Folder, of a directory.")
    pattern: str = Field(
        default="*.json", min_length=1, max_length=255, description="Glob of the files below `path`."
    )
    interval_s: int = Field(default=3600, ge=10, le=604_800, description="From one pull to the next.")
    trust_policy: str = Field(default="default", description="The active trust policy that admits.")
    derivation: Path | None = Field(
        default=None,
        description="JSON file with the derivation request, or requests, for each attestation.",
    )
    signatures: bool = Field(default=False, description="Take image signatures as well as attestations.")


class PeerSection(Section):
    """An instance whose changes are taken."""

    instance: str = Field(min_length=1, max_length=255, description="Its token issuer.")
    key: Path = Field(description="Its feed key, PEM (`touchstone feed key` there).")
    trust_policy: str = Field(
        default="default", description="Our trust policy that admits what it sends; must name its key."
    )
    verify_envelopes: bool = Field(
        default=True,
        description="Our policy must admit each envelope that values rest on, and not the statement alone.",
    )


class SubscriptionSection(Section):
    """An instance that our changes are sent to."""

    url: str = Field(description="Its base URL; https, or http on loopback.")
    token_file: Path = Field(description="File with an admin token of that instance (role `publisher`).")
    ca_file: Path | None = Field(default=None, description="PEM authorities for its certificate.")


class FeedSettings(Section):
    """Publish and subscribe (docs/publish-subscribe.md)."""

    peers: tuple[PeerSection, ...] = Field(default=(), description="Instances whose changes are taken.")
    subscriptions: tuple[SubscriptionSection, ...] = Field(
        default=(), description="Instances that our changes are sent to as they happen."
    )
    interval_s: float = Field(
        default=2.0, gt=0, le=3600, description="How often the change log is looked at for sending."
    )
