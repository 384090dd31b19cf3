"""File systems that keep nothing: the ceilings of what the transports can reach."""

import sys

import pyfuse3

from ecfs.driver import MountOptions
from scripts.bench_stores import Served, drop_caches


class Null(Served):
    """Names and sizes in memory, contents thrown away; mounted with ecfs's own cache options."""

    keeps = False

    def words(self) -> list[str]:
        """`writeback` if ecfs mounts so."""
        return ["writeback"] if MountOptions().writeback else []

    def turn_cold(self) -> None:
        """Empties the kernel's caches only: nothing would be left after an unmount."""
        drop_caches()


class NullPyfuse3(Null):
    """The least that pyfuse3 can be asked for."""

    name = "null-pyfuse3"

    def command(self) -> list[str]:
        """The mount."""
        return [sys.executable, "-m", "scripts.null_pyfuse3", str(self.root), *self.words()]

    @classmethod
    def version(cls) -> str:
        """The library's."""
        return f"null on pyfuse3 {pyfuse3.__version__}"


class NullRaw(Null):
    """ecfs's own driver and tree of names, all in memory, with nothing below."""

    name = "null-raw"

    def command(self) -> list[str]:
        """The mount."""
        return [sys.executable, "-m", "ecfs.testing.memory_mount", str(self.root), "null", "alone",
                *self.words()]  # fmt: skip

    @classmethod
    def version(cls) -> str:
        """It has none."""
        return "null on ecfs's transport"
