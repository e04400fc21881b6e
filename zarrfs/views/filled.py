"""The view `filled`: chunks that were never written appear, made of the fill value.

For tools that take a missing file for an error. Nothing is stored or kept: one
encoded chunk for each array whose chunks are encoded, none where they are
plain. All methods may be called from several threads at once.
"""

from __future__ import annotations

from zarrfs.views.arrays import is_plain, stored_array
from zarrfs.views.chunks import FillChunk, FilledChunks
from zarrfs.views.faces import Documents, Face, FullGrid
from zarrfs.views.formats import own_documents
from zarrfs.views.node_view import NodeView
from zarrfs.views.nodes import SourceNode
from zarrfs.zarr_format.codecs import pipeline_of


class FilledView(NodeView):
    """Every chunk of every grid is there."""

    name = "filled"

    def array_face(self, node: SourceNode) -> Face:
        array = stored_array(self.source, node)
        pipeline = pipeline_of(node.document)
        fill = FillChunk(pipeline, plain=is_plain(pipeline))
        grid = array.layout.grid_shape
        chunks = FilledChunks(array.chunks, fill, grid, node.mtime_ns)
        documents = own_documents(node)
        return FullGrid(documents, node.mtime_ns, chunks, grid, array.layout.key_encoding)

    def group_documents(self, node: SourceNode) -> Documents:
        return own_documents(node)
