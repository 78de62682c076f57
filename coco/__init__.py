"""Confidential Containers: its protocols over our verifier, reference values and secrets.

Nothing here verifies evidence, decides or releases by itself: each module translates between a CoCo
document or rule and the rooms below. HTTP and gRPC are in ``service``.
"""
