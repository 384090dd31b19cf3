"""Walking and syncing the folders of a directory target, one component at a time, by descriptor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from ecfs.base.errors import Fault, TargetError
from ecfs.targets.faults import sync_in_doubt
from ecfs.targets.open_files import OpenFiles

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Folders below one open directory. Follows no symbolic link, and notices at the start of each
    walk that the directory itself was removed. Lets OSError out."""

    def __init__(self, files: OpenFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._durable: set[str] = {""}
        self._suspect: set[str] = set()

    @contextmanager
    def open(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder, for as long as the context lasts."""
        root = self._files.take_root()
        fd = root.fd
        try:
            self._check_alive(root.fd)
            walked = ""
            for part in folder.split("/") if folder else ():
                walked = f"{walked}/{part}" if walked else part
                if make:
                    self._make(part, fd, walked)
                below = os.open(part, _FOLDER_FLAGS, dir_fd=fd)
                if fd != root.fd:
                    os.close(fd)
                fd = below
            yield fd
        finally:
            if fd != root.fd:
                os.close(fd)
            self._files.give_back(root)

    def sync(self, folder: str) -> None:
        """Make the folder's names durable, and its own name and those above it, if not yet known to
        be so. Once the sync of a folder failed it fails until `forget`."""
        if folder in self._suspect:
            raise sync_in_doubt(self._path, folder)
        with self.open(folder) as fd:
            try:
                os.fsync(fd)
            except OSError:
                self._suspect.add(folder)
                raise
        if folder not in self._durable:
            self.sync(os.path.dirname(folder))
            self._durable.add(folder)

    def forget(self, folder: str) -> None:
        """Allow syncs of the folder again after one has failed."""
        self._suspect.discard(folder)

    def list_names(self, folder: str, names_max: int) -> list[str]:
        """The names in a folder, at most `names_max`; one more is Fault.UNSAFE."""
        if folder:
            return [entry.name for entry in self.names(folder, names_max)]
        # Each commit lists every target: this is `names` written out, in a third of its time.
        root = self._files.take_root()
        try:
            self._check_alive(root.fd)
            scan_fd = os.open(".", _FOLDER_FLAGS, dir_fd=root.fd)
            try:
                with os.scandir(scan_fd) as entries:
                    names = [entry.name for entry in islice(entries, names_max + 1)]
            finally:
                os.close(scan_fd)
        finally:
            self._files.give_back(root)
        if len(names) > names_max:
            raise self._too_many(folder, names_max)
        return names

    def check_alive(self) -> None:
        """Fault.MISSING if the directory itself was removed."""
        root = self._files.take_root()
        try:
            self._check_alive(root.fd)
        finally:
            self._files.give_back(root)

    def names(self, folder: str, names_max: int) -> Iterator[os.DirEntry[str]]:
        """The entries of a folder, at most `names_max`; one more is Fault.UNSAFE."""
        with self.open(folder) as fd:
            # Opened anew: a duplicate of the descriptor would share its position with other scans.
            scan_fd = os.open(".", _FOLDER_FLAGS, dir_fd=fd)
            try:
                with os.scandir(scan_fd) as entries:
                    for count, entry in enumerate(entries):
                        if count >= names_max:
                            raise self._too_many(folder, names_max)
                        yield entry
            finally:
                os.close(scan_fd)

    def _too_many(self, folder: str, names_max: int) -> TargetError:
        return TargetError(Fault.UNSAFE, f"{self._path}/{folder}: more than {names_max} entries")

    def _make(self, part: str, parent_fd: int, walked: str) -> None:
        try:
            os.stat(part, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            self._durable.discard(walked)
            try:
                os.mkdir(part, 0o700, dir_fd=parent_fd)
            except FileExistsError:
                pass

    def _check_alive(self, root_fd: int) -> None:
        if os.fstat(root_fd).st_nlink == 0:
            raise TargetError(Fault.MISSING, f"{self._path}: the directory was removed")
