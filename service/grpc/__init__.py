"""The gRPC services of Confidential Containers, in a process of their own.

gRPC's library has threads of its own that do not survive a fork, so it never lives in a process that forks
or was forked from one that used it: ``service.grpc.supervisor``, which the server process runs, starts
``service.grpc.child`` by executing a new interpreter. Only what runs in that process imports ``grpc``.
"""
