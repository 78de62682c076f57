"""A thin client of the OCI distribution API: manifests, blobs and referrers, read only.

Everything is checked against the digest and size that asked for it; a manifest by tag gets its digest from
its bytes, never from a header, which must only not contradict it. Nothing that a manifest names as a URL
is fetched. Order of one call: what is known of authorization -> request -> 401: token flow, once more ->
status -> digest -> size.

Not done: pushing, deleting, listing repositories, digests other than SHA-256.

Source: OCI distribution-spec v1.1, "Pulling manifests", "Pulling blobs", "Listing Referrers".
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

import msgspec

from common import strict_json
from common.errors import InputError, NotFound
from provenance.oci import cosign, credentials, manifest
from provenance.oci.authorization import authorization
from provenance.oci.errors import (
    RegistryAccessDenied,
    RegistryContentInvalid,
    RegistryForbidden,
    RegistryUnavailable,
)
from provenance.oci.reference import is_digest
from provenance.oci.transport import origin_of

if TYPE_CHECKING:
    from provenance.oci.credentials import Credentials
    from provenance.oci.manifest import Descriptor
    from provenance.oci.reference import Reference
    from provenance.oci.transport import Response, Transport

MAX_PAGES: Final = 16
MAX_BLOB_BYTES: Final = 16 << 20
_ACCEPT: Final = ", ".join((*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES))
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
# Registries without the referrers API answer 404; some answer 405.
_NO_SUCH_API: Final = (404, 405)
_ERROR_CODE = re.compile(r"[A-Z_]{1,64}\Z")
_NEXT_LINK = re.compile(r'<([^<>]{1,4096})>\s*;\s*rel="?next"?')


class Content(msgspec.Struct, frozen=True):
    """A manifest or index as it came.

    Attributes:
        data: the bytes.
        digest: ``sha256:<hex>`` of them.
        media_type: as the document states it, otherwise the registry.
    """

    data: bytes
    digest: str
    media_type: str


class RegistryClient:
    """Reads from registries. Thread-safe.

    Args:
        transport: sends the requests.
        known: credentials by registry.
    """

    def __init__(self, transport: Transport, known: Credentials = credentials.ANONYMOUS) -> None:
        """Connect to nothing yet."""
        self._transport = transport
        self._credentials = known
        self._authorized: dict[tuple[str, str], str] = {}

    def manifest(self, reference: Reference, wanted: str | None = None) -> Content:
        """A manifest or index.

        Args:
            reference: registry and repository, and what is wanted.
            wanted: another tag or digest of that repository.

        Raises:
            NotFound: there is none.
            RegistryContentInvalid: it is not what its digest or media type says.
            RegistryUnavailable, RegistryAccessDenied, RegistryForbidden: it could not be fetched.
        """
        name = wanted or reference.wanted
        response = self._get(reference, f"manifests/{name}", manifest.MAX_MANIFEST_BYTES, _ACCEPT)
        self._require_ok(response, f"{reference.name}, manifest {name}")
        digest = f"sha256:{hashlib.sha256(response.body).hexdigest()}"
        stated = response.headers.get("docker-content-digest", digest)
        if is_digest(name) and digest != name:
            raise RegistryContentInvalid(f"the manifest's digest is {digest}, asked for was {name}")
        if is_digest(stated) and stated != digest:
            raise RegistryContentInvalid("the manifest's digest is not the one that the registry states")
        return Content(response.body, digest, _media_type(response))

    def find_manifest(self, reference: Reference, wanted: str) -> Content | None:
        """``manifest``, or None where there is none."""
        try:
            return self.manifest(reference, wanted)
        except NotFound:
            return None

    def blob(
        self, reference: Reference, descriptor: Descriptor, *, max_bytes: int = MAX_BLOB_BYTES
    ) -> bytes:
        """The content of a descriptor.

        Raises:
            RegistryContentInvalid: too large, or not of the descriptor's size and digest.
            NotFound, RegistryUnavailable, RegistryAccessDenied, RegistryForbidden: as ``manifest``.
        """
        if descriptor.size > max_bytes:
            raise RegistryContentInvalid(f"a blob of {descriptor.size} bytes, the limit is {max_bytes}")
        response = self._get(reference, f"blobs/{descriptor.digest}", descriptor.size, None)
        self._require_ok(response, f"{reference.name}, blob {descriptor.digest}")
        if len(response.body) != descriptor.size:
            raise RegistryContentInvalid(
                f"the blob has {len(response.body)} bytes, stated were {descriptor.size}"
            )
        if f"sha256:{hashlib.sha256(response.body).hexdigest()}" != descriptor.digest:
            raise RegistryContentInvalid(f"the blob's digest is not {descriptor.digest}")
        return response.body

    def referrers(self, reference: Reference, digest: str) -> tuple[Descriptor, ...]:
        """What the registry lists as attached to a manifest, by the API or the referrers tag.

        The list is the registry's word: each entry's own subject is checked when it is fetched.

        Raises:
            RegistryContentInvalid: not a list, or one without an end.
            RegistryUnavailable, RegistryAccessDenied, RegistryForbidden: it could not be fetched.
        """
        found: dict[str, Descriptor] = {}
        path: str | None = f"referrers/{digest}"
        for _ in range(MAX_PAGES):
            assert path is not None
            response = self._get(reference, path, manifest.MAX_MANIFEST_BYTES, manifest.IMAGE_INDEX)
            if response.status in _NO_SUCH_API:
                return self._tagged_referrers(reference, digest)
            self._require_ok(response, f"{reference.name}, referrers of {digest}")
            found |= {item.digest: item for item in manifest.parse_index(response.body).manifests}
            if len(found) > manifest.MAX_INDEX_ENTRIES:
                raise RegistryContentInvalid(f"more than {manifest.MAX_INDEX_ENTRIES} referrers are listed")
            path = _next_page(response, self._url(reference, ""), digest)
            if path is None:
                return tuple(found.values())
        raise RegistryContentInvalid(f"the list of referrers has more than {MAX_PAGES} pages")

    def _tagged_referrers(self, reference: Reference, digest: str) -> tuple[Descriptor, ...]:
        index = self.find_manifest(reference, cosign.tag_of(digest))
        return () if index is None else manifest.parse_index(index.data).manifests

    def _url(self, reference: Reference, path: str) -> str:
        return f"{self._transport.base_url(reference.api_host)}/v2/{reference.repository}/{path}"

    def _get(self, reference: Reference, path: str, max_bytes: int, accept: str | None) -> Response:
        """GET below the repository; a challenge is answered once, if the registry itself made it."""
        url = self._url(reference, path)
        key = (reference.registry, reference.repository)
        headers = {} if accept is None else {"Accept": accept}
        response = self._transport.get(
            url, max_bytes=max_bytes, headers=headers, authorization=self._authorized.get(key)
        )
        challenge = response.headers.get("www-authenticate")
        if (
            response.status != _UNAUTHORIZED
            or challenge is None
            or origin_of(response.url) != origin_of(url)
        ):
            return response
        known = self._credentials.of(reference.registry)
        self._authorized[key] = authorization(self._transport, challenge, reference.repository, known)
        return self._transport.get(
            url, max_bytes=max_bytes, headers=headers, authorization=self._authorized[key]
        )

    def _require_ok(self, response: Response, what: str) -> None:
        if response.status == _OK:
            return
        if response.status == _NOT_FOUND:
            raise NotFound(f"the registry does not have {what}")
        details = {"status": response.status, "registry_code": _error_code(response.body)}
        if response.status in (_UNAUTHORIZED, _FORBIDDEN):
            raise RegistryAccessDenied(f"the registry refuses {what}", details=details)
        raise RegistryUnavailable(f"status {response.status} for {what}", details=details)


def _next_page(response: Response, base: str, digest: str) -> str | None:
    """Path of the next page below the repository (distribution-spec, "Listing Referrers"; RFC 8288)."""
    link = _NEXT_LINK.search(response.headers.get("link", ""))
    if link is None:
        return None
    try:
        target, start = urlsplit(urljoin(response.url, link[1])), urlsplit(base)
    except ValueError:
        raise RegistryContentInvalid("the link to the next page is not a URL") from None
    # Another list than the one that was asked for, or another host, is not a next page.
    if (target.scheme, target.netloc, target.path) != (
        start.scheme, start.netloc, f"{start.path}referrers/{digest}",
    ):  # fmt: skip
        raise RegistryForbidden("the link to the next page leads away from the list")
    return f"referrers/{digest}?{target.query}"


def _media_type(response: Response) -> str:
    header = response.headers.get("content-type", "").partition(";")[0].strip()
    stated = manifest.stated_type(response.body)
    known = (*manifest.MANIFEST_TYPES, *manifest.INDEX_TYPES)
    if stated is not None and header in known and header != stated:
        raise RegistryContentInvalid("the manifest is of another media type than the registry states")
    return stated or header


def _error_code(body: bytes) -> str | None:
    """The registry's error code (distribution-spec, "Error Codes"); nothing else of its answer."""
    try:
        document = strict_json.loads(body[:65536], what="the answer")
        code = document["errors"][0]["code"]
    except (InputError, KeyError, IndexError, TypeError):
        return None
    return code if isinstance(code, str) and _ERROR_CODE.match(code) else None
