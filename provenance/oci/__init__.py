"""OCI registries: what is attached to an image, found and fetched; cosign's formats, read as statements."""
