"""Random programs of system calls by several users, and what is known to differ.

A program is a function of its seed and its length.
"""

import os
import random
import stat
from collections.abc import Callable

from ecfs.testing.posix_call import IDENTITIES, IDS, Call
from ecfs.testing.posix_compare import Difference
from ecfs.testing.posix_world import TIME_LEFT, TIME_NOW

NAMES = ("a", "b", "c", "d")
XATTRS = ("user.a", "user.b", "trusted.c")
LENGTHS = (0, 1, 10, 4095, 4096, 4097, 10_000, 70_000)
TIMES = (TIME_NOW, TIME_NOW, TIME_LEFT, 0, 1, 999_999_999, 10**18, -10**12 - 1, 4 * 10**18)
WHO = ("root", "root", "alice", "alice", "bob", "eve")
_ACL_BASE = b"\2\0\0\0\1\0\6\0\xff\xff\xff\xff"
_ACL_END = b"\4\0\5\0\xff\xff\xff\xff\x10\0\7\0\xff\xff\xff\xff\x20\0\4\0\xff\xff\xff\xff"
ACL_NAMES = ("system.posix_acl_access", "system.posix_acl_default")

Maker = Callable[[random.Random], tuple[str, tuple[int | str | bytes, ...]]]


def program(seed: int, calls_count: int, *, raw: bool = True) -> list[Call]:
    """The program of a seed; without `raw` only what pyfuse3 carries."""
    rng = random.Random(seed)
    with_acls = rng.random() < 0.3
    makers = [*_MAKERS, *(_RAW_MAKERS if raw else ()),
              *(_ACL_MAKERS if raw and with_acls else ())]
    users = ("root",) if rng.random() < 0.3 else WHO
    if not raw:
        # Who opened a file, and not who writes, decides there on set-id bits.
        users = (rng.choice(users),)
    start = [Call("root", "mkdir", (name, 0o777)) for name in NAMES[:2]]
    start += [Call("root", "chmod", (name, rng.choice((0o777, 0o1777, 0o2777, 0o755))))
              for name in NAMES[:2]]
    calls = []
    for _ in range(calls_count):
        name, arguments = rng.choice(makers)(rng)
        who = "root" if name == "umask" else rng.choice(users)
        calls.append(Call(who, name, arguments))
    return start + calls


def is_known(difference: Difference) -> bool:
    """What the protocol forbids us to do better; see docs/posix.md."""
    call, ours, reference = difference.call, difference.ours, difference.reference
    if call.name == "chown" and call.arguments[1:3] == (-1, -1):
        return ours is None and reference == "EPERM"
    if isinstance(ours, dict) and isinstance(reference, dict) and (
            ours.keys() == reference.keys()):
        return all(_but_for_set_group_id(ours[path], reference[path]) for path in ours)
    if isinstance(ours, tuple) and isinstance(reference, tuple):
        return _but_for_set_group_id(ours, reference)
    return False


def _but_for_set_group_id(ours: object, reference: object) -> bool:
    """A member of no group of the file wrote: the kernel hides the groups of who writes."""
    mine, other = str(ours), str(reference)
    if mine == other:
        return True
    if ours is None or reference is None:
        return False
    mode = int(mine.split("'")[1], 8)
    return (bool(mode & stat.S_ISGID) and not mode & stat.S_IXGRP
            and mine.replace(oct(mode), oct(mode & ~stat.S_ISGID), 1) == other)


def _path(rng: random.Random) -> str:
    return "/".join(rng.choice(NAMES) for _ in range(rng.choice((1, 1, 2, 2, 3))))


def _mode(rng: random.Random) -> int:
    """Any mode, but set-group-id without group execution: see `is_known`."""
    mode = rng.choice((0o755, 0o777, 0o644, 0o2775, 0o1777, 0o4755, rng.randrange(0o10000)))
    return mode if mode & stat.S_IXGRP else mode & ~stat.S_ISGID


def _data(rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice(LENGTHS))


def _flags(rng: random.Random) -> int:
    return (rng.choice((os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDONLY))
            | rng.choice((0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL))
            | rng.choice((0, 0, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_SYNC, os.O_NOATIME)))


def _slot(rng: random.Random) -> int:
    return rng.randrange(3)


def _acl(rng: random.Random) -> bytes:
    """Users and groups in any order, some twice; now and then one that no file system takes."""
    users, groups = (b"".join(
        bytes((kind, 0, rng.randrange(8), 0)) + rng.choice(IDS[1:]).to_bytes(4, "little")
        for _ in range(rng.randrange(4))) for kind in (2, 8))
    if rng.random() < 0.1:
        users, groups = groups, users
    return _ACL_BASE + users + _ACL_END[:8] + groups + _ACL_END[8:]


def _owner(rng: random.Random) -> tuple[int, int]:
    uid, gid = rng.choice(IDS), rng.choice(IDS)
    return rng.choice(((uid, -1), (-1, gid), (uid, gid)))


_NODES = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFREG, stat.S_IFSOCK)
_MAKERS: list[Maker] = [
    lambda rng: ("mkdir", (_path(rng), _mode(rng))),
    lambda rng: ("mkdir", (_path(rng), 0o777)),
    lambda rng: ("rmdir", (_path(rng),)),
    lambda rng: ("unlink", (_path(rng),)),
    lambda rng: ("symlink", (rng.choice((*NAMES, "a/b", "../a", "nowhere/x")), _path(rng))),
    lambda rng: ("readlink", (_path(rng),)),
    lambda rng: ("link", (_path(rng), _path(rng), rng.randrange(2))),
    lambda rng: ("mknod", (_path(rng), rng.choice(_NODES) | _mode(rng), os.makedev(1, 3))),
    lambda rng: ("rename", (_path(rng), _path(rng), rng.choice((0, 0, 0, 1, 2, 3, 4)))),
    lambda rng: ("rename", (_path(rng), _path(rng), rng.choice((0, 2)))),
    lambda rng: ("chmod", (_path(rng), _mode(rng))),
    lambda rng: ("chown", (_path(rng), *_owner(rng), rng.randrange(2))),
    lambda rng: ("truncate", (_path(rng), rng.choice((*LENGTHS, -1)))),
    lambda rng: ("utimens", (_path(rng), rng.choice(TIMES), rng.choice(TIMES), rng.randrange(2))),
    lambda rng: ("access", (_path(rng), rng.randrange(8))),
    lambda rng: ("lstat", (_path(rng),)),
    lambda rng: ("set_xattr", (_path(rng), rng.choice(XATTRS), _data(rng)[:20], rng.randrange(3))),
    lambda rng: ("get_xattr", (_path(rng), rng.choice(XATTRS))),
    lambda rng: ("remove_xattr", (_path(rng), rng.choice(XATTRS))),
    lambda rng: ("open", (_slot(rng), _path(rng), _flags(rng), _mode(rng))),
    lambda rng: ("open", (_slot(rng), _path(rng), os.O_RDWR | os.O_CREAT, 0o666)),
    lambda rng: ("open", (_slot(rng), _path(rng), os.O_RDWR | os.O_CREAT, 0o666)),
    lambda rng: ("close", (_slot(rng),)),
    lambda rng: ("write", (_slot(rng), _data(rng))),
    lambda rng: ("pwrite", (_slot(rng), _data(rng), rng.choice(LENGTHS))),
    lambda rng: ("pread", (_slot(rng), 5000, rng.choice(LENGTHS))),
    lambda rng: ("read", (_slot(rng), 5000)),
    lambda rng: ("lseek", (_slot(rng), rng.choice(LENGTHS), rng.randrange(3))),
    lambda rng: ("ftruncate", (_slot(rng), rng.choice(LENGTHS))),
    lambda rng: ("copy_range", (_slot(rng), rng.choice(LENGTHS), _slot(rng), rng.choice(LENGTHS),
                                rng.choice(LENGTHS))),
    lambda rng: ("fsync", (_slot(rng),)),
    lambda rng: ("fchmod", (_slot(rng), _mode(rng))),
    lambda rng: ("fstat", (_slot(rng),)),
    lambda rng: ("umask", (rng.choice((0, 0o022, 0o077)),)),
]
_RAW_MAKERS: list[Maker] = [
    lambda rng: ("open", (_slot(rng), rng.choice(NAMES), os.O_TMPFILE | os.O_RDWR, _mode(rng))),
    lambda rng: ("fallocate", (_slot(rng), rng.choice((0, 1, 3)), rng.choice(LENGTHS),
                               rng.choice(LENGTHS))),
    lambda rng: ("link_open", (_slot(rng), _path(rng))),
]
_ACL_MAKERS: list[Maker] = [
    lambda rng: ("set_xattr", (_path(rng), rng.choice(ACL_NAMES), _acl(rng), 0)),
    lambda rng: ("set_xattr", (_path(rng), rng.choice(ACL_NAMES), _acl(rng), 0)),
    lambda rng: ("remove_xattr", (_path(rng), rng.choice(ACL_NAMES))),
]

assert set(WHO) <= IDENTITIES.keys()
