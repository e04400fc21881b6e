"""Extended attributes that tell what a path is: `getfattr -d` shows them.

    user.zarr.kind     group, array, metadata or chunk
    user.zarr.format   2 or 3                       (groups and arrays)
    user.zarr.shape    [1000, 1000]                 (arrays)
    user.zarr.chunks   [100, 100]                   (arrays; the inner chunks of shards)
    user.zarr.shards   [1000, 1000]                 (sharded arrays)
    user.zarr.dtype    <f4, or float32              (arrays, as the document spells it)
    user.zarr.codecs   ["bytes", "zstd"]            (arrays)
    user.zarr.hidden   {"x": "why it is not shown"} (folders of a view that leaves x out)

They are computed from the documents when they are asked for and cannot be
set. Lists are JSON. Any thread may call this module.

Specification: xattr(7).
"""

from __future__ import annotations

import json

from zarrfs.errors import AttributeNotFoundError
from zarrfs.storage.tree import FileTree, NodeId, TellsLeftOut
from zarrfs.vfs.zarr_nodes import ZarrNodes

PREFIX = b"user.zarr."


class ZarrAttributes:
    """The virtual attributes of one tree."""

    def __init__(self, tree: FileTree, nodes: ZarrNodes) -> None:
        self._tree = tree
        self._nodes = nodes

    @staticmethod
    def owns(name: bytes) -> bool:
        """Whether an attribute is of this module's making."""
        return name.startswith(PREFIX)

    def names(self, nodeid: NodeId) -> list[bytes]:
        return list(self._values(nodeid))

    def value(self, nodeid: NodeId, name: bytes) -> bytes:
        """Raises: AttributeNotFoundError."""
        try:
            return self._values(nodeid)[name].encode()
        except KeyError:
            raise AttributeNotFoundError(name.decode("utf-8", "replace")) from None

    def _values(self, nodeid: NodeId) -> dict[bytes, str]:
        kind = self._nodes.kind(nodeid)
        values: dict[str, str] = {} if kind is None else {"kind": kind}
        if kind in ("group", "array"):
            values.update(self._of_folder(nodeid))
        if kind in ("group", None) and isinstance(self._tree, TellsLeftOut):
            left_out = self._tree.left_out(nodeid)
            if left_out:
                values["hidden"] = json.dumps(dict(left_out))
        return {PREFIX + name.encode(): value for name, value in values.items()}

    def _of_folder(self, nodeid: NodeId) -> dict[str, str]:
        key = self._tree.key_of(nodeid)
        node = None if key is None else self._nodes.node_at(key)
        if node is None:
            return {}
        values = {"format": str(node.zarr_format)}
        layout = node.layout
        if layout is not None:
            values["shape"] = json.dumps(layout.shape)
            values["chunks"] = json.dumps(layout.inner_chunk_shape or layout.chunk_shape)
            values["dtype"] = layout.dtype
            values["codecs"] = json.dumps(layout.codecs)
            if layout.is_sharded:
                values["shards"] = json.dumps(layout.chunk_shape)
        return values
