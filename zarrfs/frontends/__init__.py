"""Frontends: the kernel protocol (`native`) or libfuse (`fusepy`), translated to `vfs`."""
