"""TCB info: what Intel says of every TCB that platforms of one FMSPC may have.

Source: Intel PCS API version 4, ``TCB Info`` (versions 2 and 3 for SGX, 3 for TDX).

Invariants:

* Levels are in the order in which they are to be tried, whatever the order in the JSON: SGX components,
  PCESVN, TDX components, each descending (Intel QVL, ``TcbLevel`` ordering).
* A level without a status, or with one that is not known here, makes the whole document invalid: there is
  no default.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from verifier.errors import CollateralInvalid, CollateralMismatch
from verifier.intel.pck import COMPONENTS
from verifier.intel.signed_json import Opened, Signer, decode
from verifier.intel.status import GIVEN, TcbStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMBER: Final = "tcbInfo"
_VERSIONS: Final = {"SGX": (2, 3), "TDX": (3,)}
_COMPONENT_VERSION: Final = 3
_FMSPC_BYTES: Final = 6
_PCEID_BYTES: Final = 2
_DIGEST_BYTES: Final = 48
_ATTRIBUTES_BYTES: Final = 8

Instant = Annotated[datetime, Meta(tz=True)]
Svn = Annotated[int, Meta(ge=0, le=255)]
Advisories = tuple[Annotated[str, Meta(max_length=64)], ...]
_Count = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]


class Level(msgspec.Struct, frozen=True):
    """One TCB level of a platform.

    Attributes:
        sgx: 16 components.
        pcesvn: of the provisioning certification enclave.
        tdx: 16 components; empty in an SGX document.
        status: of a platform that meets the level and no higher one.
        date: when the level became what it is, UTC.
        advisories: that apply to such a platform.
    """

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...]
    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]


class IsvLevel(msgspec.Struct, frozen=True):
    """One TCB level of a TDX module or a quoting enclave.

    Attributes:
        isvsvn: lowest security version that meets it.
        status: as for ``Level``.
        date: as for ``Level``.
        advisories: as for ``Level``.
    """

    isvsvn: int
    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]


class Module(msgspec.Struct, frozen=True):
    """A TDX module.

    Attributes:
        signer: MRSIGNERSEAM, 48 bytes.
        attributes: SEAMATTRIBUTES under the mask, 8 bytes.
        mask: the bits that count.
        levels: highest first; empty for the module of version 0, which the platform's levels cover.
    """

    signer: bytes
    attributes: bytes
    mask: bytes
    levels: tuple[IsvLevel, ...]


class TcbInfo(msgspec.Struct, frozen=True):
    """A TCB info that Intel signed.

    Attributes:
        tee: ``SGX`` or ``TDX``.
        fmspc: 6 bytes.
        pceid: 2 bytes.
        issue_date: UTC.
        next_update: UTC.
        evaluation_number: of the TCB evaluation, which rises with every TCB recovery.
        levels: in the order in which they are to be tried.
        module: TDX: the module of version 0.
        modules: TDX: by major version.
        names: what each SGX and TDX component is, where the document says it (``sgx.3`` to its words).
        sha256: of the signed bytes, hex.
        signer: who signed.
    """

    tee: str
    fmspc: bytes
    pceid: bytes
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    levels: tuple[Level, ...]
    module: Module | None
    modules: dict[int, Module]
    names: dict[str, str]
    sha256: str
    signer: Signer


class _Component(msgspec.Struct, frozen=True):
    svn: Svn
    category: str = ""
    type: str = ""


class _Tcb(msgspec.Struct, frozen=True):
    pcesvn: Annotated[int, Meta(ge=0, le=65535)]
    sgxtcbcomponents: tuple[_Component, ...] = ()
    tdxtcbcomponents: tuple[_Component, ...] = ()


class _Level(msgspec.Struct, frozen=True, rename="camel"):
    tcb: msgspec.Raw
    tcb_date: Instant
    tcb_status: TcbStatus
    advisories: Advisories = msgspec.field(default=(), name="advisoryIDs")


class _Isv(msgspec.Struct, frozen=True):
    isvsvn: Annotated[int, Meta(ge=0, le=65535)]


class IsvLevelJson(msgspec.Struct, frozen=True, rename="camel"):
    """One level of a module or enclave, as the document has it."""

    tcb: _Isv
    tcb_date: Instant
    tcb_status: TcbStatus
    advisories: Advisories = msgspec.field(default=(), name="advisoryIDs")


class _Module(msgspec.Struct, frozen=True, rename="camel"):
    mrsigner: str
    attributes: str
    attributes_mask: str
    id: str = ""
    tcb_levels: tuple[IsvLevelJson, ...] = ()


class _TcbInfo(msgspec.Struct, frozen=True, rename="camel"):
    version: int
    issue_date: Instant
    next_update: Instant
    fmspc: str
    pce_id: str
    tcb_type: int
    tcb_evaluation_data_number: _Count
    tcb_levels: tuple[_Level, ...]
    id: str = "SGX"  # version 2 has none, and is of SGX
    tdx_module: _Module | None = None
    tdx_module_identities: tuple[_Module, ...] = ()


def read_tcb_info(opened: Opened, tee: str) -> TcbInfo:
    """Read a TCB info whose signature was verified.

    Raises:
        CollateralInvalid: not of the published form.
        CollateralMismatch: of another TEE than ``tee`` (``SGX``, ``TDX``).
    """
    document = decode(opened, _TcbInfo, MEMBER)
    if document.id != tee:
        raise CollateralMismatch(f"the TCB info is of {document.id}, not of {tee}")
    if document.version not in _VERSIONS[tee] or document.tcb_type != 0:
        raise CollateralInvalid(
            f"TCB info version {document.version} of {tee} with TCB type {document.tcb_type} is not known"
        )
    tcbs = [_tcb(level, document.version) for level in document.tcb_levels]
    levels = [_level(level, tcb, tee) for level, tcb in zip(document.tcb_levels, tcbs, strict=True)]
    levels.sort(key=lambda level: (level.sgx, level.pcesvn, level.tdx), reverse=True)
    if not levels:
        raise CollateralInvalid("the TCB info has no levels")
    return TcbInfo(
        tee=tee,
        fmspc=unhex(document.fmspc, _FMSPC_BYTES, "fmspc"),
        pceid=unhex(document.pce_id, _PCEID_BYTES, "pceId"),
        issue_date=document.issue_date,
        next_update=document.next_update,
        evaluation_number=document.tcb_evaluation_data_number,
        levels=tuple(levels),
        module=None if tee == "SGX" else _base_module(document),
        modules={} if tee == "SGX" else _modules(document),
        names=_names(tcbs),
        sha256=opened.sha256,
        signer=opened.signer,
    )


def require_fmspc(info: TcbInfo, fmspc: bytes) -> None:
    """Demand that a TCB info is of a platform with this FMSPC.

    Raises:
        CollateralMismatch: otherwise.
    """
    if info.fmspc != fmspc:
        raise CollateralMismatch(f"the TCB info is of FMSPC {info.fmspc.hex()}, not of {fmspc.hex()}")


def isv_levels(levels: Sequence[IsvLevelJson], what: str) -> tuple[IsvLevel, ...]:
    """Levels of a module or enclave, highest first.

    Raises:
        CollateralInvalid: a status that no collateral gives.
    """
    found = [
        IsvLevel(level.tcb.isvsvn, _given(level.tcb_status, what), level.tcb_date, level.advisories)
        for level in levels
    ]
    return tuple(sorted(found, key=lambda level: level.isvsvn, reverse=True))


def unhex(text: str, size: int, what: str) -> bytes:
    """Bytes of hexadecimal digits in either case, as Intel's documents have them.

    Raises:
        CollateralInvalid: not that many, or not digits.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise CollateralInvalid(f"{what} is not hex") from error
    if len(data) != size or len(text) != 2 * size:
        raise CollateralInvalid(f"{what} has {len(data)} bytes, not {size}")
    return data


def _tcb(level: _Level, version: int) -> _Tcb:
    try:
        if version >= _COMPONENT_VERSION:
            return msgspec.json.decode(level.tcb, type=_Tcb)
        flat = msgspec.json.decode(level.tcb, type=dict[str, Annotated[int, Meta(ge=0, le=65535)]])
        components = [
            msgspec.convert({"svn": flat[f"sgxtcbcomp{index:02d}svn"]}, _Component)
            for index in range(1, COMPONENTS + 1)
        ]
        return _Tcb(flat["pcesvn"], tuple(components))
    except KeyError as error:
        raise CollateralInvalid(f"a level of the TCB info lacks {error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CollateralInvalid(f"a level of the TCB info is not of the published form: {error}") from error


def _level(level: _Level, tcb: _Tcb, tee: str) -> Level:
    wanted = COMPONENTS if tee == "TDX" else 0
    if len(tcb.sgxtcbcomponents) != COMPONENTS or len(tcb.tdxtcbcomponents) != wanted:
        raise CollateralInvalid(f"a level of the TCB info has not {COMPONENTS} components of each kind")
    return Level(
        sgx=tuple(component.svn for component in tcb.sgxtcbcomponents),
        pcesvn=tcb.pcesvn,
        tdx=tuple(component.svn for component in tcb.tdxtcbcomponents),
        status=_given(level.tcb_status, "the TCB info"),
        date=level.tcb_date,
        advisories=level.advisories,
    )


def _given(status: TcbStatus, what: str) -> TcbStatus:
    if status not in GIVEN:
        raise CollateralInvalid(f"{what} gives a level the status {status}")
    return status


def _base_module(document: _TcbInfo) -> Module:
    if document.tdx_module is None:
        raise CollateralInvalid("the TCB info of TDX has no tdxModule")
    return _module(document.tdx_module)


def _modules(document: _TcbInfo) -> dict[int, Module]:
    found: dict[int, Module] = {}
    for module in document.tdx_module_identities:
        prefix, _, digits = module.id.partition("_")
        if prefix != "TDX":
            raise CollateralInvalid("a TDX module identity has no known id")
        version = unhex(digits, 1, "the version of a TDX module identity")[0]
        if version in found:
            raise CollateralInvalid(f"the TDX module identity {module.id} occurs twice")
        found[version] = _module(module)
    return found


def _module(module: _Module) -> Module:
    return Module(
        signer=unhex(module.mrsigner, _DIGEST_BYTES, "mrsigner of a TDX module"),
        attributes=unhex(module.attributes, _ATTRIBUTES_BYTES, "attributes of a TDX module"),
        mask=unhex(module.attributes_mask, _ATTRIBUTES_BYTES, "attributesMask of a TDX module"),
        levels=isv_levels(module.tcb_levels, "a TDX module identity"),
    )


def _names(tcbs: Sequence[_Tcb]) -> dict[str, str]:
    return {
        f"{kind}.{index}": " ".join(part for part in (component.category, component.type) if part)
        for tcb in tcbs[:1]
        for kind, components in (("sgx", tcb.sgxtcbcomponents), ("tdx", tcb.tdxtcbcomponents))
        for index, component in enumerate(components)
        if component.category or component.type
    }
