"""The POSIX suite on every frontend and every writable backend."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.mounted.stores import mounted_store
from tests.suites.posix_suite import Abilities, PosixSuite


class TestNativeMemory(PosixSuite):
    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("memory", "native", folder)


class TestNativeDirectory(PosixSuite):
    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("directory", "native", folder)


class TestNativeDirectoryWithoutPassthrough(PosixSuite):
    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("directory", "native", folder, "nopassthrough")


class TestFusepyMemory(PosixSuite):
    abilities = Abilities(nodes=False)

    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("memory", "fusepy", folder)


class TestFusepyDirectory(PosixSuite):
    abilities = Abilities(nodes=False)

    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("directory", "fusepy", folder)


class TestNativeZip(PosixSuite):
    abilities = Abilities(xattrs=False, special_files=False)

    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("zip", "native", folder)


class TestFusepyZip(PosixSuite):
    abilities = Abilities(xattrs=False, special_files=False, nodes=False)

    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        return mounted_store("zip", "fusepy", folder)
