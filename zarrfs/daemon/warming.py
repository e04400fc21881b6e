"""Imports what workers need, once, in the process that they are forked from.

A worker's successor is then ready in some milliseconds instead of after two
hundred modules, and the modules' memory is shared. Called from a process with
one thread, and leaves it so: a second one would not survive a fork.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator
from typing import Final

from zarrfs.daemon.mounting import MountSpec, picks_native
from zarrfs.daemon.sources import MEMORY, is_memory

_ALWAYS: Final = (
    "zarrfs.daemon.replacements",
    "zarrfs.storage.registry",
    "zarrfs.storage.storage",
    "zarrfs.vfs.filesystem",
    "zarrfs.frontends.native",
)
_OF_KIND: Final = {
    MEMORY: ("zarrfs.storage.memory",),
    "directory": ("zarrfs.storage.directory", "zarrfs.storage.directory.survival"),
    "zip": ("zarrfs.storage.zip.backend",),
    "writable zip": ("zarrfs.storage.zip.backend", "zarrfs.storage.zip.writable"),
}
_OF_VIEWS: Final = (
    "zarrfs.vfs.key_tree",
    "zarrfs.views.registry",
    "zarrfs.views.chunk_cache",
    "zarrfs.views.closing",
    "zarrfs.views.consolidated",
    "zarrfs.views.formats",
    "zarrfs.views.writing",
)
_OF_VIEW: Final = {
    "decoded": "zarrfs.views.decoded",
    "filled": "zarrfs.views.filled",
    "flat": "zarrfs.views.flat",
    "netcdf": "zarrfs.views.netcdf",
}


def warm_up(specs: Iterable[MountSpec]) -> None:
    """Import what these mounts need, and allow them as many descriptors as may be.

    What cannot be imported fails in its worker.
    """
    allow_descriptors()
    # numpy's linear algebra would start threads, and nobody here needs it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MKL_NUM_THREADS", "1")
    for name in dict.fromkeys(name for spec in specs for name in _needed(spec)):
        try:
            importlib.import_module(name)
        except ImportError:
            pass


def allow_descriptors() -> None:
    """Raise the soft limit to the hard one: a file that a client has open may be one here.

    Source: getrlimit(2). The soft limit is small for the sake of select(2) alone.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _needed(spec: MountSpec) -> Iterator[str]:
    if not picks_native(spec.options):
        return
    yield from _ALWAYS
    yield from _OF_KIND.get(_kind(spec), ())
    views = [*spec.options.view, *(name for _, chain in spec.views for name in chain)]
    if views:
        yield from _OF_VIEWS
        yield from (_OF_VIEW[name] for name in views if name in _OF_VIEW)


def _kind(spec: MountSpec) -> str:
    """Guess what the worker will find out; a wrong guess costs time alone."""
    if is_memory(spec.source, spec.kind):
        return MEMORY
    kind = spec.kind or ("directory" if os.path.isdir(spec.source) else "zip")
    writable = spec.create or spec.options.read_only is False
    return f"writable {kind}" if kind == "zip" and writable else kind
