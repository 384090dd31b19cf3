"""Removing what lies in the place of a file, whatever it is."""

import errno
import os

from ecfs.targets.names import SET_ASIDE_MAX, SET_ASIDE_PREFIX, is_file_name


def remove_entry(base: str, folder_fd: int) -> None:
    """Remove a file, or a folder in its place: one that has something in it is set aside."""
    try:
        os.unlink(base, dir_fd=folder_fd)
    except IsADirectoryError as error:
        try:
            os.rmdir(base, dir_fd=folder_fd)
        except OSError as refused:
            if refused.errno != errno.ENOTEMPTY or not is_file_name(base):
                raise error from None
            _set_aside(base, folder_fd)


def _set_aside(base: str, folder_fd: int) -> None:
    """Rename a folder that has something in it: nobody knows whose that is."""
    for number in range(SET_ASIDE_MAX):
        free = f"{SET_ASIDE_PREFIX}{number}.{base}"
        try:
            os.stat(free, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(base, free, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            return
    raise IsADirectoryError(errno.EISDIR, f"{SET_ASIDE_MAX} folders lie beside it already", base)
