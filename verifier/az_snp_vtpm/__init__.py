"""Azure confidential VMs on AMD SEV-SNP: a vTPM quote by a key that an SNP report vouches for."""

from verifier.az_snp_vtpm.verifier import AzSnpVtpmVerifier

__all__ = ["AzSnpVtpmVerifier"]
