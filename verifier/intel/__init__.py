"""What Intel's TEEs have in common: quotes, their endorsement by Intel, and the status of a platform's TCB.

``quote`` takes bytes apart; ``pck`` and ``chain`` lead from a quote to Intel's root; ``tcb_info``,
``qe_identity`` and ``revocation`` read signed collateral; ``convergence`` says what the platform's status
is; ``verify`` is the order of things. ``verifier.tdx`` and ``verifier.sgx`` rest on it.
"""
