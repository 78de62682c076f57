"""Rule ``snp-id-block``: a launch digest and the owner's identity for the guest, as one group of values.

Order: launch shape -> launch digest (derived by rule ``snp-launch-digest`` in place, or an attested one)
-> ID block made -> an ID block and an ID authentication at hand held against it -> keys -> values.

* The launch shape states family id, image id, guest SVN and policy; nothing has a default.
* The ID key is proven by an ID authentication whose signature over this very block holds, or it is the
  public key that the statement attests. One of the two, never both.
* All values are one group: a report must fit all of them, or none of them counts.
* Without an author key there is no ``snp_author_key_digest``: zeros stand for no key, and would match any
  guest that has none.

Source: SEV-SNP firmware ABI (56860), section 8.18 (``provenance.derivation.snp.id_block``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.encoding import hex_decode
from common.errors import Malformed
from provenance.derivation.derived import Output, convert, data_of, record
from provenance.derivation.snp import id_block, snp_launch
from provenance.derivation.snp.id_block import IdBlock, IdKeys
from provenance.derivation.subjects import bind
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.derivation.subjects import BoundInput
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "snp-id-block"
VERSION: Final = 1
LAUNCH_DIGEST: Final = "launch-digest"
ID_BLOCK: Final = "id-block"
ID_AUTH: Final = "id-auth"
ID_KEY: Final = "id-key"
AUTHOR_KEY: Final = "author-key"
_ROLES: Final = frozenset({LAUNCH_DIGEST, ID_BLOCK, ID_AUTH, ID_KEY, AUTHOR_KEY})
_UINT32: Final = 1 << 32
# Guest policy (ABI, table GUEST_POLICY): bit 17 is one, bits 63:26 are reserved and zero.
_POLICY_MUST_BE_ONE: Final = 1 << 17
_POLICY_BITS: Final = 26
_MAX_PEM_BYTES: Final = 8 << 10


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    family_id: str
    image_id: str
    guest_svn: int
    policy: int
    snp: dict[str, Any] | None = None


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): measurement, ids, SVN, policy and key digests of one ID block.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed, or names several launches.
        SubjectMismatch: an artefact is not a subject of the statement.
        IdBlockInvalid: the ID authentication does not hold, or a structure is malformed.
        ArtifactInvalid: a key, a launch digest, or what the launch digest is derived from cannot be read.
        NotDerivable: no key or two sources of one; an artefact that contradicts or changes nothing.
    """
    shape = _shape(request.launch)
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    own = [artifact for artifact in artifacts if artifact.role in _ROLES]
    others = [artifact for artifact in artifacts if artifact.role not in _ROLES]
    inputs = bind(admitted, _part(request, own=True), own)
    digest, derived = _launch_digest(admitted, request, shape, inputs, others)
    block = IdBlock(
        launch_digest=digest,
        family_id=_id(shape.family_id, "family_id"),
        image_id=_id(shape.image_id, "image_id"),
        guest_svn=shape.guest_svn,
        policy=shape.policy,
    )
    _agrees(block, inputs.get(ID_BLOCK))
    keys = _keys(block, inputs)
    recorded = record(inputs)
    recorded |= {"launch": dict(request.launch), "idBlock": hashlib.sha256(block.encode()).hexdigest()}
    if derived is not None:
        recorded["measurement"] = derived
    return tuple(output.value(name, value, "snp", recorded) for name, value in _values(block, keys))


def _values(block: IdBlock, keys: IdKeys) -> list[tuple[str, str | int]]:
    values: list[tuple[str, str | int]] = [
        (snp_launch.REFERENCE_NAME, block.launch_digest.hex()),
        ("snp_family_id", block.family_id.hex()),
        ("snp_image_id", block.image_id.hex()),
        ("snp_guest_svn", block.guest_svn),
        ("snp_policy", block.policy),
        ("snp_id_key_digest", keys.id_key.hex()),
    ]
    if keys.author_key is not None:
        values.append(("snp_author_key_digest", keys.author_key.hex()))
    return values


def _shape(launch: Mapping[str, Any]) -> _Shape:
    shape = convert(launch, _Shape)
    if not 0 <= shape.guest_svn < _UINT32:
        raise LaunchShapeInvalid("launch shape: guest_svn is not within 32 bits")
    if shape.policy < 0 or shape.policy >> _POLICY_BITS or not shape.policy & _POLICY_MUST_BE_ONE:
        raise LaunchShapeInvalid("launch shape: policy must have bit 17 set, and no bit above 25")
    return shape


def _id(text: str, what: str) -> bytes:
    try:
        return hex_decode(text, what=f"launch shape: {what}", length=id_block.ID_BYTES)
    except Malformed as error:
        raise LaunchShapeInvalid(error.message) from error


def _part(request: DerivationRequest, *, own: bool) -> DerivationRequest:
    """The request with only the subject names that this rule binds itself, or only the others."""
    subjects = {role: name for role, name in request.subjects.items() if (role in _ROLES) == own}
    return msgspec.structs.replace(request, subjects=subjects)


def _launch_digest(
    admitted: AdmittedStatement,
    request: DerivationRequest,
    shape: _Shape,
    inputs: Mapping[str, BoundInput],
    others: Sequence[Artifact],
) -> tuple[bytes, dict[str, Any] | None]:
    attested = inputs.get(LAUNCH_DIGEST)
    rest = _part(request, own=False)
    if shape.snp is not None:
        if attested is not None:
            raise NotDerivable("the launch digest is given, and a launch to derive it from as well")
        values = snp_launch.apply(admitted, msgspec.structs.replace(rest, launch=shape.snp), others)
        if len(values) != 1:
            raise LaunchShapeInvalid("launch shape: an ID block is for one launch: state one vCPU count")
        return bytes.fromhex(values[0].value), values[0].inputs
    if others or rest.subjects:
        raise NotDerivable("artefacts of a launch are given, and no launch shape to measure them by")
    if attested is None or attested.data is None:
        raise NotDerivable(
            "an ID block needs the launch digest: its artefact, or a launch to derive it from"
        )
    return _digest_text(attested.data), None


def _digest_text(data: bytes) -> bytes:
    try:
        text = data.decode("ascii")
        return hex_decode(
            text.removesuffix("\n"), what="launch digest", length=id_block.LAUNCH_DIGEST_BYTES
        )
    except (UnicodeDecodeError, Malformed) as error:
        raise ArtifactInvalid("the launch digest is not 96 lower-case hex characters") from error


def _agrees(block: IdBlock, given: BoundInput | None) -> None:
    if given is None:
        return
    if given.data is None:
        raise NotDerivable("the bytes of the ID block are needed, its digest changes nothing")
    if id_block.parse_id_block(given.data) != block:
        raise NotDerivable("the ID block at hand is not the one that the launch and its shape make")


def _keys(block: IdBlock, inputs: Mapping[str, BoundInput]) -> IdKeys:
    auth, key, author = (inputs.get(role) for role in (ID_AUTH, ID_KEY, AUTHOR_KEY))
    if (auth is None) == (key is None) or (auth is not None and author is not None):
        raise NotDerivable(
            "either an ID authentication is needed, or an ID key (and an author key, if any)"
        )
    if auth is not None:
        return id_block.verify(block, data_of(inputs, ID_AUTH))
    author_digest = _key_digest(data_of(inputs, AUTHOR_KEY)) if author is not None else None
    return IdKeys(_key_digest(data_of(inputs, ID_KEY)), author_digest)


def _key_digest(pem: bytes) -> bytes:
    try:
        if len(pem) > _MAX_PEM_BYTES:
            raise ArtifactInvalid("a public key of more than 8 KiB")
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ArtifactInvalid("an ID key or author key is not a PEM public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ArtifactInvalid("an ID key or author key is not an elliptic-curve key")
    return id_block.key_digest(key)
