"""Write side: take back an attestation, signer, builder or source revision, and all that rests on it."""
