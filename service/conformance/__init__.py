"""Runs the cases of a conformance manifest on the real rooms, offline."""
