"""Attestations in; verified statements and derived measurements out."""
