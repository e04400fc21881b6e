"""What an archive shows, read by its backend."""

from __future__ import annotations

from pathlib import Path

from zarrfs.storage.backend import Key
from zarrfs.storage.zip.backend import ZipBackend


def content_of(path: Path) -> dict[str, bytes]:
    backend = ZipBackend.open(str(path), read_only=True)
    try:
        return {key: bytes(backend.get(key)) for key in backend.list_keys(Key(""))}
    finally:
        backend.close()
