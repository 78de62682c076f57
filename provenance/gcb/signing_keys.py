"""Google Cloud Build's signing keys: the ones carried, and how each kind of them signs.

Cloud Build signs with keys of Cloud KMS, all ECDSA over P-256 with SHA-256, named by the full resource
name of the key version. What a key signs follows from its name alone, never from the envelope:

* ``builtByGCB`` (one per region, and ``global``): SLSA provenance v0.1, and the *payload itself*, not its
  pre-authentication encoding, so that the payload type is not covered by the signature;
* ``provenanceSigner`` (global): SLSA provenance v0.1, DSSE;
* ``google-hosted-worker`` (global): SLSA provenance v1, DSSE.

One PEM per key lies in ``pem/``; ``SOURCES.toml`` names the package that it was read from and the SHA-256
of its DER, which is compared at every load. Nothing is fetched here at run time. Not done: rotation by
Google's KMS endpoint; a key of a new region or version comes with a release, or inline in a trust policy.

Source: slsa-framework/slsa-verifier v2.7.1, verifiers/internal/gcb/keys (key names and encodings).
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import InvalidSetting
from provenance import keys
from provenance.errors import TrustPolicyInvalid
from provenance.predicates.gcb import PREDICATE_V01
from provenance.predicates.slsa import SLSA_V1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from provenance.trust.model import GoogleCloudBuildRoot

ALGORITHM: Final = "ecdsa-p256-sha256"  # Cloud KMS EC_SIGN_P256_SHA256
HOSTED_WORKER: Final = "google-hosted-worker"
PROVENANCE_SIGNER: Final = "provenanceSigner"
REGIONAL: Final = "builtByGCB"
GLOBAL: Final = "global"
_KEYID: Final = re.compile(
    r"projects/verified-builder/locations/(?P<location>[a-z0-9-]{1,63})/keyRings/attestor"
    r"/cryptoKeys/(?P<name>google-hosted-worker|provenanceSigner|builtByGCB)"
    r"/cryptoKeyVersions/[1-9][0-9]{0,8}\Z"
)
_SOURCES: Final = "SOURCES.toml"
_PEM: Final = "pem"


class SigningKey(msgspec.Struct, frozen=True):
    """A key of Cloud Build's attestors.

    Attributes:
        keyid: resource name of the KMS key version.
        location: ``global`` or a region.
        name: ``google-hosted-worker``, ``provenanceSigner`` or ``builtByGCB``.
        key: the public key.
    """

    keyid: str
    location: str
    name: str
    key: keys.VerificationKey

    @property
    def signs_payload(self) -> bool:
        """Whether it signs the payload itself rather than its pre-authentication encoding."""
        return self.name == REGIONAL

    @property
    def predicate_type(self) -> str:
        """The one predicate type that it signs."""
        return SLSA_V1 if self.name == HOSTED_WORKER else PREDICATE_V01


class KeySource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``SOURCES.toml``.

    Attributes:
        file: PEM file in ``pem/``.
        keyid: resource name of the KMS key version.
        path: file in the package's folder.
        sha256: SHA-256 of the SubjectPublicKeyInfo's DER, lower-case hex.
    """

    file: str
    keyid: str
    path: str
    sha256: str


class Sources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``SOURCES.toml``.

    Attributes:
        package: registry package that the keys were read from.
        version: of that package.
        registry: which registry.
        module_sum: the package's checksum as in ``go.sum``.
        licence: SPDX identifier of the package's licence.
        folder: folder inside the package.
        key: the keys.
    """

    package: str
    version: str
    registry: str
    module_sum: str
    licence: str
    folder: str
    key: tuple[KeySource, ...]


@cache
def sources() -> Sources:
    """Where the carried keys come from."""
    return msgspec.convert(tomllib.loads((_folder() / _SOURCES).read_text(encoding="utf-8")), Sources)


@cache
def carried() -> tuple[SigningKey, ...]:
    """Every key carried, its digest compared with the recorded one.

    Raises:
        InvalidSetting: a file is unreadable or not the key that was recorded.
    """
    return tuple(check((_folder() / _PEM / entry.file).read_bytes(), entry) for entry in sources().key)


def check(pem: bytes, entry: KeySource) -> SigningKey:
    """Read one key and compare the SHA-256 of its DER with ``entry``.

    Raises:
        InvalidSetting: not a P-256 key, or another than the recorded one.
    """
    try:
        found = signing_key(entry.keyid, pem.decode("utf-8", "replace"))
    except TrustPolicyInvalid as error:
        raise InvalidSetting(f"Cloud Build key {entry.file} cannot be read") from error
    if found.key.spki_sha256 != entry.sha256:
        raise InvalidSetting(
            f"Cloud Build key {entry.file} has digest {found.key.spki_sha256}, recorded is {entry.sha256}",
            advice="The installation was altered: install the package again.",
        )
    return found


def signing_key(keyid: str, pem: str) -> SigningKey:
    """A key by its KMS name.

    Args:
        keyid: resource name of the key version.
        pem: SubjectPublicKeyInfo, PEM; P-256.

    Raises:
        TrustPolicyInvalid: not a name of Cloud Build's attestors, a global key in a region, or another
            kind of key.
    """
    match = _KEYID.match(keyid)
    if match is None:
        raise TrustPolicyInvalid("a keyid is not the name of a key of Google Cloud Build's attestors")
    location, name = match["location"], match["name"]
    if name != REGIONAL and location != GLOBAL:
        raise TrustPolicyInvalid(f"{name} is a global key")
    return SigningKey(keyid=keyid, location=location, name=name, key=keys.from_pem(ALGORITHM, pem))


def keys_of(root: GoogleCloudBuildRoot) -> tuple[SigningKey, ...]:
    """The keys that count under a root of a trust policy.

    Raises:
        TrustPolicyInvalid: a key id, location or key that the root cannot name.
    """
    if root.keys:
        if root.keyids or root.locations:
            raise TrustPolicyInvalid(f"root {root.name!r}: keys stand instead of keyids and locations")
        found = tuple(signing_key(item.keyid, item.key) for item in root.keys)
        if len({item.keyid for item in found}) != len(found):
            raise TrustPolicyInvalid(f"root {root.name!r}: one keyid stands twice")
        return found
    known = carried()
    _require_known(root.name, root.keyids, {item.keyid for item in known})
    _require_known(root.name, root.locations, {item.location for item in known})
    return tuple(
        item
        for item in known
        if (not root.keyids or item.keyid in root.keyids)
        and (not root.locations or item.location in root.locations)
    )


def by_keyid(signing_keys: Sequence[tuple[str, SigningKey]]) -> Mapping[str, tuple[str, SigningKey]]:
    """Index (root name, key) pairs by keyid."""
    return {key.keyid: (root, key) for root, key in signing_keys}


def _require_known(root: str, named: Sequence[str], known: set[str]) -> None:
    if unknown := sorted(set(named) - known):
        raise TrustPolicyInvalid(f"root {root!r}: no key is carried for {unknown[0][:200]!a}")


def _folder() -> Traversable:
    return files("provenance.gcb")
