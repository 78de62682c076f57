"""Rules ``dm-verity`` and ``kernel-cmdline``: an image's root hash, and a command line that demands it.

``dm-verity``: launch shape -> artefacts bound to subjects -> tree computed -> ``dm_verity_root_hash``.

``kernel-cmdline``: the same, and then the attested command line must carry that root hash in the stated
parameter, exactly once and with nothing else in it. Its values, ``dm_verity_root_hash`` and
``kernel_cmdline_sha256``, are one group: a command line is worth something only with the image that it
demands.

A root hash is no register: what makes it binding is that the command line is measured (SNP kernel hashes,
RTMR2, PCR 8 or 9). Derive that measurement from the same command line, in the same group.

Sources: systemd, systemd-veritysetup-generator (``roothash=``, ``usrhash=``); ``dm_verity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from provenance.derivation.boot.cmdline import parameters
from provenance.derivation.derived import Output, check_roles, check_tee, convert, data_of, record
from provenance.derivation.disk import dm_verity
from provenance.derivation.disk.dm_verity import Verity  # noqa: TC001 (msgspec resolves it at run time)
from provenance.derivation.subjects import bind
from provenance.errors import ArtifactInvalid, LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.derivation.subjects import BoundInput
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

VERITY_NAME: Final = "dm-verity"
VERITY_VERSION: Final = 1
CMDLINE_NAME: Final = "kernel-cmdline"
CMDLINE_VERSION: Final = 1
ROOT_HASH: Final = "dm_verity_root_hash"
CMDLINE_DIGEST: Final = "kernel_cmdline_sha256"
IMAGE: Final = "image"
HASH_TREE: Final = "hash-tree"
CMDLINE: Final = "cmdline"


class Superblock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the superblock and tree are.

    Attributes:
        hash_offset: offset of the superblock in the image, where the data ends; 0 if superblock and tree
            are an artefact of their own.
    """

    hash_offset: int


class _VerityShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tee: str
    parameters: Verity | None = None
    superblock: Superblock | None = None


class _CmdlineShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tee: str
    parameter: str
    parameters: Verity | None = None
    superblock: Superblock | None = None


def apply_verity(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule ``dm-verity`` (``registry.Rule``): one ``dm_verity_root_hash``.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        ArtifactInvalid: parameters, superblock or tree do not hold.
        NotDerivable: an artefact is missing or superfluous; the image has another size.
    """
    shape = convert(request.launch, _VerityShape)
    check_tee(shape.tee)
    output = Output(admitted, request, f"{VERITY_NAME}/{VERITY_VERSION}")
    inputs = bind(admitted, request, artifacts)
    check_roles(inputs, {IMAGE, HASH_TREE}, "the root hash")
    root, verity = _root(inputs, shape.parameters, shape.superblock)
    recorded = record(inputs) | {"launch": dict(request.launch), "verity": msgspec.to_builtins(verity)}
    return (output.value(ROOT_HASH, root.hex(), shape.tee, recorded),)


def apply_cmdline(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule ``kernel-cmdline`` (``registry.Rule``): root hash and command line, of one group.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid, SubjectMismatch, ArtifactInvalid: as ``apply_verity``; the
            command line cannot be read.
        NotDerivable: as ``apply_verity``; the command line does not carry the image's root hash.
    """
    shape = convert(request.launch, _CmdlineShape)
    check_tee(shape.tee)
    if not shape.parameter or any(character in shape.parameter for character in ' ="'):
        raise LaunchShapeInvalid("launch shape: parameter is not the name of a kernel parameter")
    output = Output(admitted, request, f"{CMDLINE_NAME}/{CMDLINE_VERSION}")
    inputs = bind(admitted, request, artifacts)
    check_roles(inputs, {IMAGE, HASH_TREE, CMDLINE}, "the command line's root hash")
    text = data_of(inputs, CMDLINE)
    root, verity = _root(inputs, shape.parameters, shape.superblock)
    _check_demanded(text, shape.parameter, root)
    recorded: dict[str, Any] = record(inputs)
    recorded |= {"launch": dict(request.launch), "verity": msgspec.to_builtins(verity)}
    return (
        output.value(ROOT_HASH, root.hex(), shape.tee, recorded),
        output.value(CMDLINE_DIGEST, inputs[CMDLINE].sha256.hex(), shape.tee, recorded),
    )


def _root(
    inputs: Mapping[str, BoundInput], stated: Verity | None, superblock: Superblock | None
) -> tuple[bytes, Verity]:
    if (stated is None) == (superblock is None):
        raise LaunchShapeInvalid("launch shape: exactly one of parameters and superblock is needed")
    image = data_of(inputs, IMAGE)
    if stated is not None:
        if HASH_TREE in inputs:
            raise NotDerivable("a hash tree is given beside stated parameters: it would not be read")
        try:
            dm_verity.check(stated)
        except ArtifactInvalid as error:
            raise LaunchShapeInvalid(f"launch shape: {error.message}") from error
        return dm_verity.root_hash(image, stated), stated
    assert superblock is not None
    if HASH_TREE in inputs:
        if superblock.hash_offset:
            raise LaunchShapeInvalid("launch shape: hash_offset is 0 where the tree is its own artefact")
        return dm_verity.attached(image, data_of(inputs, HASH_TREE))
    if not 0 < superblock.hash_offset < len(image):
        raise LaunchShapeInvalid("launch shape: hash_offset is not within the image")
    return dm_verity.attached(image[: superblock.hash_offset], image[superblock.hash_offset :])


def _check_demanded(text: bytes, parameter: str, root: bytes) -> None:
    found = [value for name, value in parameters(text) if name == parameter]
    if len(found) != 1:
        raise NotDerivable(
            f"the command line has {len(found)} parameters {parameter[:64]!a}, one must demand the image"
        )
    if found[0] != root.hex():
        raise NotDerivable("the command line demands another root hash than that of the attested image")
