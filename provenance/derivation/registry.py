"""The derivation rules by name, each with its version: a rule that changes gets a new version.

Order: the rule is looked up -> the rule binds artefacts to subjects -> parses -> derives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from provenance.derivation import artifact_digests, init_data, manifest_values, stated
from provenance.derivation.boot import event_log_prediction, tpm_pcrs
from provenance.derivation.disk import verity_rules
from provenance.derivation.sgx import enclave as sgx
from provenance.derivation.snp import snp_id_block, snp_launch
from provenance.derivation.tdx import tdx_mrtd, tdx_rtmr
from provenance.errors import RuleUnknown
from provenance.model import AdmittedStatement, Artifact, DerivationRequest, DerivedValue

Apply = Callable[[AdmittedStatement, DerivationRequest, Sequence[Artifact]], tuple[DerivedValue, ...]]


class Rule(msgspec.Struct, frozen=True):
    """One derivation rule.

    Attributes:
        name: as requests name it.
        version: raised whenever the same input would give another value.
        apply: the rule itself.
    """

    name: str
    version: int
    apply: Apply


_RULES: Final = {
    rule.name: rule
    for rule in (
        Rule(artifact_digests.NAME, artifact_digests.VERSION, artifact_digests.apply),
        Rule(init_data.NAME, init_data.VERSION, init_data.apply),
        Rule(verity_rules.VERITY_NAME, verity_rules.VERITY_VERSION, verity_rules.apply_verity),
        Rule(verity_rules.CMDLINE_NAME, verity_rules.CMDLINE_VERSION, verity_rules.apply_cmdline),
        Rule(sgx.NAME, sgx.VERSION, sgx.apply),
        Rule(snp_id_block.NAME, snp_id_block.VERSION, snp_id_block.apply),
        Rule(snp_launch.NAME, snp_launch.VERSION, snp_launch.apply),
        Rule(manifest_values.NAME, manifest_values.VERSION, manifest_values.apply),
        Rule(stated.NAME, stated.VERSION, stated.apply),
        Rule(tdx_mrtd.NAME, tdx_mrtd.VERSION, tdx_mrtd.apply),
        Rule(tdx_rtmr.NAME, tdx_rtmr.VERSION, tdx_rtmr.apply),
        Rule(tpm_pcrs.NAME, tpm_pcrs.VERSION, tpm_pcrs.apply),
        Rule(event_log_prediction.NAME, event_log_prediction.VERSION, event_log_prediction.apply),
    )
}


def rules() -> tuple[Rule, ...]:
    """Every rule there is, by name."""
    return tuple(_RULES[name] for name in sorted(_RULES))


def derive(
    admitted: AdmittedStatement, request: DerivationRequest, artifacts: Sequence[Artifact]
) -> tuple[DerivedValue, ...]:
    """Derive the values that an admitted statement, a launch shape and artefacts determine.

    Args:
        admitted: the statement; every artefact must be one of its subjects.
        request: rule, launch shape, subject names, group and expiry (docs/formats.md).
        artifacts: artefacts at hand.

    Returns:
        At least one value; validity starts at the statement's ``signed_at``.

    Raises:
        RuleUnknown: no rule of that name.
        SubjectMismatch: an artefact is not a subject of the statement.
        DerivationError: the inputs do not determine a measurement, or are malformed.
        PredicateUnexpected: the statement does not carry the predicate that the rule takes over.
    """
    rule = _RULES.get(request.rule)
    if rule is None:
        raise RuleUnknown(f"no derivation rule of that name; there are: {', '.join(sorted(_RULES))}")
    return rule.apply(admitted, request, artifacts)
