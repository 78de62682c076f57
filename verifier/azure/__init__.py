"""What Azure's confidential VMs on AMD SEV-SNP and Intel TDX share: a vTPM that a paravisor vouches for.

The paravisor (HCL) runs at the guest's highest privilege, makes a vTPM, and asks the hardware for a report
over the vTPM's attestation key. Trust goes: vendor's root, hardware report, runtime claims (by their hash
in the report), attestation key, quote, registers.

Modules: ``hcl`` (the report's bytes), ``runtime_claims`` (their JSON), ``documents`` (evidence),
``binding`` (hardware report to runtime claims), ``vtpm`` (the quote), ``claims``, ``coco``.

Sources: Microsoft, "Confidential VM guest attestation design detail" (HCL report); openvmm,
openhcl_attestation_protocol (request structure, report and hash types).
"""
