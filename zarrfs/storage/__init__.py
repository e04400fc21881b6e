"""Storage: the Zarr-aware facade over one backend, and the backends."""
