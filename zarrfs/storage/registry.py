"""Which backends there are: by name, by entry point, or by what a path looks like.

The only module that knows concrete backends, and it knows them as dotted names
until one is asked for. Other packages add theirs with an entry point in the
group `zarrfs.backends`, whose value is a `BackendFactory`; such a name never
hides a built-in one. All functions may be called from several threads.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, cast, runtime_checkable

from zarrfs.errors import (
    DeniedError,
    ExistsError,
    InvalidArgumentError,
    PathNotFoundError,
    UnknownBackendError,
    UnsupportedError,
)
from zarrfs.storage.backend import Backend

ENTRY_POINT_GROUP: Final = "zarrfs.backends"


@runtime_checkable
class BackendFactory(Protocol):
    """How stores of one kind are made and opened.

    A backend class fulfils this with class methods.
    """

    def init(self, path: str | None) -> Backend:
        """Make a new store for reading and writing.

        A folder that is there already is used with what it holds; a file that
        is there already is not replaced.

        Raises: PathRequiredError, ExistsError, CreateFailedError.
        """

    def open(self, path: str, *, read_only: bool) -> Backend:
        """Open the store at a path.

        Raises: PathNotFoundError, CannotOpenMemoryError (nothing can be opened
        by path), WrongKindError, CorruptError, DeniedError, ReadOnlyError (it
        can only be opened for reading).
        """

    def recognises(self, path: str) -> bool:
        """Whether a path looks like this kind of store; False when it is absent."""


BackendOrigin: TypeAlias = Literal["built-in", "registered", "entry point"]


@dataclass(frozen=True, slots=True)
class BackendDescription:
    """What the registry knows of a backend."""

    name: str
    origin: BackendOrigin
    aliases: tuple[str, ...]
    target: str
    """Dotted name of the factory, `module:attribute`."""
    summary: str
    """First line of the factory's docstring."""


_BUILT_IN: Final = {
    "memory": "zarrfs.storage.memory:MemoryBackend",
    "directory": "zarrfs.storage.directory:DirectoryBackend",
    "zip": "zarrfs.storage.zip.backend:ZipBackend",
}
_ALIASES: Final = {"filesystem": "directory"}

_lock = threading.Lock()
_registered: dict[str, BackendFactory] = {}
"""Guarded by: `_lock`."""


def canonical_name(name: str) -> str:
    """Return the registered name that an alias stands for, or the name itself."""
    return _ALIASES.get(name, name)


def register(name: str, factory: BackendFactory, *, force: bool = False) -> None:
    """Add a backend under a name; `force` replaces one registered before.

    A built-in name can be replaced with `force`, until `unregister` gives the
    built-in back.

    Raises: ExistsError without `force`; InvalidArgumentError for a name that is
    empty, an alias, or holds `:` or `/`, and for what is not a factory.
    """
    if not name or name in _ALIASES or set(name) & set(":/"):
        raise InvalidArgumentError(name, "not usable as the name of a backend")
    if not isinstance(factory, BackendFactory):
        raise InvalidArgumentError(name, "a backend factory has init, open and recognises")
    with _lock:
        if not force and (name in _registered or name in _BUILT_IN):
            raise ExistsError(name, "a backend of this name is registered", remedy="force=True")
        _registered[name] = factory


def unregister(name: str) -> None:
    """Forget a registered backend.

    Raises: UnknownBackendError; DeniedError for a built-in one.
    """
    name = canonical_name(name)
    with _lock:
        if _registered.pop(name, None) is not None:
            return
    if name in _BUILT_IN:
        raise DeniedError(name, "a built-in backend cannot be unregistered")
    raise UnknownBackendError(name, names())


def get(name: str) -> BackendFactory:
    """Return the factory of a backend, importing it now.

    Raises: UnknownBackendError; UnsupportedError when its import fails.
    """
    name = canonical_name(name)
    with _lock:
        found = _registered.get(name)
    if found is not None:
        return found
    target = _BUILT_IN.get(name) or _entry_points().get(name)
    if target is None:
        raise UnknownBackendError(name, names())
    return _load(name, target)


def names() -> tuple[str, ...]:
    """Return the names of all backends, sorted; aliases are left out."""
    with _lock:
        registered = set(_registered)
    return tuple(sorted(registered | _BUILT_IN.keys() | _entry_points().keys()))


def describe(name: str) -> BackendDescription:
    """Raises: UnknownBackendError; UnsupportedError when its import fails."""
    name = canonical_name(name)
    factory = get(name)
    owner = factory if isinstance(factory, type) else type(factory)
    return BackendDescription(
        name=name,
        origin=_origin(name),
        aliases=tuple(alias for alias, real in _ALIASES.items() if real == name),
        target=f"{owner.__module__}:{owner.__qualname__}",
        summary=(factory.__doc__ or "").strip().partition("\n")[0],
    )


def _origin(name: str) -> BackendOrigin:
    with _lock:
        if name in _registered:
            return "registered"
    return "built-in" if name in _BUILT_IN else "entry point"


def infer(path: str) -> str:
    """Return the name of the backend that recognises a path.

    What this program registered is asked first, then directory and zip (whose
    import a folder need not wait for), and other packages last: looking for
    their entry points costs more than all the rest.

    Raises: PathNotFoundError; UnsupportedError when none does.
    """
    for name in _by_speciality():
        if _cannot_be(name, path):
            continue
        try:
            if get(name).recognises(path):
                return name
        except UnsupportedError:  # another package is broken: that is not this path's fault
            continue
    if not os.path.lexists(path):
        raise PathNotFoundError(path)
    raise UnsupportedError(
        path,
        "neither a folder nor a zip archive",
        remedy="name its kind if it is one: --type, or storage= in Python",
    )


def _cannot_be(name: str, path: str) -> bool:
    """Spare the import of a built-in backend that a look at the path rules out."""
    with _lock:
        if name in _registered:
            return False
    return name in ("directory", "zip") and (name == "directory") != os.path.isdir(path)


def _by_speciality() -> Iterator[str]:
    with _lock:
        registered = sorted(_registered)
    yield from registered
    yield from (name for name in ("directory", "zip") if name not in registered)
    yield from (name for name in sorted(_entry_points()) if name not in _BUILT_IN)


def _entry_points() -> dict[str, str]:
    # Imported late: importlib.metadata costs more than the rest of zarrfs.
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(name: str, target: str) -> BackendFactory:
    module_name, _, attribute = target.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UnsupportedError(f"backend {name}", f"cannot import {target}: {error}") from error
    return cast(BackendFactory, factory)
