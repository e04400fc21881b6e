"""Storage: the Zarr-aware facade over one backend, and the backends.

The names in `__all__` are imported when first used.
"""

from __future__ import annotations

from zarrfs._exports import lazy_exports

TYPE_CHECKING = False  # typing's own would cost more than everything else here
if TYPE_CHECKING:
    from zarrfs.storage import registry
    from zarrfs.storage.backend import Backend as Backend
    from zarrfs.storage.backend import Buffer as Buffer
    from zarrfs.storage.backend import HasFileTree as HasFileTree
    from zarrfs.storage.backend import Key as Key
    from zarrfs.storage.backend import KeyStat as KeyStat
    from zarrfs.storage.backend import Listed as Listed
    from zarrfs.storage.hierarchy import BrokenNode as BrokenNode
    from zarrfs.storage.hierarchy import Hierarchy as Hierarchy
    from zarrfs.storage.hierarchy import Located as Located
    from zarrfs.storage.hierarchy import Node as Node
    from zarrfs.storage.registry import BackendDescription as BackendDescription
    from zarrfs.storage.registry import BackendFactory as BackendFactory
    from zarrfs.storage.storage import Storage as Storage

    describe_backend = registry.describe
    get_backend = registry.get
    list_backends = registry.names
    register_backend = registry.register
    unregister_backend = registry.unregister

_HOMES = {
    "Backend": "zarrfs.storage.backend:Backend",
    "BackendDescription": "zarrfs.storage.registry:BackendDescription",
    "BackendFactory": "zarrfs.storage.registry:BackendFactory",
    "BrokenNode": "zarrfs.storage.hierarchy:BrokenNode",
    "Buffer": "zarrfs.storage.backend:Buffer",
    "HasFileTree": "zarrfs.storage.backend:HasFileTree",
    "Hierarchy": "zarrfs.storage.hierarchy:Hierarchy",
    "Key": "zarrfs.storage.backend:Key",
    "KeyStat": "zarrfs.storage.backend:KeyStat",
    "Listed": "zarrfs.storage.backend:Listed",
    "Located": "zarrfs.storage.hierarchy:Located",
    "Node": "zarrfs.storage.hierarchy:Node",
    "Storage": "zarrfs.storage.storage:Storage",
    "describe_backend": "zarrfs.storage.registry:describe",
    "get_backend": "zarrfs.storage.registry:get",
    "list_backends": "zarrfs.storage.registry:names",
    "register_backend": "zarrfs.storage.registry:register",
    "unregister_backend": "zarrfs.storage.registry:unregister",
}

__all__ = [*_HOMES]

__getattr__ = lazy_exports(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
