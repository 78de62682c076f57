"""AMD SEV-SNP. ``verifier.py`` is the order of things; ``docs/verifier.md`` the table of checks."""

from verifier.snp.settings import SnpSettings
from verifier.snp.verifier import BINDING_SIZE, SnpVerifier

__all__ = ["BINDING_SIZE", "SnpSettings", "SnpVerifier"]
