"""An archive that is compacted when its writer closes it, if that is worth it."""

from __future__ import annotations

import logging

from zarrfs.errors import ZarrfsError
from zarrfs.storage.tree import Owner
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.compact import compact, reclaimable_bytes
from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES
from zarrfs.storage.zip.writable import DEFAULT_COMMIT_INTERVAL_S, WritableZip

_log = logging.getLogger(__name__)


class CompactedAtEnd(WritableZip):
    """As `WritableZip`; any thread may call, and `close` ends with the compacting."""

    def __init__(
        self,
        path: str,
        *,
        percent: float,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        commit_interval_s: float = DEFAULT_COMMIT_INTERVAL_S,
        owner: Owner | None = None,
        reached_at: str | None = None,
    ) -> None:
        """`percent` is how much of the archive must be waste. Raises: as `WritableZip`."""
        super().__init__(
            path,
            cache_bytes=cache_bytes,
            commit_interval_s=commit_interval_s,
            owner=owner,
            reached_at=reached_at,
        )
        self._percent = percent
        self._compacted = False

    def close(self) -> None:
        """Commit, let go, and compact; a failure of the last is only logged.

        Raises: what `WritableZip.close` raises.
        """
        super().close()
        if self._compacted:
            return
        self._compacted = True
        try:
            self._compact_if_worth_it()
        except (ZarrfsError, OSError) as error:
            _log.warning("%s: not compacted: %s", self.location, error)

    def _compact_if_worth_it(self) -> None:
        archive = Archive.open(self.location, save_index=False)
        try:
            waste_bytes, size_bytes = reclaimable_bytes(archive), archive.size_bytes
        finally:
            archive.close()
        if waste_bytes and waste_bytes * 100 >= self._percent * size_bytes:
            done = compact(self.location)
            freed = done.before_bytes - done.after_bytes
            _log.info("%s: compacted, %d bytes less", self.location, freed)
