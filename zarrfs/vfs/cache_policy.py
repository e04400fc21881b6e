"""How long the kernel may remember a tree, chosen by how its content can change.

    static       nothing changes: a day, no OPEN, cached listings
    told         every change is notified (a memory store, a writable archive):
                 a day as well, since a notification takes back what it must
    untold       changes come from underneath (a directory, a remote store):
                 half a second, so that they are seen within one

Half a second costs a file that is read again and again one LOOKUP or GETATTR
each time it runs out (about 40 microseconds), and a listing none, because
READDIRPLUS renews what it shows.

Pure functions; any thread may call them.
"""

from __future__ import annotations

from zarrfs.storage.tree import ChangesUnderneath, FileTree, StatelessReads, Watchable
from zarrfs.vfs.operations import CachePolicy
from zarrfs.vfs.options import VfsOptions

STATIC_TIMEOUT_S = 86400.0
UNTOLD_TIMEOUT_S = 0.5


def tells_all_changes(tree: FileTree) -> bool:
    """Whether a watcher of the tree hears of everything that changes in it."""
    untold = isinstance(tree, ChangesUnderneath) and tree.changes_underneath
    return isinstance(tree, Watchable) and not untold


def choose_policy(tree: FileTree, options: VfsOptions, *, notified: bool) -> CachePolicy:
    """Choose for a tree; `notified` says that a frontend passes changes on to the kernel."""
    read_only = options.read_only or tree.read_only
    told = notified and tells_all_changes(tree)
    settled = tree.static or told
    timeout_s = options.cache_timeout_s
    if timeout_s is None:
        timeout_s = STATIC_TIMEOUT_S if settled else UNTOLD_TIMEOUT_S
    return CachePolicy(
        entry_timeout_s=timeout_s,
        attr_timeout_s=timeout_s,
        negative_timeout_s=timeout_s,
        stateless_open=settled and read_only and isinstance(tree, StatelessReads),
        cache_dir=settled and timeout_s > 0,
        # The kernel would keep size and mtime to itself until it writes back,
        # so Storage and stat would disagree about a file that is being written.
        writeback=False,
    )
