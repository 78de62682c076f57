"""JSON measurement files with a detached signature, as one document (docs/formats.md)."""
