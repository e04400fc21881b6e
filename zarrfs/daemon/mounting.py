"""From plain values to a mount: storage, views, tree, `Vfs`, frontend.

The only place that picks a frontend. Owns the order in which the layers are
opened and that nothing stays open when one of them fails. Any thread may call.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from zarrfs.daemon.options import MountOptions, options_from_json
from zarrfs.daemon.sources import (
    MEMORY,
    Keeps,
    is_memory,
    open_storage,
    prepare_source,
    writes_archive,
)
from zarrfs.errors import InvalidArgumentError, ReadOnlyError

if TYPE_CHECKING:
    from zarrfs.daemon.replacements import Generation, Replacements
    from zarrfs.frontends.native import NativeOptions
    from zarrfs.fuse_protocol.negotiation import Negotiated
    from zarrfs.storage.storage import Storage
    from zarrfs.storage.tree import FileTree
    from zarrfs.vfs.filesystem import Vfs
    from zarrfs.vfs.options import VfsOptions

_log = logging.getLogger("zarrfs.mounting")


_WITHOUT_RESEND = "ZARRFS_WITHOUT_RESEND"
"""With this in the environment a kernel is taken for one before 6.9, to try what happens there."""


@dataclass(frozen=True, slots=True)
class MountSpec:
    """Everything that one mount is made of; it travels between processes as JSON.

    `source` and `target` are absolute paths, or `source` is `memory:`.
    """

    source: str
    target: str
    kind: str | None = None
    """The backend's registered name; None infers it from the source."""
    create: bool = False
    """Make a new store at the source."""
    options: MountOptions = field(default_factory=MountOptions)
    name: str = ""
    required: bool = False
    """A service ends when this mount fails."""
    mkdir: bool = False
    """Make the target's folder."""
    hang_timeout_s: float = 30.0
    """A worker that is silent for so long is replaced."""
    views: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Several views at once: each in a subfolder of this name."""

    @property
    def idle_timeout_s(self) -> float | None:
        return self.options.idle_timeout_s

    def is_served_like(self, other: MountSpec) -> bool:
        """Whether one that serves this one need not notice that it is the other by now."""

        def of_the_worker(spec: MountSpec) -> MountSpec:
            options = replace(spec.options, idle_timeout_s=None, nonempty=False)
            return replace(spec, options=options, required=False, mkdir=False)

        return of_the_worker(self) == of_the_worker(other)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MountSpec:
        """Raises: KeyError and TypeError for what is none.

        Another version may have written it: what is not known is passed over.
        """
        known = {name: values[name] for name in cls.__slots__ if name in values}
        views = tuple((name, tuple(chain)) for name, chain in values.get("views", ()))
        options = options_from_json(values["options"])
        return cls(**{**known, "options": options, "views": views})


class Mount(Protocol):
    """What both frontends give back."""

    target: str

    def start(self) -> None:
        """Serve from threads; returns when the mount answers."""

    def serve(self) -> None:
        """Serve, and return when the mount is gone."""

    def unmount(self, *, lazy: bool = False) -> None:
        """Raises: BusyError, DeniedError."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the mount is gone and all is written; False when time ran out."""


class Stack(NamedTuple):
    """A source that is open, from the store itself to what is shown of it."""

    store: Storage
    storage: Storage
    """The store through the mount's views; closing it closes both."""
    tree: FileTree


class OpenFileSystem(NamedTuple):
    """A source that is open and ready to be served."""

    vfs: Vfs
    storage: Storage
    fsname: str
    """What `mount` and `df` show as the source."""
    replacements: Replacements | None = None
    """Who notices that the source was replaced, where that can be."""


def open_filesystem(spec: MountSpec, keeper: Keeps | None = None) -> OpenFileSystem:
    """Open the source, its views and its tree, ready for a frontend.

    Raises: as `open_storage`, `viewed` and `tree_and_options`.
    """
    replacements = None if keeper is None else watch_source(spec, keeper)
    stack = open_stack(spec, keeper) if replacements is None else replacements.open()
    try:
        vfs = filesystem_of(stack.storage, spec.options, stack.tree)
    except BaseException:
        stack.storage.close()
        raise
    fsname = spec.source  # as in fstab, so that `mount -a` knows it again
    return OpenFileSystem(vfs, stack.storage, fsname, replacements)


def open_stack(
    spec: MountSpec, keeper: Keeps | None, generation: Generation | None = None
) -> Stack:
    """Open the source, or one state of it, and what the mount shows of it.

    Raises: as `open_storage`, `viewed` and `tree_and_options`.
    """
    store = open_storage(spec, keeper, generation)
    storage = store
    try:
        storage = viewed(store, spec.options, spec.views)
        return Stack(store, storage, tree_and_options(storage, spec.options)[0])
    except BaseException:
        storage.close()
        raise


def watch_source(spec: MountSpec, keeper: Keeps) -> Replacements | None:
    """Return who looks after a source that others may replace; None where nobody can.

    A frontend that cannot hand its connection over cannot show another source.
    Raises: as `prepare_source` and `Replacements`.
    """
    if is_memory(spec.source, spec.kind) or not picks_native(spec.options):
        return None
    from zarrfs.daemon.replacements import Replacements, kept_kind

    kind = kept_kind(keeper) or prepare_source(spec)
    if kind not in ("zip", "directory"):
        return None

    def opens(generation: Generation, share: Keeps | None) -> Stack:
        return open_stack(spec, share, generation)

    return Replacements(
        spec.source, kind, keeper, opens, root=spec.options.root, obstacle=_obstacle(spec, kind)
    )


def _obstacle(spec: MountSpec, kind: str) -> str:
    """Return why a mount cannot show another source, or nothing.

    What is collected in a worker until it is complete would be lost with it.
    """
    if writes_archive(spec, kind):
        return "an archive that is open for writing"
    if spec.options.read_only or kind == "zip":
        return ""
    if spec.options.view or spec.views:
        return "a folder that is written through a view"
    return "validate=strict" if spec.options.validate == "strict" else ""


def viewed(
    storage: Storage,
    options: MountOptions,
    views: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> Storage:
    """Show a storage through its mount's views; closing what is returned closes both.

    Raises: InvalidArgumentError for an unknown view; ReadOnlyError with `rw`.
    """
    if not options.view and not views:
        return storage
    from zarrfs.storage.storage import Storage
    from zarrfs.views.chunk_cache import DEFAULT_BYTES, ChunkCache
    from zarrfs.views.closing import ClosesCache
    from zarrfs.views.registry import apply_views, subfolders

    cache = ChunkCache(DEFAULT_BYTES if options.cache_bytes is None else options.cache_bytes)
    if views:
        backend = subfolders(storage.backend, dict(views), cache=cache)
    else:
        backend = apply_views(storage.backend, options.view, cache=cache)
    if options.read_only is False and backend.read_only:
        cache.close()
        raise ReadOnlyError("-o rw", "a view can only be read", remedy="leave out rw")
    return Storage(ClosesCache(backend, cache))


def filesystem_of(storage: Storage, options: MountOptions, tree: FileTree) -> Vfs:
    """Show an open store's tree as a file system."""
    from zarrfs.vfs.filesystem import Vfs

    return Vfs(tree, vfs_options_of(options), storage)


def tree_and_options(storage: Storage, options: MountOptions) -> tuple[FileTree, VfsOptions]:
    """Return the tree a mount shows, and what its `Vfs` is told.

    Raises: PathNotFoundError and NotAFolderError for `root`.
    """
    tree = tree_of(storage)
    if options.root:
        from zarrfs.storage.subtree import subtree

        tree = subtree(tree, options.root)
    return tree, vfs_options_of(options)


def vfs_options_of(options: MountOptions) -> VfsOptions:
    from zarrfs.vfs.options import Validate, VfsOptions

    return VfsOptions(
        read_only=bool(options.read_only),
        uid=options.uid,
        gid=options.gid,
        fmode=options.file_mode,
        dmode=options.dir_mode,
        validate=Validate(options.validate),
    )


def tree_of(storage: Storage) -> FileTree:
    """Return a store as a tree of files: its backend's own, or one made of its keys."""
    from zarrfs.storage.backend import HasFileTree

    backend = storage.backend
    if isinstance(backend, HasFileTree):
        return backend.file_tree()
    from zarrfs.vfs.key_tree import KeyTree

    return KeyTree(backend)


def mount_filesystem(vfs: Vfs, target: str, fsname: str, options: MountOptions) -> Mount:
    """Mount at a target with the frontend that was asked for, or the best there is.

    Raises: DeniedError, BusyError, UnsupportedError, PathNotFoundError,
    NotAFolderError, UnavailableError.
    """
    if picks_native(options):
        from zarrfs.frontends.native import mount_native

        chosen_native = native_options(fsname, options, read_only=vfs.read_only)
        return mount_native(vfs, target, chosen_native)
    from zarrfs.frontends.fusepy import FusepyOptions, mount_fusepy

    for name in ("passthrough", "read_ahead_bytes", "idle_timeout_s"):
        if getattr(options, name):
            _log.warning("%s: %s has no effect with the fusepy frontend", target, name)
    chosen = FusepyOptions(
        fsname=fsname,
        allow_other=options.allow_other,
        default_permissions=options.default_permissions,
        read_only=vfs.read_only,
        noexec=options.noexec,
        noatime=options.noatime,
        debug=options.debug,
        **({} if options.threads is None else {"threads": options.threads}),
    )
    return mount_fusepy(vfs, target, chosen)


def picks_native(options: MountOptions) -> bool:
    """Whether a mount speaks the kernel's protocol itself."""
    return (options.frontend or ("native" if sys.platform == "linux" else "fusepy")) == "native"


def adopt_filesystem(
    vfs: Vfs,
    target: str,
    descriptor: int,
    negotiated: dict[str, Any] | None,
    options: MountOptions,
    on_negotiated: Callable[[Negotiated], None],
    memory: Callable[[str], int],
) -> Mount:
    """Serve a connection that another process made, and perhaps served before.

    `memory` returns memfds that are kept for a successor, by name.
    """
    from zarrfs.frontends.native import adopt_native
    from zarrfs.fuse_protocol.negotiation import Negotiated

    settled = None
    if negotiated is not None:
        settled = Negotiated.from_json(negotiated)
    chosen = native_options("", options, read_only=vfs.read_only)
    return adopt_native(
        vfs,
        target,
        descriptor,
        settled,
        chosen,
        on_negotiated=on_negotiated,
        ledger_fd=memory("ledger"),
        requests_fd=memory("requests"),
    )


def native_options(fsname: str, options: MountOptions, *, read_only: bool) -> NativeOptions:
    from zarrfs.frontends.native import NativeOptions

    chosen: dict[str, Any] = {}
    if options.threads is not None:
        chosen["threads"] = options.threads
    if options.passthrough is not None:
        chosen["passthrough"] = options.passthrough
    if options.read_ahead_bytes is not None:
        chosen["read_ahead_kb"] = options.read_ahead_bytes >> 10
    return NativeOptions(
        fsname=fsname,
        allow_other=options.allow_other,
        default_permissions=options.default_permissions,
        read_only=read_only,
        noexec=options.noexec,
        noatime=options.noatime,
        debug=options.debug,
        resend=_WITHOUT_RESEND not in os.environ,
        **chosen,
    )


def resolve(spec: MountSpec, *, mkdir: bool = False, left: bool = False) -> MountSpec:
    """Check a mount's source and target; return the spec with canonical paths.

    With `left` the mount may be there already, without a supervisor.

    Raises: as `mounting_checks`; DeniedError for `allow_other`.
    """
    from zarrfs.daemon.mounting_checks import (
        check_allow_other,
        check_apart,
        check_source,
        check_target,
    )
    from zarrfs.daemon.mounting_table import canonical_target

    source = spec.source
    if is_memory(source) and spec.kind not in (None, MEMORY):
        reason = f"a store in memory, not of the kind {spec.kind}"
        raise InvalidArgumentError(source, reason, remedy="for a file of this name, write ./ first")
    if spec.options.allow_other:
        check_allow_other()
    if not is_memory(source, spec.kind):
        source = check_source(source, create=spec.create)
        check_apart(os.path.realpath(source), os.path.realpath(spec.target))
    if left:
        target = canonical_target(spec.target)
    else:
        target = check_target(spec.target, nonempty=spec.options.nonempty, mkdir=mkdir)
    return replace(spec, source=source, target=target)
