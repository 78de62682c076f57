"""AMD SEV and SEV-ES, without SNP. ``verifier.py`` has the order, ``docs/verifier-sev.md`` the checks."""
