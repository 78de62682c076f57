"""Rego: the engine port, its two engines, the project's Rego profile, shipped policies, versions."""
