"""AWS Nitro Enclaves. ``verifier.py`` is the order of things; ``docs/verifier-nitro.md`` the checks."""

from verifier.nitro.settings import NitroSettings
from verifier.nitro.verifier import BINDING_SIZE, NitroVerifier

__all__ = ["BINDING_SIZE", "NitroSettings", "NitroVerifier"]
