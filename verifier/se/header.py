"""The header of a Secure Execution image: the tags that attestations cover, and the plain control flags.

Big endian. An image's header is what ``pvimg`` (formerly ``genprotimg``) writes in front of the encrypted
image; its last 16 bytes are the GCM tag over all of it, so that the tag stands for the whole header.
Everything here is public; the customer's secrets are in the encrypted part, which is not looked at.

Source: s390-tools, ``rust/pv/src/brcb.rs`` and ``genprotimg/src/include/pv_hdr_def.h``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.binary import Reader
from common.errors import Malformed, TooLarge
from verifier.errors import UnsupportedEvidence

TAGS_BYTES: Final = 0xD0
MAX_HEADER: Final = 1 << 20
_MAGIC: Final = b"IBMSecEx"
_VERSION: Final = 0x100
_DIGEST: Final = 64
_TAG: Final = 16
_CUSTOMER_KEY: Final = 160
_PCF_BITS: Final = 64
_ALLOW_DUMPING: Final = 1 << (_PCF_BITS - 1 - 34)  # bit 34, counted from the most significant


class HeaderTags(msgspec.Struct, frozen=True):
    """What an attestation covers of an image's header.

    Attributes:
        pages: page list digest (SHA-512).
        addresses: address list digest.
        tweaks: tweak list digest.
        tag: GCM tag over the header.
    """

    pages: bytes
    addresses: bytes
    tweaks: bytes
    tag: bytes

    @property
    def raw(self) -> bytes:
        """The 208 bytes, in the order in which they are measured."""
        return self.pages + self.addresses + self.tweaks + self.tag


class ImageHeader(msgspec.Struct, frozen=True):
    """An image's header.

    Attributes:
        tags: what attestations cover.
        control_flags: plain control flags.
    """

    tags: HeaderTags
    control_flags: int

    @property
    def dump_allowed(self) -> bool:
        """Whether the host may have (encrypted) dumps made of the guest's memory."""
        return bool(self.control_flags & _ALLOW_DUMPING)


def parse_tags(data: bytes) -> HeaderTags:
    """The tags as requests and responses carry them.

    Raises:
        Malformed: not 208 bytes.
    """
    if len(data) != TAGS_BYTES:
        raise Malformed(f"the tags of an image header have {TAGS_BYTES} bytes, not {len(data)}")
    return HeaderTags(
        data[:_DIGEST], data[_DIGEST : 2 * _DIGEST], data[2 * _DIGEST : 3 * _DIGEST], data[3 * _DIGEST :]
    )


def parse_header(data: bytes) -> ImageHeader:
    """Parse a header file (``pvextract-hdr``, ``pvimg info``), without the image.

    Raises:
        Malformed: not such a header, or not as long as it says.
        UnsupportedEvidence: another version than 1.
        TooLarge: over 1 MiB.
    """
    if len(data) > MAX_HEADER:
        raise TooLarge(f"image header of {len(data)} bytes, the limit is {MAX_HEADER}")
    reader = Reader(data, "image header", "big")
    if reader.take(len(_MAGIC), "magic") != _MAGIC:
        raise Malformed("not the header of a Secure Execution image")
    version, size = reader.u32("version"), reader.u32("size")
    if version != _VERSION:
        raise UnsupportedEvidence(f"image header of version {version:#x}, not {_VERSION:#x}")
    reader.take(12 + 4, "initialisation vector")
    _ = (reader.u64("number of key slots"), reader.u64("encrypted size"), reader.u64("encrypted pages"))
    flags = reader.u64("plain control flags")
    reader.take(_CUSTOMER_KEY, "customer public key")
    pages, addresses, tweaks = (reader.take(_DIGEST, name) for name in ("pages", "addresses", "tweaks"))
    if size != len(data) or reader.remaining < _TAG:
        raise Malformed(f"the image header says that it has {size} bytes, and has {len(data)}")
    return ImageHeader(HeaderTags(pages, addresses, tweaks, data[-_TAG:]), flags)
