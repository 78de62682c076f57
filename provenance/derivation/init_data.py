"""Rule ``init-data``: the init-data of a Confidential Containers guest to the field that binds it.

Order: launch shape -> artefact bound to a subject -> document read -> one value per stated field.

* Format ``toml``: the digest is that of the whole TOML text, byte for byte, with the algorithm that the
  text itself names. It is cut to the field's size, or filled with zero bytes at its end, as the CoCo
  attestation agent does. A vTPM extends register 8 with it, which takes 32 bytes exactly.
* Format ``agent-policy``: the SHA-256 of a bare Kata agent policy, in SNP HOST_DATA alone, as runtimes
  did before init-data.

Cutting a SHA-384 or SHA-512 to 32 bytes is what the guest does and stays as hard to forge as SHA-256.

Sources: Confidential Containers, kbs/docs/initdata.md (format, digest, fields); SEV-SNP firmware ABI
(56860), ATTESTATION_REPORT (HOST_DATA, 32 bytes); Intel TDX Module ABI specification, TDINFO_STRUCT
(MRCONFIGID, 48 bytes); Intel SDM volume 3D, REPORT (CONFIGID, 64 bytes); Kata Containers, genpolicy (policy
hash in HOST_DATA).
"""

from __future__ import annotations

import hashlib
import tomllib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from provenance.derivation.boot import measured_boot
from provenance.derivation.derived import Output, check_roles, convert, data_of, one_or_many, record
from provenance.derivation.subjects import bind
from provenance.errors import ArtifactInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "init-data"
VERSION: Final = 1
INIT_DATA: Final = "init-data"
MAX_BYTES: Final = 1 << 20
ALGORITHMS: Final = ("sha256", "sha384", "sha512")
FORMAT_VERSION: Final = "0.1.0"
_PCR_BANK: Final = "sha256"


class Field(StrEnum):
    """Reference names of the fields that can bind init-data."""

    SNP_HOST_DATA = "snp_host_data"
    TDX_MR_CONFIG_ID = "tdx_mr_config_id"
    SGX_CONFIG_ID = "sgx_config_id"
    TPM_PCR08 = "tpm_pcr08"


class Format(StrEnum):
    """What the artefact is."""

    TOML = "toml"
    AGENT_POLICY = "agent-policy"


_SIZES: Final = {Field.SNP_HOST_DATA: 32, Field.TDX_MR_CONFIG_ID: 48, Field.SGX_CONFIG_ID: 64}
_TEES: Final = {
    Field.SNP_HOST_DATA: "snp",
    Field.TDX_MR_CONFIG_ID: "tdx",
    Field.SGX_CONFIG_ID: "sgx",
    Field.TPM_PCR08: "tpm",
}


class _Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Format
    fields: list[Field]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: str
    algorithm: str
    data: dict[str, str]


def digest(text: bytes) -> bytes:
    """The digest of an init-data document, with its own algorithm.

    Args:
        text: the TOML text, exactly as the guest gets it.

    Raises:
        ArtifactInvalid: too long, not TOML, not version 0.1.0, an unknown algorithm or member, data that
            is not text.
    """
    if len(text) > MAX_BYTES:
        raise ArtifactInvalid(f"the init-data has {len(text)} bytes, the limit is {MAX_BYTES}")
    try:
        document = msgspec.convert(tomllib.loads(text.decode("utf-8")), type=_Document, strict=True)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise ArtifactInvalid("the init-data is not TOML with version, algorithm and data") from error
    if document.version != FORMAT_VERSION:
        raise ArtifactInvalid(f"the init-data is not of version {FORMAT_VERSION}")
    if document.algorithm not in ALGORITHMS:
        raise ArtifactInvalid(f"the init-data's algorithm is not one of {', '.join(ALGORITHMS)}")
    return hashlib.new(document.algorithm, text).digest()


def fitted(value: bytes, field: Field) -> bytes:
    """The content of a field that a digest is bound in.

    Raises:
        NotDerivable: register 8 with a digest that is not 32 bytes.
    """
    if field is Field.TPM_PCR08:
        return measured_boot.extend(_PCR_BANK, measured_boot.first_value(_PCR_BANK), value)
    size = _SIZES[field]
    return value[:size].ljust(size, b"\0")


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): one value per stated field.

    Raises:
        LaunchShapeInvalid, ExpiryInvalid: the request is malformed.
        SubjectMismatch: the init-data is not a subject of the statement.
        ArtifactInvalid: the init-data cannot be read.
        NotDerivable: no init-data, or anything beside it; a field that cannot hold the digest.
    """
    shape = convert(request.launch, _Shape)
    fields: tuple[Field, ...] = one_or_many(shape.fields, "fields")
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    inputs = bind(admitted, request, artifacts)
    check_roles(inputs, {INIT_DATA}, "the fields that bind init-data")
    text = data_of(inputs, INIT_DATA)
    value = _policy_digest(text, fields) if shape.format is Format.AGENT_POLICY else digest(text)
    return tuple(
        output.value(
            field.value,
            fitted(value, field).hex(),
            _TEES[field],
            record(inputs) | {"launch": {"format": shape.format.value, "fields": [field.value]}},
        )
        for field in fields
    )


def _policy_digest(text: bytes, fields: tuple[Field, ...]) -> bytes:
    if fields != (Field.SNP_HOST_DATA,):
        raise NotDerivable("a bare agent policy is bound in SNP HOST_DATA alone")
    if not text or len(text) > MAX_BYTES:
        raise ArtifactInvalid(f"the agent policy is empty, or larger than {MAX_BYTES} bytes")
    return hashlib.sha256(text).digest()
