"""The directory backend: a store that is a folder of a real file system."""

from __future__ import annotations

from zarrfs.storage.directory.backend import DirectoryBackend
from zarrfs.storage.directory.tree import DirectoryTree

__all__ = ["DirectoryBackend", "DirectoryTree"]
