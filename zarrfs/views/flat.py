"""The view `flat`: every array as files of plain values.

    a/b.raw     values in C order, little-endian
    a/b.npy     the same, as numpy's own format: np.load(..., mmap_mode="r")
    a/b.nhdr    a header for b.raw (NRRD)
    a/b.hdr     another (ENVI), where the type has one
    a/b.json    shape, dtype, fill value and attributes

An array at the store's root is called `array`. Sizes are exact at once, any
range decodes only the chunks that it touches. All methods may be called from
several threads at once.
"""

from __future__ import annotations

from typing import Any, Final

from zarrfs.storage.backend import Backend
from zarrfs.views.arrays import decodable_array, plain_dtype, stored_array
from zarrfs.views.chunks import DecodedChunks
from zarrfs.views.flat_arrays import FlatArray
from zarrfs.views.flat_headers import envi_header, npy_header, nrrd_header
from zarrfs.views.freshness import ContentTime
from zarrfs.views.node_files import FixedFile, JoinedFile, MadeFiles, NodeFile, NodeFilesView
from zarrfs.views.nodes import SourceNode
from zarrfs.zarr_format.codecs import Pipeline
from zarrfs.zarr_format.documents import encode_document
from zarrfs.zarr_format.dtypes import DataType
from zarrfs.zarr_format.fill_values import fill_value_to_v3, zero
from zarrfs.zarr_format.keys import split_key

RAW: Final = ".raw"
NPY: Final = ".npy"
NRRD: Final = ".nhdr"
ENVI: Final = ".hdr"
DESCRIPTION: Final = ".json"


class FlatView(NodeFilesView):
    """Arrays as files; groups as folders."""

    name = "flat"
    suffixes = (RAW, NPY, NRRD, ENVI, DESCRIPTION)
    root_stem = "array"

    def shows(self, node: SourceNode) -> bool:
        return node.is_array

    def make_files(self, node: SourceNode) -> MadeFiles:
        array, pipeline = decodable_array(self.source, node)
        dtype = plain_dtype(pipeline)
        shape = array.layout.shape
        fill = plain_fill(pipeline)
        chunks = DecodedChunks(array.chunks, pipeline, dtype, self.cache, static=self.static)
        values = FlatArray(shape, dtype, chunks, fill)
        header = npy_header(shape, dtype)
        parts: list[tuple[int, NodeFile]] = [(0, FixedFile(header)), (len(header), values)]
        files: dict[str, NodeFile] = {
            RAW: values,
            NPY: JoinedFile(parts, len(header) + values.size_bytes),
            DESCRIPTION: FixedFile(_description(node, shape, dtype, pipeline)),
        }
        stem = split_key(node.path)[1] or self.root_stem
        shown_fill = None if pipeline.spec.fill_value is None else fill
        for suffix, text in (
            (NRRD, nrrd_header(shape, dtype, stem + RAW)),
            (ENVI, envi_header(shape, dtype, stem, shown_fill)),
        ):
            if text is not None:
                files[suffix] = FixedFile(text)
        return MadeFiles(files, content_time(self.source, node))


def plain_fill(pipeline: Pipeline) -> Any:
    """Return what chunks that were never written hold, little-endian."""
    spec = pipeline.spec
    fill = zero(spec.data_type) if spec.fill_value is None else spec.fill_value
    return fill.astype(plain_dtype(pipeline))


def content_time(source: Backend, *nodes: SourceNode) -> ContentTime:
    """Return the time of files that show all the values of some arrays."""
    newest = max(node.mtime_ns for node in nodes)
    chunks = [stored_array(source, node).chunks for node in nodes if node.is_array]
    return ContentTime(newest, chunks, static=source.static)


def _description(node: SourceNode, shape: tuple[int, ...], dtype: Any, pipeline: Pipeline) -> bytes:
    plain = DataType(dtype)
    fill = pipeline.spec.fill_value
    document = {
        "shape": list(shape),
        "dtype": dtype.str if dtype.names is None else str(dtype),
        "order": "C",
        "fill_value": None if fill is None else fill_value_to_v3(plain_fill(pipeline), plain),
        "attributes": dict(node.attributes),
    }
    return encode_document(document, node.path)
