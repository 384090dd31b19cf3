"""What every target can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a target, in bytes. `free_len` is what this process may still use."""

    total_len: int
    free_len: int


class Target(Protocol):
    """A place for files. Every method blocks, may be called from any thread, and raises TargetError
    (with the Fault that says how it failed) or Bug (bad name, negative number), nothing else.

    Names are checked by `check_name`. A file that is not a regular one with exactly one link, or
    that is reached through a symbolic link, is Fault.UNSAFE. Nothing is durable until it is synced:
    bytes by `sync`, names by `sync_folder` or by a call that says so.
    """

    path: str
    """How to tell this target from another in a message; nothing is opened by it later."""

    def device(self) -> int:
        """The number of the device it lies on; two targets with one number can fail together."""
        ...

    def list_names(self, folder: str = "") -> list[str]:
        """Plain names, sorted, of all that lies in a folder: files, folders and what others put
        there, names of any characters; temporary files are left out. A missing folder is empty;
        more than TARGET_LISTING_MAX entries are Fault.UNSAFE."""
        ...

    def create(self, name: str, data: Buffer, *, sync: bool = True) -> None:
        """Make a file that did not exist (else EXISTS), and its folders. With `sync` the file and
        its name are durable on return. A file that could not be completed is removed again."""
        ...

    def replace(self, name: str, data: Buffer) -> None:
        """Make the file hold `data`, whole and durable on return; a crash leaves the old or the new
        content, never a mixture. Makes its folders."""
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes (at most TARGET_READ_LEN_MAX); fewer only where the file ends. A
        file that someone else removed or exchanged may still be read as it was: who looks for such
        damage calls `forget` first."""
        ...

    def read_now(self, name: str, offset: int, length: int) -> Buffer | None:
        """All of the `length` bytes, if the file is open and they are in memory; None where
        anything would have to be waited for, or fails: then `read` tells. Never raises."""
        ...

    def write(self, name: str, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after another at `offset`, all of them; the file must exist and
        grows as needed. An error leaves any part of them written."""
        ...

    def sync(self, name: str) -> None:
        """Make what was written to the file durable. Once this has failed it fails until `forget`,
        for the file's lost pages look clean afterwards (invariant I5)."""
        ...

    def size(self, name: str) -> int:
        """Length of the file in bytes."""
        ...

    def truncate(self, name: str, length: int) -> None:
        """Cut the file or extend it with zeros. Not durable until `sync`."""
        ...

    def preallocate(self, name: str, offset: int, length: int) -> None:
        """Reserve room, extending the file with zeros up to offset + length and keeping its bytes.
        Does nothing where the file system cannot."""
        ...

    def punch(self, name: str, offset: int, length: int) -> bool:
        """Give the range's room back; it then reads as zeros, the size stays. False, and no change,
        where the file system cannot."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, or what lies in its place; a missing one is fine. A folder that lies there
        and has something in it may be set aside under another name. Not durable until
        `sync_folder`."""
        ...

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable, and the folder itself. MISSING if there is none."""
        ...

    def space(self) -> Space:
        """Room in total and free."""
        ...

    def stored_len(self) -> int:
        """Bytes that the files with names of ours take up on the device; of a target with more
        than TARGET_LISTING_MAX entries only so many are counted."""
        ...

    def drop_cache(self, name: str, offset: int, length: int) -> None:
        """Advise the kernel that the range is not needed in memory. A hint: never fails for a file
        that exists."""
        ...

    def forget(self, name: str) -> None:
        """Drop what is kept open or remembered of a file: the next call opens it anew. Bytes not
        yet synced stay so. Never fails."""
        ...

    def close(self) -> None:
        """Close all files, without syncing. Later calls raise Fault.AWAY. Never fails."""
        ...
