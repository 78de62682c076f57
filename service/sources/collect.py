"""What a source holds now: envelopes with the place they were found at, and what could not be read.

* A registry: everything attached to the image that the reference names at this moment.
* A directory: the regular files that match the glob and lie within the folder, links followed; each is
  one envelope.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from common.errors import InputError, NotFound, TooLarge
from common.files import read_limited
from provenance.dsse import MAX_ENVELOPE_BYTES
from provenance.oci.attachments import attachments_of

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.oci.registry import RegistryClient
    from service.sources.plan import Source

MAX_FILES: Final = 1024


class Refusal(msgspec.Struct, frozen=True):
    """Something that was found and not taken.

    Attributes:
        where: file, or layer or manifest digest.
        code: error code.
        message: what is wrong with it.
    """

    where: str
    code: str
    message: str


class Envelope(msgspec.Struct, frozen=True):
    """An envelope that a source holds.

    Attributes:
        where: file, or layer digest.
        data: the bytes.
        is_signature: an image signature: nothing is derived from it.
    """

    where: str
    data: bytes
    is_signature: bool = False


class Collected(msgspec.Struct, frozen=True):
    """What a source holds.

    Attributes:
        envelopes: to be verified.
        unreadable: what could not be read.
        image: digest that a registry source's reference stands for now.
    """

    envelopes: tuple[Envelope, ...]
    unreadable: tuple[Refusal, ...]
    image: str | None = None


def collect(source: Source, client: RegistryClient) -> Collected:
    """Look at a source.

    Raises:
        NotFound: no such image or folder.
        TooLarge: more files than ``MAX_FILES``.
        TouchstoneError: the registry cannot be read.
    """
    if source.image is not None:
        found = attachments_of(client, source.image)
        taken = found.found if source.signatures else found.attestations
        return Collected(
            tuple(Envelope(item.layer, item.data, item.is_signature) for item in taken),
            tuple(Refusal(fault.digest, fault.code, fault.message) for fault in found.faults),
            found.image,
        )
    assert source.folder is not None  # a source has the one or the other
    return _files(source.folder, source.pattern)


def _files(folder: Path, pattern: str) -> Collected:
    inside = folder.resolve()
    if not inside.is_dir():
        raise NotFound(f"there is no folder {folder}")
    try:
        matching = sorted(islice(folder.glob(pattern), MAX_FILES + 1))
    except (OSError, ValueError) as error:
        raise NotFound(f"the folder {folder} cannot be searched") from error
    if len(matching) > MAX_FILES:
        raise TooLarge(f"more than {MAX_FILES} files match in {folder}")
    envelopes, unreadable = [], []
    for path in matching:
        where = path.relative_to(folder).as_posix()
        if not path.is_file() or not path.resolve().is_relative_to(inside):
            continue
        try:
            envelopes.append(
                Envelope(where, read_limited(path, what="attestation", max_bytes=MAX_ENVELOPE_BYTES))
            )
        except InputError as error:
            unreadable.append(Refusal(where, error.code, error.message))
    return Collected(tuple(envelopes), tuple(unreadable))
