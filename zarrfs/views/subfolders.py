"""`Subfolders`: several views of one store, each in a folder of its own.

Owns the first name of each key; the rest is the views' business. All methods
may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zarrfs.errors import KeyNotFoundError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, LeavesOut, Listed
from zarrfs.views.view import ROOT_PREFIX, Hidden, HidesNodes, View
from zarrfs.zarr_format.keys import join_key


class Subfolders(View):
    """Views by folder, over the one backend that they all show."""

    name = "subfolders"

    def __init__(self, views: Mapping[str, Backend], source: Backend) -> None:
        super().__init__(source)
        self.views = dict(views)

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        view, rest = self._view(key)
        return view.get(rest, start, stop)

    def stat(self, key: Key) -> KeyStat:
        view, rest = self._view(key)
        return view.stat(rest)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        if not prefix:
            yield from (Listed(name, True) for name in self.views)
            return
        name, _, rest = prefix.partition("/")
        if name in self.views:
            yield from self.views[name].list_dir(Key(rest))

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        for name, view in self.views.items():
            if isinstance(view, HidesNodes):
                for path, reason in view.hidden():
                    yield Hidden(join_key(name, path), reason)

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        name, _, rest = prefix.partition("/")
        view = self.views.get(name)
        return view.left_out(Key(rest)) if isinstance(view, LeavesOut) else {}

    def _view(self, key: Key) -> tuple[Backend, Key]:
        name, slash, rest = key.partition("/")
        if not slash or name not in self.views:
            raise KeyNotFoundError(key)
        return self.views[name], Key(rest)
