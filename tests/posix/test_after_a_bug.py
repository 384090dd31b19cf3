"""A mount that an unexpected error ends: what programs had written is there, synced or not."""

import os
import subprocess
import sys

import pytest

from ecfs.base.processes import process_start
from ecfs.cli.linux import wait_for_exit
from ecfs.testing.mounted_pool import MountedPool, mounted_pool

# The command, with housekeeping that fails as soon as it finds bytes that are not written out yet.
SCRIPT = """
from ecfs.cli import main
from ecfs.volume.reclaiming import Reclaimer
honest = Reclaimer.reclaim

async def fail(self):
    if self._volume.files.flusher.dirty_len:
        raise KeyError("segment")
    await honest(self)

Reclaimer.reclaim = fail
main()
"""
FILE = bytes(range(256)) * 1024
FILES_MAX = 20_000
WAIT_S = 60


def mount_with_a_bug(pool: MountedPool) -> None:
    command = ("mount", *pool._secret, "-o", pool._options, "--log-file", str(pool.log), pool._pool,
               str(pool.mountpoint))
    subprocess.run([sys.executable, "-c", SCRIPT, *command], check=True, env=pool._environment,
                   timeout=WAIT_S)


def test_what_was_written_is_there() -> None:
    with mounted_pool() as pool:
        pool.unmount()
        mount_with_a_bug(pool)
        pid = pool.serving_pid()
        start = process_start(pid)
        assert start is not None
        written: list[str] = []
        # By the path files would come to lie below the mount once it is gone.
        root = os.open(pool.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        with pytest.raises(OSError) as ended:
            while len(written) < FILES_MAX:
                file = os.open(f"f{len(written)}", os.O_WRONLY | os.O_CREAT, dir_fd=root)
                try:
                    whole = os.write(file, FILE) == len(FILE)
                finally:
                    os.close(file)
                if whole:
                    written.append(f"f{len(written)}")
        os.close(root)
        assert written and ended.value.errno
        assert wait_for_exit(pid, start, WAIT_S)
        subprocess.run(["umount", "--lazy", pool.mountpoint], check=False, capture_output=True)
        assert "unexpected KeyError" in pool.log.read_text()
        # It is said loudly; what comes now is to say nothing.
        pool.log.write_text("")
        pool.mount()
        for name in written:
            assert (pool.mountpoint / name).read_bytes() == FILE, name
