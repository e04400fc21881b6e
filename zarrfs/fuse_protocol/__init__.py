"""The FUSE kernel protocol: bytes to messages and back. No I/O.

`opcodes` is the table to start from; `requests` and `replies` are its two
halves, `negotiation` is INIT, `directory` packs listings, `notifications` is
what the daemon says unasked. Follows `include/uapi/linux/fuse.h`, 7.12 to 7.45.
"""
