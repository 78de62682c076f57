"""Tinfoil's measurement predicates, strictly parsed, and their normal form.

* ``snp-tdx-multiplatform/v1``: launch measurement of an image under SEV-SNP, RTMR 1 and 2 under TDX.
* ``hardware-measurements/v1``: MRTD and RTMR 0 of each platform, by the platform's name.

They come as in-toto statements in Sigstore bundles; the rule ``manifest-values`` reads them. A member that
is not known is refused: it could narrow what the measurement is good for.

Source: tinfoilsh/verifier, predicate types of attestation; tinfoilsh/hardware-measurements, README.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from provenance.errors import PredicateUnexpected
from provenance.manifests.values import Fact, Manifest

if TYPE_CHECKING:
    from provenance.model import Statement

MULTIPLATFORM: Final = "https://tinfoil.sh/predicate/snp-tdx-multiplatform/v1"
HARDWARE: Final = "https://tinfoil.sh/predicate/hardware-measurements/v1"
PREDICATE_TYPES: Final = (MULTIPLATFORM, HARDWARE)
MAX_PLATFORMS: Final = 512
MAX_TEXT: Final = 65_536
# SHA-384 registers of SEV-SNP and TDX, lower-case hex.
_DIGEST: Final = re.compile(r"[0-9a-f]{96}\Z")
_FIELD: Final = "digest.sha-384"
_PLATFORM: Final = re.compile(r"[\x21-\x7e]{1,256}\Z")
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class TdxMeasurement(_Strict, frozen=True):
    """RTMR 1 and 2."""

    rtmr1: str
    rtmr2: str


class VmShape(_Strict, frozen=True):
    """The machine that the image was measured for."""

    cpus: _Count
    memory_mb: _Count
    gpus: _Count
    disks: _Count


class Multiplatform(_Strict, frozen=True):
    """The predicate ``MULTIPLATFORM``.

    Attributes:
        snp_measurement: SEV-SNP launch measurement.
        tdx_measurement: registers under TDX.
        vm_shape: shape of the machine.
        cmdline: kernel command line.
        hashes: name to digest of what was measured.
        config: configuration of the image.
    """

    snp_measurement: str
    tdx_measurement: TdxMeasurement
    vm_shape: VmShape | None = None
    cmdline: str | None = None
    hashes: dict[str, str] | None = None
    config: str | dict[str, Any] | None = None


class HardwareMeasurement(_Strict, frozen=True):
    """MRTD and RTMR 0 of one platform."""

    mrtd: str
    rtmr0: str


def multiplatform(statement: Statement) -> Multiplatform:
    """Read the predicate ``MULTIPLATFORM``.

    Raises:
        PredicateUnexpected: another type, an unknown or ill-typed member, or a measurement that is not 96
            lower-case hex characters.
    """
    document: Multiplatform = _convert(statement, MULTIPLATFORM, Multiplatform)
    _require_digests(
        document.snp_measurement, document.tdx_measurement.rtmr1, document.tdx_measurement.rtmr2
    )
    return document


def hardware(statement: Statement) -> dict[str, HardwareMeasurement]:
    """Read the predicate ``HARDWARE``: platform name to its measurements.

    Raises:
        PredicateUnexpected: as for ``multiplatform``; no platform, or too many.
    """
    document: dict[str, HardwareMeasurement] = _convert(statement, HARDWARE, dict[str, HardwareMeasurement])
    if not 1 <= len(document) <= MAX_PLATFORMS or not all(_PLATFORM.match(name) for name in document):
        raise PredicateUnexpected("the hardware measurements name no platform, too many, or one unreadably")
    for item in document.values():
        _require_digests(item.mrtd, item.rtmr0)
    return document


def manifest_of(statement: Statement) -> Manifest:
    """The normal form. SEV-SNP and TDX are groups of their own, and so is each platform.

    Keys: ``snp_measurement``, ``tdx_measurement.rtmr1``, ``tdx_measurement.rtmr2``; ``mrtd`` and ``rtmr0``
    with the platform's name in the environment. The field is ``digest.sha-384``.

    Raises:
        PredicateUnexpected: neither predicate, or malformed.
    """
    if statement.predicate_type == HARDWARE:
        facts = [
            Fact(group=name, key=key, field=_FIELD, value=value, environment={"platform": name})
            for name, item in hardware(statement).items()
            for key, value in (("mrtd", item.mrtd), ("rtmr0", item.rtmr0))
        ]
        return Manifest(about={"type": HARDWARE}, facts=tuple(facts))
    document = multiplatform(statement)
    about = {"type": MULTIPLATFORM}
    if document.vm_shape is not None:
        shape = msgspec.to_builtins(document.vm_shape)
        about["vm_shape"] = ", ".join(f"{name} {value}" for name, value in shape.items())
    registers = document.tdx_measurement
    return Manifest(
        about=about,
        facts=(
            Fact(group="snp", key="snp_measurement", field=_FIELD, value=document.snp_measurement),
            Fact(group="tdx", key="tdx_measurement.rtmr1", field=_FIELD, value=registers.rtmr1),
            Fact(group="tdx", key="tdx_measurement.rtmr2", field=_FIELD, value=registers.rtmr2),
        ),
    )


def _convert(statement: Statement, predicate_type: str, kind: Any) -> Any:
    if statement.predicate_type != predicate_type:
        raise PredicateUnexpected(f"the statement's predicate is not {predicate_type}")
    try:
        return msgspec.convert(statement.predicate, type=kind, strict=True)
    except msgspec.ValidationError as error:
        raise PredicateUnexpected(f"Tinfoil's predicate cannot be read: {str(error)[:200]}") from error


def _require_digests(*digests: str) -> None:
    if not all(_DIGEST.match(digest) for digest in digests):
        raise PredicateUnexpected(
            "a measurement of Tinfoil's predicate is not 96 lower-case hex characters"
        )
