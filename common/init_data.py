"""Init-data of Confidential Containers: launch data that the TEE carries by their digest.

A TOML text with ``version``, ``algorithm`` and a table ``[data]`` of strings. What the TEE carries is the
hash of the *whole text as it stands*, by its own ``algorithm``; nothing is normalised first.

=========================================  =====================================================
TEE                                        where the digest stands
=========================================  =====================================================
``snp``                                    HOST_DATA, 32 bytes
``tdx``                                    MRCONFIGID, 48 bytes
``sgx``                                    CONFIGID, 64 bytes
``cca``                                    realm personalisation value, 64 bytes, exactly: sha512
``tpm``, ``az-snp-vtpm``, ``az-tdx-vtpm``  PCR 8 = SHA-256(32 zero bytes, digest): sha256
others                                     nowhere: init-data cannot be bound
=========================================  =====================================================

A digest shorter than its field is followed by zeros, a longer one is cut.

Source: trustee, ``kbs/docs/initdata.md``; attestation-service (claims).
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from common import strict_json
from common.errors import InputError, Malformed, TooLarge
from common.runtime_data import HASHES, fitted, hash_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = "0.1.0"
MAX_BYTES: Final = 1 << 20
PCR: Final = 8
FIELD_BYTES: Final[Mapping[str, int]] = {"snp": 32, "tdx": 48, "sgx": 64}
PCR_TEES: Final = frozenset({"tpm", "az-snp-vtpm", "az-tdx-vtpm"})
_CCA_BYTES: Final = 64
_PCR_BYTES: Final = 32
_CONFIGURATIONS: Final = ("aa.toml", "cdh.toml")
_POLICY: Final = "policy.rego"
_POLICY_DATA: Final = "policy_data :="
_MAX_DEPTH: Final = 32


class InitDataUnfit(InputError):
    """Init-data of this algorithm cannot be bound to evidence of this TEE."""

    code = "input.init_data"
    advice = (
        'Use algorithm = "sha256" for TPMs and Azure, "sha512" for Arm CCA; CSV, SE and devices bind none.'
    )


class InitData(msgspec.Struct, frozen=True):
    """A parsed text.

    Attributes:
        version: of the format, ``0.1.0``.
        algorithm: one of ``common.runtime_data.HASHES``.
        data: name to content.
        digest: of the whole text, by ``algorithm``.
    """

    version: str
    algorithm: str
    data: dict[str, str]
    digest: bytes


def parse(raw: bytes | str) -> InitData:
    """Read init-data and hash the text.

    Raises:
        TooLarge: over 1 MiB.
        Malformed: not UTF-8 TOML of these members, another version, or no such hash.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(data) > MAX_BYTES:
        raise TooLarge(f"init-data of {len(data)} bytes, the limit is {MAX_BYTES}")
    document = _toml(data, "init-data")
    if document.keys() - {"version", "algorithm", "data"}:
        raise Malformed("init-data has a member besides version, algorithm and data")
    if document.get("version") != VERSION:
        raise Malformed(f"init-data has no version {VERSION}")
    algorithm = document.get("algorithm")
    if algorithm not in HASHES:
        raise Malformed(f"the algorithm of init-data is not one of {', '.join(HASHES)}")
    entries = document.get("data")
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise Malformed("init-data has no table [data] of strings")
    return InitData(VERSION, algorithm, entries, hash_bytes(data, algorithm))


def field_of(tee: str, digest: bytes) -> bytes:
    """What the TEE's field holds for a digest: HOST_DATA and its like, or the value of PCR 8.

    Raises:
        InitDataUnfit: the TEE has no such field, or does not take a digest of that size.
    """
    size = FIELD_BYTES.get(tee)
    if size is not None:
        return fitted(digest, size)
    if tee == "cca":
        if len(digest) != _CCA_BYTES:
            raise InitDataUnfit(f"Arm CCA carries {_CCA_BYTES} bytes exactly, the digest has {len(digest)}")
        return digest
    if tee in PCR_TEES:
        return pcr_value(digest)
    raise InitDataUnfit(f"evidence of {tee} carries no init-data")


def pcr_value(digest: bytes) -> bytes:
    """PCR 8 after the digest was extended into it.

    Raises:
        InitDataUnfit: the digest does not have 32 bytes.
    """
    if len(digest) != _PCR_BYTES:
        raise InitDataUnfit(f"a PCR takes a digest of {_PCR_BYTES} bytes, not of {len(digest)}")
    return hashlib.sha256(bytes(_PCR_BYTES) + digest).digest()


def claims(init_data: InitData) -> dict[str, Any]:
    """The claims of init-data: its entries, the agents' configurations as JSON.

    ``policy.rego`` that ends in ``policy_data := {...}`` is left out, its data stand in
    ``agent_policy_claims``.

    Raises:
        Malformed: a configuration that is not TOML, or policy data that are not JSON; a value without a
            JSON form.
    """
    found: dict[str, Any] = dict(init_data.data)
    for name in _CONFIGURATIONS:
        if name in found:
            found[name] = _json_of(_toml(found[name].encode(), name), name, _MAX_DEPTH)
    policy = "\n" + init_data.data.get(_POLICY, "")
    _, mark, data = policy.rpartition(f"\n{_POLICY_DATA}")
    if mark:
        found["agent_policy_claims"] = strict_json.loads(
            data.strip().encode(), what="policy_data", max_bytes=MAX_BYTES
        )
        del found[_POLICY]
    return found


def _toml(data: bytes, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Malformed(f"{what} is not TOML") from error
    except ValueError as error:  # a number over the interpreter's digit limit, an impossible date
        raise Malformed(f"{what} has a value that cannot be read") from error


def _json_of(value: Any, what: str, left: int) -> Any:
    if left == 0:
        raise Malformed(f"{what} is nested too deeply")
    if isinstance(value, dict):
        return {name: _json_of(item, what, left - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_of(item, what, left - 1) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise Malformed(f"{what} has a number that JSON does not have")
    return value
