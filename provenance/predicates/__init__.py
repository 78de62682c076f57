"""Predicates, strictly: one module per type, and what their facts mean (sources, GitHub certificates)."""
