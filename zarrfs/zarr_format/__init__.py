"""Pure Zarr knowledge: documents, keys, codecs. No I/O."""
