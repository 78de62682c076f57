"""Measured boot, for TPM registers and for what TDX shares with them: events, images, command lines."""
