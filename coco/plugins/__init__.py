"""Plugins of the KBS API: what answers under ``/kbs/v0/<name>/``."""
