"""gRPC contracts (``*.proto``) and the code generated from them by ``make protos``; generated files are not edited."""
