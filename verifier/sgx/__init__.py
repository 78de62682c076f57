"""Intel SGX. ``verifier.py`` is the order of things; ``docs/verifier-sgx.md`` the table of checks."""
