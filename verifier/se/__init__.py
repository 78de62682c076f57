"""IBM Secure Execution. ``verifier.py`` is the order of things; ``docs/verifier-se.md`` has the checks."""

from verifier.se.settings import SeSettings
from verifier.se.verifier import BINDING_SIZE, SeVerifier

__all__ = ["BINDING_SIZE", "SeSettings", "SeVerifier"]
