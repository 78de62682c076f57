"""The sample TEE of Confidential Containers: evidence that anybody can make. For development only."""

from __future__ import annotations

from verifier.sample.verifier import BINDING_SIZE, SampleCocoForm, SampleVerifier

__all__ = ["BINDING_SIZE", "SampleCocoForm", "SampleVerifier"]
