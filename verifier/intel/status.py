"""TCB statuses, and how those of platform, TDX module and quoting enclave become one.

Source: Intel TDX DCAP Quote Verification Library, ``TCB status converging``: a module or quoting enclave
that is out of date makes the whole out of date, keeps a needed configuration, and takes the place of
needed software hardening; what is revoked stays revoked.

The table falls out of one rule: a status is a set of shortcomings, and the whole has all of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class TcbStatus(StrEnum):
    """As Intel spells it."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    REVOKED = "Revoked"


# The word that other TEEs use too (``verifier.tee.CommonClaims``).
COMMON: Final = {
    TcbStatus.UP_TO_DATE: "up-to-date",
    TcbStatus.SW_HARDENING_NEEDED: "sw-hardening-needed",
    TcbStatus.CONFIGURATION_NEEDED: "configuration-needed",
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: "configuration-needed",
    TcbStatus.OUT_OF_DATE: "out-of-date",
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: "out-of-date",
    TcbStatus.TD_RELAUNCH_ADVISED: "relaunch-advised",
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: "relaunch-advised",
    TcbStatus.REVOKED: "revoked",
}
OUT_OF_DATE: Final = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
# What Intel's collateral gives a level; advice to relaunch is a conclusion, never given.
GIVEN: Final = frozenset(TcbStatus) - {
    TcbStatus.TD_RELAUNCH_ADVISED,
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
}

_OLD: Final = 1
_CONFIGURATION: Final = 2
_HARDENING: Final = 4
_REVOKED: Final = 8
_SHORTCOMINGS: Final = {
    TcbStatus.UP_TO_DATE: 0,
    TcbStatus.SW_HARDENING_NEEDED: _HARDENING,
    TcbStatus.CONFIGURATION_NEEDED: _CONFIGURATION,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: _CONFIGURATION | _HARDENING,
    TcbStatus.OUT_OF_DATE: _OLD,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: _OLD | _CONFIGURATION,
    TcbStatus.REVOKED: _REVOKED,
}
_WITHOUT_AGE: Final = {
    0: TcbStatus.UP_TO_DATE,
    _HARDENING: TcbStatus.SW_HARDENING_NEEDED,
    _CONFIGURATION: TcbStatus.CONFIGURATION_NEEDED,
    _CONFIGURATION | _HARDENING: TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
}


def converge(*statuses: TcbStatus) -> TcbStatus:
    """One status of those that collateral gave; relaunch advice is no such status."""
    all_of_them = 0
    for status in statuses:
        all_of_them |= _SHORTCOMINGS[status]
    if all_of_them & _REVOKED:
        return TcbStatus.REVOKED
    if all_of_them & _OLD:
        needs = all_of_them & _CONFIGURATION
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED if needs else TcbStatus.OUT_OF_DATE
    return _WITHOUT_AGE[all_of_them]


def with_relaunch(at_launch: TcbStatus, now: TcbStatus) -> TcbStatus:
    """Status of a TD that was launched under one TCB and runs under another.

    Out of date at launch alone: nothing on the platform is to be updated, the TD is to be launched again.
    """
    if at_launch not in OUT_OF_DATE or now in OUT_OF_DATE or now is TcbStatus.REVOKED:
        return at_launch
    needs = (_SHORTCOMINGS[at_launch] | _SHORTCOMINGS[now]) & _CONFIGURATION
    return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED if needs else TcbStatus.TD_RELAUNCH_ADVISED
