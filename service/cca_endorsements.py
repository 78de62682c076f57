"""Attestation keys of Arm CCA platforms out of a CoRIM, for the endorsement store.

The caller verifies the CoRIM first (``provenance.manifests.corim.reader``), and hands over its content: who
signs it vouches for platforms. A triple names its platform by a class id of 32 bytes (implementation id)
and a UEID (instance id), as draft-ydb-rats-cca-endorsements has it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from provenance.manifests.corim import attest_keys
from verifier.cca.endorsements import read_key

if TYPE_CHECKING:
    from verifier.cca.endorsements import Cpaks

_IMPLEMENTATION: Final = re.compile(r"bytes:([0-9a-f]{64})\Z")
_INSTANCE: Final = re.compile(r"ueid:(01[0-9a-f]{64})\Z")


def keys_of_corim(content: bytes) -> Cpaks:
    """The keys that a CoRIM endorses, by implementation id and instance id.

    Args:
        content: of a CoRIM whose signature was verified.

    Raises:
        ManifestMalformed: not a CoRIM, or a triple in a form that is not read.
        InputError: a triple of another kind of platform, an unusable key, no key at all, or two of one
            platform.
    """
    keys: Cpaks = {}
    for item in attest_keys.read(content):
        implementation = _IMPLEMENTATION.match(item.environment.get("class-id", ""))
        instance = _INSTANCE.match(item.environment.get("instance", ""))
        if implementation is None or instance is None:
            raise Malformed(
                "an attestation key is not of an Arm CCA platform, by implementation and instance"
            )
        ids = (bytes.fromhex(implementation[1]), bytes.fromhex(instance[1]))
        if ids in keys:
            raise Malformed("the CoRIM has two attestation keys of one platform")
        keys[ids] = read_key(item.pem)
    if not keys:
        raise Malformed("the CoRIM endorses no attestation key")
    return keys
