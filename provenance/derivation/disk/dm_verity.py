"""dm-verity: the root hash of a data image, computed from the data alone.

The hash tree: every data block is hashed with the salt; digests fill hash blocks, each digest in a slot
of a power of two; hash blocks are hashed in turn until one is left, whose hash is the root hash. One data
block alone has its own hash as root.

* Parameters are stated, or read from a verity superblock in front of the tree. Then the stored tree must be
  that of the data: an image whose tree differs would not boot, and says something is mixed up.
* Hash type 1 (salt before the block) and 0 (salt after it, digests without slots). Both are in use, and
  give different roots for the same data: the type is never guessed.
* The data must be whole blocks, and all of it is covered.

Not done: forward error correction (does not enter the root hash), signatures of root hashes.

Sources: Linux, Documentation/admin-guide/device-mapper/verity.rst; drivers/md/dm-verity-target.c;
cryptsetup wiki, "DM-Verity: on-disk format" (superblock).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Callable

ALGORITHMS: Final = ("sha256", "sha384", "sha512")
MAX_DATA_BYTES: Final = 1 << 34
MAX_SALT_BYTES: Final = 256
_MIN_BLOCK: Final = 512
_MAX_BLOCK: Final = 1 << 16
_PLAIN: Final = 0
_NORMAL: Final = 1
# signature, version, hash type, UUID, algorithm, data and hash block size, data blocks, salt size, salt
_SUPERBLOCK: Final = struct.Struct("<8sII16s32sIIQH6x256s168x")
_SIGNATURE: Final = b"verity\0\0"
_VERSION: Final = 1


class Verity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a dm-verity device; ``check`` holds their bounds.

    Attributes:
        hash_type: 1 (normal) or 0 (as Chrome OS began it).
        algorithm: one of ``ALGORITHMS``.
        data_block_size: bytes, a power of two from 512 to 65536.
        hash_block_size: likewise.
        salt: lower-case hex, up to 256 bytes; may be empty.
        data_blocks: number of data blocks.
    """

    hash_type: int
    algorithm: str
    data_block_size: int
    hash_block_size: int
    salt: str
    data_blocks: int


def check(verity: Verity) -> bytes:
    """The salt, if all parameters are within their bounds.

    Raises:
        ArtifactInvalid: they are not.
    """
    if verity.hash_type not in (_PLAIN, _NORMAL):
        raise ArtifactInvalid("dm-verity hash type is neither 0 nor 1")
    if verity.algorithm not in ALGORITHMS:
        raise ArtifactInvalid(f"dm-verity algorithm is not one of {', '.join(ALGORITHMS)}")
    for size in (verity.data_block_size, verity.hash_block_size):
        if not _MIN_BLOCK <= size <= _MAX_BLOCK or size & (size - 1):
            raise ArtifactInvalid("a dm-verity block size is not a power of two from 512 to 65536")
    if not 1 <= verity.data_blocks <= MAX_DATA_BYTES // verity.data_block_size:
        raise ArtifactInvalid("the number of dm-verity data blocks is zero or too large")
    try:
        salt = bytes.fromhex(verity.salt)
    except ValueError as error:
        raise ArtifactInvalid("the dm-verity salt is not hex") from error
    if salt.hex() != verity.salt or len(salt) > MAX_SALT_BYTES:
        raise ArtifactInvalid(f"the dm-verity salt is not lower-case hex of up to {MAX_SALT_BYTES} bytes")
    return salt


def parse_superblock(data: bytes) -> Verity:
    """The parameters that a superblock states.

    Raises:
        ArtifactInvalid: no superblock, another version, or parameters out of their bounds.
    """
    if len(data) < _SUPERBLOCK.size:
        raise ArtifactInvalid("no room for a dm-verity superblock")
    fields = _SUPERBLOCK.unpack_from(data)
    signature, version, hash_type, _uuid, algorithm, data_size, hash_size, blocks, salt_size, salt = fields
    if signature != _SIGNATURE or version != _VERSION:
        raise ArtifactInvalid("no dm-verity superblock of version 1")
    if salt_size > MAX_SALT_BYTES or any(salt[salt_size:]):
        raise ArtifactInvalid("the dm-verity superblock's salt is longer than it says")
    try:
        name = algorithm.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise ArtifactInvalid("the dm-verity superblock's algorithm is not a name") from error
    verity = Verity(hash_type, name, data_size, hash_size, salt[:salt_size].hex(), blocks)
    check(verity)
    return verity


def tree(data: bytes, verity: Verity) -> tuple[bytes, tuple[bytes, ...]]:
    """Root hash and the levels of the hash tree, the one below the root first.

    Args:
        data: exactly ``data_blocks`` blocks.
        verity: the parameters.

    Raises:
        ArtifactInvalid: as ``check``.
        NotDerivable: the data is not as long as the parameters say.
    """
    salt = check(verity)
    if len(data) != verity.data_blocks * verity.data_block_size:
        raise NotDerivable(
            f"the image has {len(data)} bytes of data, dm-verity would cover "
            f"{verity.data_blocks * verity.data_block_size}"
        )
    digest = _hasher(verity, salt)
    levels: list[bytes] = []
    hashes = _hashed(memoryview(data), verity.data_block_size, digest)
    while len(hashes) > 1:
        level = _blocks(hashes, verity)
        levels.append(level)
        hashes = _hashed(memoryview(level), verity.hash_block_size, digest)
    return hashes[0], tuple(reversed(levels))


def root_hash(data: bytes, verity: Verity) -> bytes:
    """The root hash of data under stated parameters.

    Raises:
        ArtifactInvalid, NotDerivable: as ``tree``.
    """
    return tree(data, verity)[0]


def attached(data: bytes, area: bytes) -> tuple[bytes, Verity]:
    """Root hash and parameters of data whose hash area (superblock, then tree) is at hand.

    Args:
        data: the data, exactly.
        area: from the superblock on; what follows the tree is not looked at.

    Raises:
        ArtifactInvalid: no superblock; a tree that is cut off, or is not that of the data.
        NotDerivable: the data is not as long as the superblock says.
    """
    verity = parse_superblock(area)
    root, levels = tree(data, verity)
    stored = b"".join(levels)
    start = -(-_SUPERBLOCK.size // verity.hash_block_size) * verity.hash_block_size
    if area[start : start + len(stored)] != stored:
        raise ArtifactInvalid("the stored dm-verity hash tree is not that of the data")
    return root, verity


def _hasher(verity: Verity, salt: bytes) -> Callable[[memoryview], bytes]:
    empty = hashlib.new(verity.algorithm)
    if verity.hash_type == _NORMAL:
        empty.update(salt)

    def digest(block: memoryview) -> bytes:
        state = empty.copy()
        state.update(block)
        if verity.hash_type == _PLAIN:
            state.update(salt)
        return state.digest()

    return digest


def _hashed(data: memoryview, size: int, digest: Callable[[memoryview], bytes]) -> list[bytes]:
    return [digest(data[start : start + size]) for start in range(0, len(data), size)]


def _blocks(hashes: list[bytes], verity: Verity) -> bytes:
    """Hash blocks that hold the digests: a power of two of them in each, zeros in between and after."""
    width = len(hashes[0])
    size = verity.hash_block_size
    per_block = 1 << ((size // width).bit_length() - 1)
    slot = width if verity.hash_type == _PLAIN else size // per_block
    blocks: list[bytes] = []
    for start in range(0, len(hashes), per_block):
        block = b"".join(value.ljust(slot, b"\0") for value in hashes[start : start + per_block])
        blocks.append(block.ljust(size, b"\0"))
    return b"".join(blocks)
