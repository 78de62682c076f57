"""One process inside the guest: attestation-agent, confidential-data-hub and api-server-rest in one.

``process`` composes and runs; ``services`` is what REST (``rest``) and gRPC (``rpc``) both call; everything
else is one concern a module. Only ``rpc`` imports grpc, which the base installation does not have.
"""
