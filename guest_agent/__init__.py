"""Inside the TEE: collects evidence, proves it, fetches secrets. Imports no server room."""
