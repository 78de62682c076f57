"""Evidence over a relying party's own challenge, without a server of ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from common.errors import Malformed
from wire.rcar import AppraisalRequest, Challenge

if TYPE_CHECKING:
    from guest_agent.attesters import Attester
    from wire.rcar import InitData

_BANK: Final = re.compile(r"(sha1|sha256|sha384|sha512):([0-9]{1,2}(?:,[0-9]{1,2})*)\Z")


def collect_over(
    attester: Attester,
    report_data: bytes,
    *,
    registers: dict[str, list[int]] | None = None,
    init_data: InitData | None = None,
) -> AppraisalRequest:
    """Evidence that carries exactly ``report_data``, as a request that names it.

    Args:
        attester: makes the evidence.
        report_data: as many bytes as the TEE's field has.
        registers: TPM: bank to the indexes to quote.
        init_data: launch data to send along.

    Raises:
        Malformed: another size, or a TPM without registers.
        UnavailableError: the TEE's interface does not answer.
    """
    if len(report_data) != attester.binding_size:
        raise Malformed(
            f"report data of {attester.tee} evidence has {attester.binding_size} bytes,"
            f" not {len(report_data)}"
        )
    asked = Challenge(nonce="", audience="", expires_at="", pcr_selection=registers)
    return AppraisalRequest(
        evidence=attester.collect(report_data, asked),
        report_data=report_data.hex(),
        init_data=init_data,
    )


def parse_registers(text: str | None) -> dict[str, list[int]] | None:
    """``sha256:0,1,2+sha384:0`` as bank to indexes; None for None.

    Raises:
        Malformed: of another form, or a bank named twice.
    """
    if text is None:
        return None
    registers: dict[str, list[int]] = {}
    for part in text.split("+"):
        match = _BANK.match(part)
        if match is None or match[1] in registers:
            raise Malformed("registers are given as sha256:0,1,2+sha384:0, each bank once")
        registers[match[1]] = sorted({int(index) for index in match[2].split(",")})
    return registers
