"""gRPC contracts (``*.proto``) and the code that ``make protos`` generates from them, never edited."""
