"""Intel SGX: an enclave's measurement and what its signer says of it."""
