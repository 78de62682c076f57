"""Real OCI registries for tests: started on a free loopback port, empty, gone with their ``with`` block.

* ``OciRegistry``: go-containerregistry's, in memory, with or without the referrers API.
* ``Distribution``: distribution (Docker's registry): no referrers API; with a user, Basic authentication.

The binaries are looked for in ``.tools/bin`` below the project (where ``make registries`` puts them), then
on ``PATH``. ``Pusher`` puts images and what is attached to them there, as cosign and OCI clients do.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import urllib3

from common.encoding import b64_encode
from common.errors import UnavailableError
from testkit.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ALIVE: Final = (200, 401)
USER: Final = "reader"
PASSWORD: Final = "pull-it-all"  # noqa: S105 (of a registry that lives for one test)
_HTPASSWD: Final = "reader:$2b$05$abcdefghijklmnopqrstuudQ1IpWLTlvb2UGWbh9I6KfVfRvdFJFq\n"
_CONFIG: Final = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{inmemory: {{}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_AUTH: Final = "auth: {{htpasswd: {{realm: test, path: {path}}}}}\n"
_TOKENS: Final = (
    "auth: {{token: {{realm: '{realm}', service: test, issuer: test, rootcertbundle: {certificate}}}}}\n"
)

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
EMPTY: Final = "application/vnd.oci.empty.v1+json"


class RegistryNotReady(UnavailableError):
    """The test registry did not come up."""

    code = "unavailable.test_registry"
    advice = "Run the binary in .tools/bin by hand."


class _Server(Daemon):
    """A registry process."""

    install = "Run `make registries`."
    not_ready = RegistryNotReady

    @property
    def host(self) -> str:
        """``127.0.0.1:<port>``: the registry in image references."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}"

    def _answers(self) -> bool:
        try:
            status = urllib3.request("GET", f"{self.url}/v2/", retries=False, timeout=1.0).status
        except urllib3.exceptions.HTTPError:
            return False
        return status in _ALIVE


class OciRegistry(_Server):
    """go-containerregistry's registry.

    Args:
        referrers: serve the referrers API.
    """

    program = "oci-registry"

    def __init__(self, *, referrers: bool = True) -> None:
        """Choose the port; nothing runs yet."""
        super().__init__()
        self._referrers = referrers

    def _arguments(self, folder: Path) -> list[str]:
        del folder
        return ["-address", self.host, f"-referrers={str(self._referrers).lower()}"]


class Distribution(_Server):
    """Docker's registry.

    Args:
        protected: demand ``USER`` and ``PASSWORD``.
        tokens: address of a token service, and the PEM certificate that its tokens (issuer and service
            ``test``) are signed with.
    """

    program = "distribution"

    def __init__(self, *, protected: bool = False, tokens: tuple[str, Path] | None = None) -> None:
        """Choose the port; nothing runs yet."""
        super().__init__()
        self._tokens = tokens
        self._protected = protected

    def _arguments(self, folder: Path) -> list[str]:
        text = _CONFIG.format(port=self.port)
        if self._protected:
            accounts = folder / "htpasswd"
            accounts.write_text(_HTPASSWD, encoding="ascii")
            text += _AUTH.format(path=accounts)
        if self._tokens is not None:
            realm, certificate = self._tokens
            text += _TOKENS.format(realm=realm, certificate=certificate)
        config = folder / "config.yml"
        config.write_text(text, encoding="utf-8")
        return ["serve", str(config)]


class Pusher:
    """Writes to one repository.

    Args:
        url: base URL of the registry.
        repository: path.
        user: name and password, for Basic authentication.
    """

    def __init__(self, url: str, repository: str, user: tuple[str, str] | None = None) -> None:
        """Connect to nothing yet."""
        self.host = url.partition("://")[2]
        self.repository = repository
        self._base = f"{url}/v2/{repository}"
        self._headers = {}
        if user is not None:
            self._headers["Authorization"] = f"Basic {b64_encode(':'.join(user).encode())}"
        self._pool = urllib3.PoolManager(retries=False, timeout=10.0)

    def blob(self, data: bytes, media_type: str, **annotations: str) -> dict[str, Any]:
        """Push a blob; its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        begun = self._send("POST", "/blobs/uploads/", b"", "application/octet-stream", 202)
        location = begun.headers["Location"]
        target = location if location.startswith("http") else f"{self._base.partition('/v2/')[0]}{location}"
        joint = "&" if "?" in target else "?"
        self._send("PUT", f"{target}{joint}digest={digest}", data, "application/octet-stream", 201)
        descriptor: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(data)}
        return descriptor | ({"annotations": annotations} if annotations else {})

    def manifest(self, document: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
        """Push a manifest or index under a tag, or its digest; its descriptor."""
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        kind = str(document["mediaType"])
        self._send("PUT", f"/manifests/{name or digest}", data, kind, 201)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def image(self, tag: str, content: bytes = b"a layer") -> dict[str, Any]:
        """Push an image with one layer; its descriptor."""
        config = self.blob(json.dumps({"rootfs": content.hex()}).encode(), CONFIG)
        layer = self.blob(content, "application/vnd.oci.image.layer.v1.tar")
        return self.manifest(_manifest(config, [layer]), tag)

    def cosign(self, image: Mapping[str, Any], suffix: str, layers: Sequence[Mapping[str, Any]]) -> None:
        """Push layers under cosign's tag (``.att``, ``.sig``) of an image."""
        config = self.blob(b"{}", CONFIG)
        self.manifest(_manifest(config, layers), f"{image['digest'].replace(':', '-')}{suffix}")

    def referrer(
        self, image: Mapping[str, Any], artifact_type: str, layers: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Push a manifest whose subject is ``image``; its descriptor, as an index lists it."""
        config = self.blob(b"{}", EMPTY)
        document = _manifest(config, layers) | {"artifactType": artifact_type, "subject": dict(image)}
        return self.manifest(document) | {"artifactType": artifact_type}

    def referrers_tag(self, image: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> None:
        """Push the list of referrers under the referrers tag."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(listed)}
        self.manifest(index, str(image["digest"]).replace(":", "-"))

    def _send(
        self, method: str, path: str, body: bytes, kind: str, wanted: int
    ) -> urllib3.BaseHTTPResponse:
        url = path if path.startswith("http") else self._base + path
        headers = self._headers | {"Content-Type": kind}
        answer = self._pool.request(method, url, body=body, headers=headers, redirect=False)
        if answer.status != wanted:
            raise RegistryNotReady(f"{method} {path.partition('?')[0]}: status {answer.status}")
        return answer


def _manifest(config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": dict(config),
        "layers": [dict(x) for x in layers],
    }
