"""NVIDIA GPUs (Hopper and later) and NVSwitches. ``verifier.py`` is the order of things."""

from verifier.nvidia.settings import NvidiaSettings
from verifier.nvidia.verifier import BINDING_SIZE, NvidiaVerifier

__all__ = ["BINDING_SIZE", "NvidiaSettings", "NvidiaVerifier"]
