"""The FUSE kernel protocol: bytes to messages and back. No I/O."""
