"""Rule ``sgx-enclave``: a signed enclave, or its SIGSTRUCT, to MRENCLAVE, MRSIGNER, product and version.

Order: artefacts bound to subjects -> exactly one way in -> verified SIGSTRUCT, and the measurement of the
pages where they are at hand -> equal -> one group of values.

Ways in, by the artefacts that are given:

* ``enclave``: an ELF file signed with the Intel SGX SDK. It is measured here; what its author signed
  must be that very measurement.
* ``sigstruct``: the 1808 bytes alone. The author's signature over ENCLAVEHASH is what stands for it.
* ``sigstruct`` and ``sgxs``: the SGXS stream (a complete page list) must hash to the ENCLAVEHASH.
* ``sgxs`` alone: the measurement alone, for nobody has signed the rest.

Of a SIGSTRUCT are taken: measurement, signer, product, version, and the two identifiers that KSS adds
(ISVFAMILYID, ISVEXTPRODID; zeros without KSS, as the report then has them). Occlum keeps the MAC of its
configuration, and with it that of its file systems, in ISVFAMILYID: the measurement alone does not say
which application such an enclave runs.

An unsigned enclave, and an enclave of Gramine or another toolchain without its SIGSTRUCT, is not
derivable: how its pages are laid out is decided by a loader that no artefact describes. CONFIGID and
CONFIGSVN are decided at launch, and are in no artefact either.

Sources: Intel SDM volume 3D, sections 38.10, 38.13 and 40.3; Occlum, docs, boot_flow.md; see the modules
that this one joins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provenance.derivation.derived import Output, data_of, record
from provenance.derivation.sgx.enclave_elf import measure_enclave
from provenance.derivation.sgx.enclave_measurement import measure_sgxs
from provenance.derivation.sgx.sigstruct import Sigstruct, parse_sigstruct
from provenance.derivation.subjects import bind
from provenance.errors import LaunchShapeInvalid, NotDerivable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.derivation.subjects import BoundInput
    from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

NAME: Final = "sgx-enclave"
VERSION: Final = 2
ENCLAVE: Final = "enclave"
SIGSTRUCT: Final = "sigstruct"
SGXS: Final = "sgxs"
_WAYS: Final = (
    frozenset({ENCLAVE}),
    frozenset({SIGSTRUCT}),
    frozenset({SIGSTRUCT, SGXS}),
    frozenset({SGXS}),
)
MR_ENCLAVE: Final = "sgx_mr_enclave"
MR_SIGNER: Final = "sgx_mr_signer"
ISV_PROD_ID: Final = "sgx_isv_prod_id"
ISV_SVN: Final = "sgx_isv_svn"
ISV_FAMILY_ID: Final = "sgx_isv_family_id"
ISV_EXT_PROD_ID: Final = "sgx_isv_ext_prod_id"


def apply(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """The rule (``registry.Rule``): ``sgx_mr_enclave`` and, if signed, the five values beside it.

    ``sgx_isv_svn`` is a minimum (``scalar``); the others are members of a set.

    Raises:
        LaunchShapeInvalid: a launch shape is given: an enclave's measurement has none.
        ExpiryInvalid: the request's expiry is malformed.
        SubjectMismatch: an artefact is not a subject of the statement.
        SigstructInvalid: the SIGSTRUCT does not hold.
        ArtifactInvalid: enclave or SGXS stream cannot be read.
        NotDerivable: none or too much of the artefacts above; the measurement is not the signed one.
    """
    if request.launch:
        raise LaunchShapeInvalid("the rule sgx-enclave takes no launch shape: the artefacts state all")
    output = Output(admitted, request, f"{NAME}/{VERSION}")
    inputs = bind(admitted, request, artifacts)
    _check_ways(inputs)
    measured, signed = _measure(inputs)
    recorded = record(inputs) | ({"signed": _record(signed)} if signed is not None else {})
    return tuple(
        output.value(name, value, "sgx", recorded, scalar=name == ISV_SVN)
        for name, value in _values(measured, signed)
    )


def _values(measured: bytes, signed: Sigstruct | None) -> list[tuple[str, str | int]]:
    values: list[tuple[str, str | int]] = [(MR_ENCLAVE, measured.hex())]
    if signed is not None:
        values += [
            (MR_SIGNER, signed.mr_signer.hex()),
            (ISV_PROD_ID, signed.isv_prod_id),
            (ISV_SVN, signed.isv_svn),
            (ISV_FAMILY_ID, signed.isv_family_id.hex()),
            (ISV_EXT_PROD_ID, signed.isv_ext_prod_id.hex()),
        ]
    return values


def _record(signed: Sigstruct) -> dict[str, Any]:
    """What the author signed beside the values: for lineage, 64-bit numbers as hex."""
    return {
        "attributes": f"{signed.attributes:016x}",
        "attributesMask": f"{signed.attributes_mask:016x}",
        "xfrm": f"{signed.xfrm:016x}",
        "xfrmMask": f"{signed.xfrm_mask:016x}",
        "miscSelect": f"{signed.misc_select:08x}",
        "miscMask": f"{signed.misc_mask:08x}",
        "debugExcluded": signed.debug_excluded,
        "date": signed.date,
    }


def _check_ways(inputs: Mapping[str, BoundInput]) -> None:
    if frozenset(inputs) not in _WAYS:
        named = ", ".join(ascii(role[:64]) for role in sorted(inputs)) or "none"
        raise NotDerivable(
            f"these artefacts do not determine an enclave: {named}",
            advice="Give a signed SDK enclave, a SIGSTRUCT (Gramine: the .sig file), or an SGXS stream.",
        )


def _measure(inputs: Mapping[str, BoundInput]) -> tuple[bytes, Sigstruct | None]:
    if ENCLAVE in inputs:
        signed = measure_enclave(data_of(inputs, ENCLAVE))
        return signed.mr_enclave, signed
    measured = measure_sgxs(data_of(inputs, SGXS)) if SGXS in inputs else None
    stated = parse_sigstruct(data_of(inputs, SIGSTRUCT)) if SIGSTRUCT in inputs else None
    if stated is None:
        assert measured is not None
        return measured, None
    if measured is not None and measured != stated.mr_enclave:
        raise NotDerivable("the SGXS stream does not measure to the ENCLAVEHASH that its author signed")
    return stated.mr_enclave, stated
