"""The view `netcdf`: every group as one netCDF file that is never written anywhere.

    a/b.nc      the arrays of group a/b as variables
    root.nc     those of the root group

Only arrays directly in a group are in its file; groups below have their own.
The header is made from the documents, values are decoded when they are read.
All methods may be called from several threads at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from zarrfs.errors import InvalidMetadataError, ZarrfsError
from zarrfs.storage.backend import Backend, Key
from zarrfs.views.chunk_cache import ChunkCache
from zarrfs.views.flat import content_time
from zarrfs.views.netcdf_attributes import attributes_of, netcdf_name
from zarrfs.views.netcdf_format import Dimension, Layout, Variable, lay_out
from zarrfs.views.netcdf_narrowing import narrowed
from zarrfs.views.netcdf_variables import Shown, show_array
from zarrfs.views.node_files import FixedFile, JoinedFile, MadeFiles, NodeFile, NodeFilesView
from zarrfs.views.nodes import SourceNode
from zarrfs.views.view import ROOT_PREFIX, Hidden
from zarrfs.zarr_format.keys import split_key

logger = logging.getLogger(__name__)

NC: Final = ".nc"


class _File(NamedTuple):
    """A group's file, and what became of each of its arrays."""

    layout: Layout
    values: tuple[NodeFile, ...]
    hidden: tuple[Hidden, ...]


class NetcdfView(NodeFilesView):
    """Groups as files; an array at the root as a file of its own."""

    name = "netcdf"
    suffixes = (NC,)

    def __init__(self, source: Backend, cache: ChunkCache) -> None:
        super().__init__(source, cache)
        self._children: dict[str, tuple[SourceNode, ...]] = {}
        """The arrays that a group's file was made of. Single operations need no lock."""
        self._left_out: dict[str, tuple[Hidden, ...]] = {}
        """By group. Single operations need no lock."""

    def shows(self, node: SourceNode) -> bool:
        return not node.is_array or not node.path

    def make_files(self, node: SourceNode) -> MadeFiles:
        arrays = self._arrays_of(node)
        self._children[node.path] = arrays
        made = self._make_file(node, arrays)
        self._left_out[node.path] = made.hidden
        parts: list[tuple[int, NodeFile]] = [(0, FixedFile(made.layout.header))]
        parts += zip(made.layout.begins, made.values, strict=True)
        left_out = {hidden.path for hidden in made.hidden}
        shown = [array for array in arrays if array.path not in left_out]
        time = content_time(self.source, node, *shown)
        return MadeFiles({NC: JoinedFile(parts, made.layout.size_bytes)}, time)

    def is_current(self, node: SourceNode) -> bool:
        if self.static:
            return True
        known = self._children.get(node.path, ())
        now = self._arrays_of(node)
        return len(known) == len(now) and all(a is b for a, b in zip(known, now, strict=True))

    def _arrays_of(self, group: SourceNode) -> tuple[SourceNode, ...]:
        if group.is_array:
            return (group,)
        return tuple(node for node in self.nodes.children(group.path) if node.is_array)

    def _make_file(self, group: SourceNode, arrays: Sequence[SourceNode]) -> _File:
        shown: list[tuple[str, Shown]] = []
        hidden: list[Hidden] = []
        for node in arrays:
            try:
                if node.problem is not None:
                    raise node.problem
                name = split_key(node.path)[1] or "array"
                shown.append((name, show_array(self.source, node, self.cache)))
            except ZarrfsError as error:
                hidden.append(self._leave_out(node, str(error)))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                odd = InvalidMetadataError("document", [f"{type(error).__name__}: {error}"])
                hidden.append(self._leave_out(node, str(odd)))
        dimensions = _Dimensions()
        names, variables_shown = [name for name, _ in shown], [array for _, array in shown]
        if self.static:
            variables_shown = narrowed(variables_shown)
        variables = list(map(dimensions.variable, names, variables_shown))
        attributes = [] if group.is_array else list(attributes_of(group.attributes))
        layout = lay_out(dimensions.dimensions, attributes, variables)
        return _File(layout, tuple(array.values for array in variables_shown), tuple(hidden))

    def _leave_out(self, node: SourceNode, reason: str) -> Hidden:
        logger.warning("%s: left out by view %s: %s", node.path, self.name, reason)
        return Hidden(node.path, f"view {self.name}: {reason}")

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        """The arrays that are in no file, told of the folder that the file lies beside."""
        found = dict(super().left_out(prefix))
        group = self.nodes.node(prefix)
        if group is not None and self.shows(group):
            self._files(group)
            for path, reason in self._left_out.get(group.path, ()):
                found[split_key(path)[1]] = reason
        return found

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        yield from super().hidden(prefix)
        for node in self.nodes.walk(prefix):
            if self.shows(node):
                self._files(node)
                yield from self._left_out.get(node.path, ())


class _Dimensions:
    """The dimensions of one file, shared by name where they are of one length."""

    def __init__(self) -> None:
        self.dimensions: list[Dimension] = []
        self._numbers: dict[str, int] = {}
        self._variables: set[str] = set()

    def variable(self, name: str, array: Shown) -> Variable:
        shown = netcdf_name(name)
        while shown in self._variables:
            shown += "_"
        self._variables.add(shown)
        numbers = map(self._number, array.dimension_names, array.shape)
        return Variable(shown, array.nc_type, tuple(numbers), array.attributes)

    def _number(self, name: str | None, length: int) -> int:
        """Return a dimension's position; a name taken by another length gets a suffix."""
        candidate = netcdf_name(name) if name else f"dim_{length}"
        while True:
            number = self._numbers.get(candidate)
            if number is None:
                self._numbers[candidate] = number = len(self.dimensions)
                self.dimensions.append(Dimension(candidate, length))
            if self.dimensions[number].length == length:
                return number
            candidate = f"{candidate}_{length}"
