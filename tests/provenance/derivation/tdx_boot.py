"""Requests of rule ``tdx-rtmr``, and its register arithmetic a second time."""

from __future__ import annotations

import hashlib
from typing import Any

from provenance.derivation import derive as apply_rule
from provenance.model import Artifact, DerivationRequest, DerivedValue
from tests.provenance.derivation.material import admitted, subject

GIB = 1 << 30
VARIABLES = [{"kind": "variable", "name": name, "role": None} for name in ("PK", "KEK", "db", "dbx")]
EXIT = [
    {"kind": "action", "text": "Exit Boot Services Invocation"},
    {"kind": "action", "text": "Exit Boot Services Returned with Success"},
]
CALLING = {"kind": "action", "text": "Calling EFI Application from Boot Option"}
SEPARATOR = {"kind": "separator"}


def derive(launch: dict[str, Any], **artefacts: bytes) -> tuple[DerivedValue, ...]:
    named = {role.replace("_", "-"): data for role, data in artefacts.items()}
    statement = admitted(
        subject("nothing", b"nothing"), *(subject(role, data) for role, data in named.items())
    )
    given_ = [Artifact(role, role, data) for role, data in named.items()]
    return apply_rule(statement, DerivationRequest(rule="tdx-rtmr", launch=launch), given_)


def value_of(launch: dict[str, Any], **artefacts: bytes) -> str:
    (value,) = derive(launch, **artefacts)
    return str(value.value)


def replayed(*digests: bytes) -> str:
    value = bytes(48)
    for each in digests:
        value = hashlib.sha384(value + each).digest()
    return value.hex()


def sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()
