"""zarrfs: a Zarr store shown as a file tree."""

from __future__ import annotations
