"""Keys and resources at rest, release decisions, the audit log."""
