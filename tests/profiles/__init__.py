"""The profiles under ``deploy/profiles``: each through the whole loop, and its files."""
