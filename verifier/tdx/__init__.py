"""Intel TDX. ``verifier.py`` is the order of things; ``docs/verifier-tdx.md`` the table of checks."""
