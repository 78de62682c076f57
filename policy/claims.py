"""AR4SI trust claims: names, values, tiers; what a policy may return and how floors apply.

Source: draft-ietf-rats-ar4si section 2.3 (trustworthiness claims and their values) and
draft-ietf-rats-ear section 3.2 (status and trustworthiness vector).

Invariants:

* A policy returns an object of claim name to integer. Anything else (a float, text, boolean, an unknown
  name, a number outside -128..127) is refused, never converted.
* A value outside the enumeration but inside the 8-bit range keeps its tier by range, as AR4SI says; the
  tiers are the only thing decided on.
* A claim that the policy leaves out is 0, "no claim": tier none, which affirms nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from policy.errors import PolicyResultInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

# In the order of their AR4SI index, 0 to 7.
CLAIM_NAMES: Final = (
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
)
NONE: Final = "none"
AFFIRMING: Final = "affirming"
WARNING: Final = "warning"
CONTRAINDICATED: Final = "contraindicated"

_LOWEST, _HIGHEST = -128, 127
_MAX_EXTENSION_NAME: Final = 128
# Members of an EAR submodule that the verifier itself fills (draft-ietf-rats-ear section 3.2).
_RESERVED: Final = frozenset(
    {
        "ear.status",
        "ear.trustworthiness-vector",
        "ear.appraisal-policy-id",
        "ear.veraison.annotated-evidence",
    }
)
# AR4SI section 2.3.2: value ranges per tier, tried from the innermost out.
_TIERS: Final = ((-1, 1, NONE), (-32, 31, AFFIRMING), (-96, 95, WARNING))
# How much worse one tier is than another when a floor applies: "no claim" is worse than an
# affirmation, since it affirms nothing, and better than a warning.
_SEVERITY: Final = {AFFIRMING: 0, NONE: 1, WARNING: 2, CONTRAINDICATED: 3}
# EAR's own order for a submodule's status, in which an absent claim does not spoil the others.
STATUS_ORDER: Final = (NONE, AFFIRMING, WARNING, CONTRAINDICATED)


def tier(value: int) -> str:
    """The tier of a claim value in -128..127."""
    for low, high, name in _TIERS:
        if low <= value <= high:
            return name
    return CONTRAINDICATED


def parse_trust_claims(value: object) -> dict[str, int]:
    """The trust vector that a policy returned, complete (left-out claims are 0).

    Raises:
        PolicyResultInvalid: undefined, not an object, empty, an unknown claim name, or a value that is
            not an integer in -128..127.
    """
    if value is None:
        raise PolicyResultInvalid("the policy does not define trust_claims for this evidence")
    if not isinstance(value, dict) or not value:
        raise PolicyResultInvalid("trust_claims is not an object with at least one claim")
    for name, claim in value.items():
        if name not in CLAIM_NAMES:
            raise PolicyResultInvalid(f"trust_claims has an unknown claim {str(name)[:64]!r}")
        if type(claim) is not int or not _LOWEST <= claim <= _HIGHEST:
            raise PolicyResultInvalid(f"trust claim {name} is not an integer in -128..127")
    return {name: value.get(name, 0) for name in CLAIM_NAMES}


def parse_extensions(value: object) -> dict[str, Any]:
    """The extensions that a policy returned, name to value; none where the rule is undefined.

    Each is ``{"name", "key", "value"}`` (a claim of the submodule, and its key in the CBOR form).

    Raises:
        PolicyResultInvalid: not a collection of such objects, a name twice, or one of the EAR's own.
    """
    if value is None:
        return {}
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise PolicyResultInvalid("extensions is not a list or set of objects")
    found: dict[str, Any] = {}
    for item in value:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or "value" not in item or type(item.get("key")) is not int:
            raise PolicyResultInvalid("an extension is not an object with name, key and value")
        if name in found or name in _RESERVED or len(name) > _MAX_EXTENSION_NAME:
            raise PolicyResultInvalid(f"the extension {name[:64]!r} is there already, or too long")
        found[name] = item["value"]
    return found


def is_claim_value(text: str) -> bool:
    """Whether a number, as it is written, can be a claim's value."""
    try:
        return _LOWEST <= int(text) <= _HIGHEST
    except ValueError:
        return False


def apply_floors(claims: Mapping[str, int], floors: Mapping[str, int]) -> dict[str, int]:
    """``claims`` with every one at least as bad as its floor.

    A floor of 0 takes away an affirmation without contraindicating anything.
    """
    floored = dict(claims)
    for name, floor in floors.items():
        if _SEVERITY[tier(floor)] > _SEVERITY[tier(floored.get(name, 0))]:
            floored[name] = floor
    return floored


def status(claims: Mapping[str, int]) -> str:
    """EAR status of a vector: the worst tier, ``none`` only where no claim is made at all."""
    return max((tier(value) for value in claims.values()), key=STATUS_ORDER.index, default=NONE)
