"""Evidence in; claims, appraisal and attestation result (EAR) out."""
