"""POSIX access control lists: their bytes in extended attributes, and how they go with modes.

Rules of POSIX.1e draft 17 as Linux keeps them. The attribute is version 2 of Linux: `<I` version,
then `<HHI` tag, permissions, id for each entry.
"""

import errno
import stat
import struct
from dataclasses import dataclass

from ecfs.base.errors import FsError

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
NAMES = frozenset({ACCESS, DEFAULT})

_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_NO_ID = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_ONCE = (_USER_OBJ, _GROUP_OBJ, _OTHER)
_NAMED = (_USER, _GROUP)
_PERMISSIONS = 7


@dataclass(frozen=True, slots=True)
class Acl:
    """Entries `(tag, permissions, id)` as they were given; valid by construction of `parse`."""

    entries: tuple[tuple[int, int, int], ...]

    def to_bytes(self) -> bytes:
        """The value of the attribute."""
        return _HEADER.pack(_VERSION) + b"".join(
            _ENTRY.pack(tag, bits, identity) for tag, bits, identity in self.entries)

    @property
    def is_minimal(self) -> bool:
        """Whether it says no more than nine mode bits do."""
        return len(self.entries) == len(_ONCE)

    def mode_bits(self) -> int:
        """The nine permission bits that stat(2) shows."""
        return (self._bits(_USER_OBJ) << 6 | self._bits(self._group_class()) << 3
                | self._bits(_OTHER))

    def with_mode(self, mode: int) -> "Acl":
        """After a chmod(2): owner, group class and others follow the mode."""
        wanted = {_USER_OBJ: mode >> 6 & 7, self._group_class(): mode >> 3 & 7, _OTHER: mode & 7}
        return Acl(tuple((tag, wanted.get(tag, bits), identity)
                         for tag, bits, identity in self.entries))

    def masked(self, mode: int) -> "Acl":
        """As the access ACL of a file that is made with `mode`: neither gives more than it says."""
        return self.with_mode(self.mode_bits() & mode)

    def _group_class(self) -> int:
        return _MASK if any(tag == _MASK for tag, _, _ in self.entries) else _GROUP_OBJ

    def _bits(self, wanted: int) -> int:
        return next(bits for tag, bits, _ in self.entries if tag == wanted)


def parse(value: bytes) -> Acl | None:
    """An ACL from an attribute's value, None for an empty one. EINVAL, EOPNOTSUPP (version).

    What Linux takes (posix_acl_valid), whose file systems give back the bytes that they got: the
    tags in their order; users and groups in any, one of them several times as well. Not sorted:
    who compares a list with what he set would take it for another one.
    """
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise FsError(errno.EINVAL)
    if _HEADER.unpack_from(value)[0] != _VERSION:
        raise FsError(errno.EOPNOTSUPP)
    entries = tuple((tag, bits, identity if tag in _NAMED else _NO_ID)
                    for tag, bits, identity in _ENTRY.iter_unpack(value[_HEADER.size:]))
    if not entries:
        return None
    tags = [tag for tag, _, _ in entries]
    named = [identity for tag, _, identity in entries if tag in _NAMED]
    if tags != sorted(tags) or any(tags.count(tag) != 1 for tag in _ONCE) or (
            tags.count(_MASK) > 1 or (named and _MASK not in tags) or _NO_ID in named
            or any(tag not in (*_ONCE, *_NAMED, _MASK) for tag in tags)
            or any(bits & ~_PERMISSIONS for _, bits, _ in entries)):
        raise FsError(errno.EINVAL)
    return Acl(entries)


def mode_without(value: bytes, mode: int) -> int:
    """The mode for where an access ACL cannot be: the bits of the group show its mask there, and
    are to be those of the group itself, or more would be allowed than was."""
    acl = parse(value)
    return mode if acl is None else mode & ~0o070 | mode & acl._bits(_GROUP_OBJ) << 3


def inherited(default: Acl, mode: int) -> tuple[int, Acl | None, Acl | None]:
    """`(mode, access, default)` of what is made with `mode` in a directory with a default ACL.

    None: nothing is stored. The umask plays no part.
    """
    access = default.masked(mode)
    is_directory = stat.S_ISDIR(mode)
    return (mode & ~0o777 | access.mode_bits(), None if access.is_minimal else access,
            default if is_directory else None)
