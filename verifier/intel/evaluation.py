"""The status of a platform: its TCB held against the levels that Intel publishes.

Sources: Intel PCS API version 4, ``TCB Info`` (how to find a level); Intel TDX DCAP QVL (module of version
0, convergence, relaunch advice).

Every component is compared by itself. TDX components 0 and 1 are the module's ISVSVN and version: for a
module of version 1 and later they are judged by the module's own identity, not by the platform's level.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec resolves it at run time)
from typing import TYPE_CHECKING, Any, Final

import msgspec

from verifier.errors import TcbNotSupported
from verifier.intel.status import OUT_OF_DATE, TcbStatus, converge, with_relaunch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifier.intel.enclave import EnclaveReport
    from verifier.intel.pck import PckTcb
    from verifier.intel.qe_identity import QeIdentity
    from verifier.intel.tcb_info import IsvLevel, Level, Module, TcbInfo
    from verifier.intel.td import TdBody

_MODULE_COMPONENTS: Final = 2


class Part(msgspec.Struct, frozen=True):
    """The level that one part of the TCB met.

    Attributes:
        status: of the level.
        date: of the level, UTC.
        advisories: of the level.
    """

    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]


class TcbResult(msgspec.Struct, frozen=True):
    """What the parts came to.

    Attributes:
        status: of the whole.
        date: earliest of the parts, UTC.
        advisories: of all parts, in order, each once.
        platform: microcode, PCE, SEAM components.
        module: TDX module; None for SGX and for modules of version 0.
        qe: quoting enclave.
        current: TD 1.5: status, date and advisories of the whole under the TCB of now; else those of the
            whole.
        shortfall: component to what it has and what the best level of its part demands.
    """

    status: TcbStatus
    date: datetime
    advisories: tuple[str, ...]
    platform: Part
    module: Part | None
    qe: Part
    current: Part
    shortfall: dict[str, dict[str, Any]]


def evaluate(
    info: TcbInfo, identity: QeIdentity, pck: PckTcb, qe: EnclaveReport, body: TdBody | None
) -> TcbResult:
    """Find the levels and converge them.

    Args:
        info: of the platform; what it is for was compared already.
        identity: of the quoting enclave; what it demands besides the version was compared already.
        pck: the platform's TCB.
        qe: the quoting enclave's report.
        body: the TD's; None for SGX.

    Raises:
        TcbNotSupported: a part meets no level at all.
    """
    quoting = _part(_isv_level(identity.levels, qe.isv_svn, "the quoting enclave"))
    svn = None if body is None else body.tee_tcb_svn
    platform, module = _levels(info, pck, svn)
    parts = [part for part in (platform, module, quoting) if part is not None]
    whole = _whole(parts)
    current = whole
    status = whole.status
    if body is not None and body.tee_tcb_svn2 is not None:
        current = _under(info, pck, body.tee_tcb_svn2, quoting) or whole
        status = with_relaunch(whole.status, current.status)
    return TcbResult(
        status=status,
        date=whole.date,
        advisories=whole.advisories,
        platform=platform,
        module=module,
        qe=quoting,
        current=current,
        shortfall=_shortfall(info, identity, pck, qe, svn),
    )


def module_of(info: TcbInfo, svn: bytes) -> Module | None:
    """The identity of the TDX module with this TEE_TCB_SVN; None: Intel names none of its version."""
    return info.modules.get(svn[1]) if svn[1] else info.module


def _under(info: TcbInfo, pck: PckTcb, svn: bytes, quoting: Part) -> Part | None:
    """The whole under another TEE_TCB_SVN; None where that meets no level."""
    try:
        platform, module = _levels(info, pck, svn)
    except TcbNotSupported:
        return None
    return _whole([part for part in (platform, module, quoting) if part is not None])


def _levels(info: TcbInfo, pck: PckTcb, svn: bytes | None) -> tuple[Part, Part | None]:
    level = next((level for level in info.levels if _meets(level, pck, svn)), None)
    if level is None:
        raise TcbNotSupported("the platform's TCB is below every level that Intel publishes for it")
    if svn is None or not svn[1]:
        return _part(level), None
    module = module_of(info, svn)
    if module is None:
        raise TcbNotSupported(f"Intel names no TDX module of version {svn[1]} for this platform")
    return _part(level), _part(_isv_level(module.levels, svn[0], f"the TDX module of version {svn[1]}"))


def _meets(level: Level, pck: PckTcb, svn: bytes | None) -> bool:
    if pck.pcesvn < level.pcesvn or not _covers(pck.components, level.sgx):
        return False
    if svn is None:
        return True
    start = _MODULE_COMPONENTS if svn[1] else 0
    return _covers(svn[start:], level.tdx[start:])


def _covers(have: Sequence[int], need: Sequence[int]) -> bool:
    return all(mine >= theirs for mine, theirs in zip(have, need, strict=True))


def _isv_level(levels: Sequence[IsvLevel], svn: int, what: str) -> IsvLevel:
    level = next((level for level in levels if svn >= level.isvsvn), None)
    if level is None:
        raise TcbNotSupported(f"version {svn} of {what} is below every level that Intel publishes for it")
    return level


def _part(level: Level | IsvLevel) -> Part:
    return Part(level.status, level.date, level.advisories)


def _whole(parts: Sequence[Part]) -> Part:
    return Part(
        converge(*(part.status for part in parts)),
        min(part.date for part in parts),
        tuple(dict.fromkeys(advisory for part in parts for advisory in part.advisories)),
    )


def _shortfall(
    info: TcbInfo, identity: QeIdentity, pck: PckTcb, qe: EnclaveReport, svn: bytes | None
) -> dict[str, dict[str, Any]]:
    """What is missing to the best level of each part."""
    best = next((level for level in info.levels if _is_good(level)), info.levels[0])
    have = {f"sgx.{place}": value for place, value in enumerate(pck.components)}
    need = {f"sgx.{place}": value for place, value in enumerate(best.sgx)}
    have["pcesvn"], need["pcesvn"] = pck.pcesvn, best.pcesvn
    if svn is not None:
        start = _MODULE_COMPONENTS if svn[1] else 0
        have |= {f"tdx.{place}": value for place, value in enumerate(svn) if place >= start}
        need |= {f"tdx.{place}": value for place, value in enumerate(best.tdx) if place >= start}
        module = module_of(info, svn) if svn[1] else None
        if module is not None and module.levels:
            have["tdx_module"], need["tdx_module"] = svn[0], _best_isv(module.levels)
    have["qe"], need["qe"] = qe.isv_svn, _best_isv(identity.levels)
    return {
        name: {"have": value, "need": need[name]}
        | ({"what": info.names[name]} if name in info.names else {})
        for name, value in have.items()
        if value < need[name]
    }


def _best_isv(levels: Sequence[IsvLevel]) -> int:
    return next((level.isvsvn for level in levels if _is_good(level)), levels[0].isvsvn)


def _is_good(level: Level | IsvLevel) -> bool:
    return level.status not in OUT_OF_DATE and level.status is not TcbStatus.REVOKED
