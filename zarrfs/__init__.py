"""zarrfs: a Zarr store shown as a file tree.

    >>> import zarrfs
    >>> with zarrfs.Storage.init("memory") as store:
    ...     store.write_metadata({"zarr_format": 2})
    ...     store.write_attributes({"title": "nothing yet"})
    ...     [node.kind.value for node in store.walk()]
    ['group']

The names in `__all__` are the public Python API. They are imported when first
used, so that `import zarrfs` costs next to nothing.
"""

from __future__ import annotations

from zarrfs._exports import lazy_exports

TYPE_CHECKING = False  # typing's own would cost more than everything else here
if TYPE_CHECKING:
    from zarrfs.daemon.live import mount as mount
    from zarrfs.errors import AttributeNotFoundError as AttributeNotFoundError
    from zarrfs.errors import BusyError as BusyError
    from zarrfs.errors import CannotOpenMemoryError as CannotOpenMemoryError
    from zarrfs.errors import ChunkNotFoundError as ChunkNotFoundError
    from zarrfs.errors import CorruptError as CorruptError
    from zarrfs.errors import CreateFailedError as CreateFailedError
    from zarrfs.errors import DeniedError as DeniedError
    from zarrfs.errors import ExistsError as ExistsError
    from zarrfs.errors import InvalidArgumentError as InvalidArgumentError
    from zarrfs.errors import InvalidChunkIndexError as InvalidChunkIndexError
    from zarrfs.errors import InvalidMetadataError as InvalidMetadataError
    from zarrfs.errors import InvalidNameError as InvalidNameError
    from zarrfs.errors import IsAFolderError as IsAFolderError
    from zarrfs.errors import KeyNotFoundError as KeyNotFoundError
    from zarrfs.errors import MalformedMessageError as MalformedMessageError
    from zarrfs.errors import MetadataNotFoundError as MetadataNotFoundError
    from zarrfs.errors import NameTooLongError as NameTooLongError
    from zarrfs.errors import NoSpaceError as NoSpaceError
    from zarrfs.errors import NotAFolderError as NotAFolderError
    from zarrfs.errors import NotEmptyError as NotEmptyError
    from zarrfs.errors import NotFoundError as NotFoundError
    from zarrfs.errors import PathNotFoundError as PathNotFoundError
    from zarrfs.errors import PathRequiredError as PathRequiredError
    from zarrfs.errors import ReadOnlyError as ReadOnlyError
    from zarrfs.errors import StaleError as StaleError
    from zarrfs.errors import UnavailableError as UnavailableError
    from zarrfs.errors import UnknownBackendError as UnknownBackendError
    from zarrfs.errors import UnsupportedError as UnsupportedError
    from zarrfs.errors import WrongKindError as WrongKindError
    from zarrfs.errors import ZarrfsError as ZarrfsError
    from zarrfs.storage import Backend as Backend
    from zarrfs.storage import BackendFactory as BackendFactory
    from zarrfs.storage import Storage as Storage
    from zarrfs.storage import describe_backend as describe_backend
    from zarrfs.storage import get_backend as get_backend
    from zarrfs.storage import list_backends as list_backends
    from zarrfs.storage import register_backend as register_backend
    from zarrfs.storage import unregister_backend as unregister_backend

__version__ = "0.1.0"

_STORAGE = (
    "Backend",
    "BackendFactory",
    "Storage",
    "describe_backend",
    "get_backend",
    "list_backends",
    "register_backend",
    "unregister_backend",
)
_ERRORS = (
    "AttributeNotFoundError",
    "BusyError",
    "CannotOpenMemoryError",
    "ChunkNotFoundError",
    "CorruptError",
    "CreateFailedError",
    "DeniedError",
    "ExistsError",
    "InvalidArgumentError",
    "InvalidChunkIndexError",
    "InvalidMetadataError",
    "InvalidNameError",
    "IsAFolderError",
    "KeyNotFoundError",
    "MalformedMessageError",
    "MetadataNotFoundError",
    "NameTooLongError",
    "NoSpaceError",
    "NotAFolderError",
    "NotEmptyError",
    "NotFoundError",
    "PathNotFoundError",
    "PathRequiredError",
    "ReadOnlyError",
    "StaleError",
    "UnavailableError",
    "UnknownBackendError",
    "UnsupportedError",
    "WrongKindError",
    "ZarrfsError",
)

__all__ = [*_STORAGE, *_ERRORS, "mount"]

__getattr__ = lazy_exports(
    __name__,
    {
        **{name: f"zarrfs.storage:{name}" for name in _STORAGE},
        **{name: f"zarrfs.errors:{name}" for name in _ERRORS},
        "mount": "zarrfs.daemon.live:mount",
    },
)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
