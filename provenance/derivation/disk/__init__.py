"""Disks: the dm-verity root hash, and the command line that binds it."""
