"""Azure confidential VMs on Intel TDX: a vTPM quote by a key that a TD quote vouches for."""

from verifier.az_tdx_vtpm.verifier import AzTdxVtpmVerifier

__all__ = ["AzTdxVtpmVerifier"]
