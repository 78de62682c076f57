"""AMD SEV-SNP: the firmware, the launch digest, the ID block."""
