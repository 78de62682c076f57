"""What every room needs and none owns: errors, check records, strict encodings, bounded I/O.

Imports only the standard library, ``msgspec`` and (``common.fetch``) ``urllib3``, so that the guest agent
can rest on it.
"""
