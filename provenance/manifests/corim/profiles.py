"""What published profiles demand beyond the base draft; a CoRIM that names one is held to it.

* AMD SEV-SNP: the keys of reference measurements are unsigned integers.
* Arm CCA platform: a reference triple names its class by a 32-byte implementation id and no instance;
  measurements are software components (with digests and the signer's id) and the platform configuration
  (a raw value).
* Arm CCA realm: the class is the realm's initial measurement; that measurement is stated, and registers
  have digests.
* Touchstone's own adds one member to measurement values, see ``measurements``.

A profile without an entry here adds no rule; whether it may be named at all is the trust root's choice. Key
triples are not read, so what profiles say of them is not held.

Sources: draft-deeglaze-amd-sev-snp-corim-profile, "Reference values"; draft-ydb-rats-cca-endorsements-04,
sections on platform and realm reference values. The failing fixtures of veraison/services name the same
rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from provenance.errors import ManifestMalformed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.manifests.corim.comid import Comid
    from provenance.manifests.values import Fact

# Ours: measurement values that the base draft has no member for (``measurements.SCALAR``).
TOUCHSTONE: Final = "urn:touchstone:corim:1"
AMD_SNP: Final = "tag:amd.com,2024:snp-corim-profile"
ARM_CCA_PLATFORM: Final = "tag:arm.com,2025:cca_platform#1.0.0"
ARM_CCA_REALM: Final = "tag:arm.com,2025:cca_realm#1.0.0"
_IMPLEMENTATION_ID: Final = re.compile(r"bytes:[0-9a-f]{64}\Z")
# SHA-256, SHA-384 or SHA-512 of the realm's initial content.
_INITIAL_MEASUREMENT: Final = re.compile(r"bytes:(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})\Z")
_COMPONENT, _CONFIGURATION = "text:cca.software-component", "text:cca.platform-config"
_RIM, _RPV = "text:cca.rim", "text:cca.rpv"
_REALM_KEYS: Final = frozenset({_RIM, _RPV, *(f"text:cca.rem{index}" for index in range(4))})


def require(profile: str | None, comids: Sequence[Comid]) -> None:
    """Hold CoMIDs to the profile.

    Raises:
        ManifestMalformed: one breaks a rule of it.
    """
    rule = _RULES.get(profile or "")
    if rule is None:
        return
    for item in comids:
        groups: dict[str, list[Fact]] = {}
        for fact in item.facts:
            if not fact.endorsed:
                groups.setdefault(fact.group, []).append(fact)
        for facts in groups.values():
            rule(facts)


def _amd_snp(facts: Sequence[Fact]) -> None:
    _demand(all(fact.key.startswith("uint:") for fact in facts), "AMD SEV-SNP: keys are integers")


def _cca_platform(facts: Sequence[Fact]) -> None:
    environment = facts[0].environment
    _demand(
        _IMPLEMENTATION_ID.match(environment.get("class-id", "")) is not None
        and not {"instance", "group"} & environment.keys(),
        "Arm CCA platform: the class is a 32-byte implementation id, without an instance",
    )
    for key, fields in _fields(facts).items():
        if key == _COMPONENT or key.startswith(f"{_COMPONENT}/"):
            complete = "key-id" in fields and _has_digest(fields)
            _demand(complete, "Arm CCA platform: a software component has digests and a signer's id")
        else:
            _demand(
                key == _CONFIGURATION and bool({"raw-value", "masked-value"} & fields),
                "Arm CCA platform: a measurement is a software component or the configuration's raw value",
            )


def _cca_realm(facts: Sequence[Fact]) -> None:
    _demand(
        _INITIAL_MEASUREMENT.match(facts[0].environment.get("class-id", "")) is not None,
        "Arm CCA realm: the class is the realm's initial measurement",
    )
    found = _fields(facts)
    _demand(
        _RIM in found and found.keys() <= _REALM_KEYS, "Arm CCA realm: the initial measurement is stated"
    )
    for key, fields in found.items():
        complete = "raw-value" in fields if key == _RPV else _has_digest(fields)
        _demand(complete, "Arm CCA realm: registers have digests, the personalisation value is raw")


def _fields(facts: Sequence[Fact]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for fact in facts:
        found.setdefault(fact.key, set()).add(fact.field)
    return found


def _has_digest(fields: set[str]) -> bool:
    return any(field.startswith("digest.") for field in fields)


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise ManifestMalformed(f"the CoRIM breaks its profile; {rule}")


_RULES: Final[dict[str, Callable[[Sequence[Fact]], None]]] = {
    AMD_SNP: _amd_snp,
    ARM_CCA_PLATFORM: _cca_platform,
    ARM_CCA_REALM: _cca_realm,
}
