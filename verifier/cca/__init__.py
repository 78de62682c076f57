"""Arm CCA. ``verifier.py`` is the order of things; ``docs/verifier-cca.md`` the table of checks."""

from verifier.cca.settings import CcaSettings
from verifier.cca.verifier import BINDING_SIZE, CcaVerifier

__all__ = ["BINDING_SIZE", "CcaSettings", "CcaVerifier"]
