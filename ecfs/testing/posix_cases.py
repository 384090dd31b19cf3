"""Systematic programs: each call of POSIX on each kind of file, by each kind of user.

A case is a short program whose name says what it is about. What is right is not written down here:
a kernel file system that runs the same case says it.
"""

import os
import stat
from collections.abc import Callable, Iterator
from itertools import product

from ecfs.testing.posix_call import IDENTITIES, Call
from ecfs.testing.posix_world import TIME_LEFT, TIME_NOW

Case = tuple[str, list[Call]]
Family = Callable[[], Iterator[Case]]

KINDS = ("file", "dir", "full", "fifo", "socket", "char", "block", "symlink", "dirlink", "dangling",
         "loop", "none")
USERS = tuple(IDENTITIES)
LONG = "x" * 255
TOO_LONG = "x" * 256
DEEP = "/".join(["y" * 250] * 16)
BAD_PATHS = (LONG, TOO_LONG, "none/x", "plain/x", "plain/..", "loop/x", "", ".", "d/.",
             "d/..", "full/.", "d/", "plain/", "none/", "dirlink/", "link/", "dangling/", DEEP,
             "dirlink/x", "d//x", "./d/../d/x", "@/x", "chain40", "chain41", "chain40/x")
MODES = (0o0, 0o644, 0o755, 0o4755, 0o2755, 0o2745, 0o6777, 0o1777, 0o7777, 0o111)
ALICE, BOB = IDENTITIES["alice"], IDENTITIES["bob"]


def call(who: str, name: str, *arguments: int | str | bytes) -> Call:
    """A call, shorter to write."""
    return Call(who, name, arguments)


def make(kind: str, path: str, who: str = "root") -> list[Call]:
    """Calls that make a file of a kind."""
    if kind == "file":
        return [call(who, "open", 3, path, os.O_CREAT | os.O_WRONLY, 0o666),
                call(who, "write", 3, b"content"), call(who, "close", 3)]
    if kind in ("dir", "full"):
        inner = [call(who, "mkdir", f"{path}/in", 0o755)] if kind == "full" else []
        return [call(who, "mkdir", path, 0o755), *inner]
    nodes = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "char": stat.S_IFCHR,
             "block": stat.S_IFBLK}
    if kind in nodes:
        return [call("root", "mknod", path, nodes[kind] | 0o644, os.makedev(1, 3))]
    targets = {"symlink": "plain", "dirlink": "d", "dangling": "none", "loop": path.split("/")[-1]}
    return [call(who, "symlink", targets[kind], path)] if kind in targets else []


def scene(path: str) -> list[Call]:
    """What a path of `BAD_PATHS` needs."""
    chain = [call("root", "symlink", "d" if number == 0 else f"chain{number - 1}",
                  f"chain{number}") for number in range(42 if "chain" in path else 0)]
    return [*make("file", "plain"), *make("dir", "d"), *make("full", "full"),
            call("root", "symlink", "plain", "link"), *make("dirlink", "dirlink"),
            *make("dangling", "dangling"), *make("loop", "loop"), *chain]


def path_calls(path: str, who: str = "root") -> list[Call]:
    """Each call that takes a path."""
    return [
        call(who, "mkdir", path, 0o755), call(who, "rmdir", path), call(who, "unlink", path),
        call(who, "symlink", "x", path), call(who, "readlink", path),
        call(who, "link", "plain", path), call(who, "link", path, "new"),
        call(who, "link", path, "new", 1), call(who, "mknod", path, stat.S_IFIFO | 0o600),
        call(who, "mknod", path, stat.S_IFREG | 0o600), call(who, "rename", "plain", path),
        call(who, "rename", path, "new"), call(who, "rename", path, "plain", 2),
        call(who, "rename", "d", path, 1), call(who, "chmod", path, 0o700),
        call(who, "chown", path, 61001, 61001), call(who, "chown", path, 61001, 61001, 1),
        call(who, "truncate", path, 3), call(who, "utimens", path, 5, 6),
        call(who, "utimens", path, 5, 6, 1), call(who, "open", 0, path, os.O_RDONLY),
        call(who, "open", 0, path, os.O_RDWR | os.O_CREAT),
        call(who, "open", 0, path, os.O_RDWR | os.O_CREAT | os.O_EXCL),
        call(who, "open", 0, path, os.O_RDONLY | os.O_NOFOLLOW),
        call(who, "open", 0, path, os.O_RDONLY | os.O_DIRECTORY), call(who, "list", path),
        call(who, "access", path, os.R_OK | os.X_OK), call(who, "stat", path),
        call(who, "set_xattr", path, "user.a", b"1"), call(who, "get_xattr", path, "user.a"),
    ]


def bad_paths() -> Iterator[Case]:
    """ENAMETOOLONG, ENOENT, ENOTDIR, ELOOP, EXDEV, dots and slashes, for each call."""
    for path in BAD_PATHS:
        for one in path_calls(path):
            yield f"bad path: {one}", [*scene(path), one]


def permissions() -> Iterator[Case]:
    """Each call on each kind of file in directories that allow this and that to others."""
    for owner, mode, kind in product(("alice", "root"), (0o755, 0o777, 0o1777, 0o555, 0o666, 0o0),
                                     ("file", "dir", "symlink", "fifo", "none")):
        for who in ("alice", "bob"):
            for one in path_calls("top/f", who):
                start = [call("root", "mkdir", "top", 0o777), call("root", "chmod", "top", 0o777),
                         *make("file", "plain", "alice"), *make("dir", "d", "alice"),
                         *make(kind, "top/f", owner)]
                yield (f"permissions: top of {owner} {mode:o}, {kind}: {one}", [
                    *start, call("root", "chown", "top", *_ids(owner)),
                    call("root", "chmod", "top", mode), one])


def _ids(who: str) -> tuple[int, int]:
    return IDENTITIES[who].uid, IDENTITIES[who].gid


def sticky() -> Iterator[Case]:
    """Who may remove or rename what in a sticky directory."""
    for top, owner, who, kind in product(USERS[:3], USERS[:3], USERS[:3], ("file", "dir", "fifo")):
        for one in (call(who, "unlink", "top/f"), call(who, "rmdir", "top/f"),
                    call(who, "rename", "top/f", "top/g"), call(who, "rename", "top/f", "out"),
                    call(who, "rename", "mine", "top/f"), call(who, "rename", "top/f", "mine", 2),
                    call(who, "rename", "top/f", "top/g", 1)):
            yield (f"sticky: top of {top}, {kind} of {owner}: {one}", [
                call("root", "mkdir", "top", 0o777), call("root", "chmod", "top", 0o1777),
                *make(kind, "top/f"), call("root", "chown", "top/f", *_ids(owner)),
                *make("dir" if kind == "dir" else "file", "mine", "root"),
                call("root", "chown", "mine", *_ids(who)),
                call("root", "chown", "top", *_ids(top)), one])


def privileges() -> Iterator[Case]:
    """When set-user-id and set-group-id are taken away."""
    for mode, who, kind in product(MODES, USERS, ("file", "dir", "fifo")):
        for one in ([call(who, "chown", "f", *_ids(who), 1)], [call(who, "chown", "f", -1, -1)],
                    [call(who, "chown", "f", -1, 61100)], [call(who, "chown", "f", -1, 61200)],
                    [call(who, "truncate", "f", 3)], [call(who, "truncate", "f", 7)],
                    [call(who, "chmod", "f", mode | 0o6000)],
                    [call(who, "utimens", "f", TIME_NOW, TIME_NOW)],
                    [call(who, "open", 0, "f", os.O_RDWR | os.O_TRUNC)],
                    [call(who, "open", 0, "f", os.O_RDWR), call(who, "write", 0, b"x"),
                     call(who, "write", 0, b"y")],
                    [call(who, "open", 0, "f", os.O_RDWR), call(who, "ftruncate", 0, 2)],
                    [call(who, "open", 0, "f", os.O_RDWR), call(who, "fallocate", 0, 0, 0, 99)],
                    [call("root", "open", 0, "f", os.O_RDWR), call(who, "write", 0, b"x")],
                    [call(who, "open", 0, "f", os.O_RDWR), call("root", "write", 0, b"x")],
                    [call(who, "set_xattr", "f", "user.a", b"1")]):
            yield (f"privileges: {mode:o} {kind}: {one[-1]}", [
                *make(kind, "f"), call("root", "chown", "f", *_ids("alice")),
                call("root", "chmod", "f", mode), *one])


def owners() -> Iterator[Case]:
    """chmod, chown and utimens on each kind by each user."""
    for kind, who, owner in product(KINDS, USERS, ("root", "alice")):
        for one in (call(who, "chmod", "f", 0o2751), call(who, "chmod", "f", 0o7777),
                    call(who, "chown", "f", *_ids("bob")), call(who, "chown", "f", -1, 61100),
                    call(who, "chown", "f", *_ids("bob"), 1),
                    call(who, "chown", "f", IDENTITIES[owner].uid, -1),
                    call(who, "utimens", "f", TIME_NOW, TIME_NOW, 1),
                    call(who, "utimens", "f", TIME_NOW, TIME_NOW),
                    call(who, "utimens", "f", TIME_NOW, TIME_LEFT),
                    call(who, "utimens", "f", TIME_LEFT, TIME_LEFT),
                    call(who, "utimens", "f", 10**9 + 1, 10**18),
                    call(who, "utimens", "f", 10**9 + 1, TIME_LEFT, 1),
                    call(who, "truncate", "f", 0), call(who, "truncate", "f", 99),
                    call(who, "access", "f", os.W_OK), call(who, "access", "f", os.X_OK),
                    call(who, "set_xattr", "f", "trusted.a", b"1"),
                    call(who, "set_xattr", "f", "security.a", b"1"),
                    call(who, "get_xattr", "f", "trusted.a"),
                    call(who, "link", "f", "g"), call(who, "link", "f", "g", 1)):
            yield (f"owners: {kind} of {owner}: {one}", [
                *make("file", "plain"), *make("dir", "d"), *make(kind, "f"),
                *([call("root", "chown", "f", *_ids(owner))] if kind != "none" else []), one])


def renames() -> Iterator[Case]:
    """Each kind onto each kind, in one directory and across, with each flag."""
    for source, target, flags in product(KINDS, KINDS, (0, 1, 2, 3, 4, 5, 6, 8)):
        for old, new in (("f", "g"), ("a/f", "b/g"), ("a/f", "a/g")):
            yield (f"rename: {source} {old} onto {target} {new} flags {flags}", [
                *make("file", "plain"), *make("dir", "d"), call("root", "mkdir", "a", 0o755),
                call("root", "mkdir", "b", 0o755), *make(source, old), *make(target, new),
                call("root", "rename", old, new, flags), call("root", "list", "."),
                call("root", "lstat", new)])
    for old, new, flags in product(("a", "a/b", "a/b/c", "a/f", "."),
                                   ("a", "a/b", "a/b/c", "a/b/c/d", "a/g", "..", "a/b/."),
                                   (0, 1, 2, 4)):
        yield (f"rename: {old} to {new} flags {flags} in one line", [
            call("root", "mkdir", "a", 0o755), call("root", "mkdir", "a/b", 0o755),
            call("root", "mkdir", "a/b/c", 0o755), *make("file", "a/f"),
            call("root", "link", "a/f", "a/g"), call("root", "rename", old, new, flags)])


def opens() -> Iterator[Case]:
    """Each set of flags on each kind by each user."""
    options = (0, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW,
               os.O_DIRECTORY, os.O_DIRECTORY | os.O_CREAT, os.O_CREAT | os.O_TRUNC,
               os.O_CREAT | os.O_NOFOLLOW, os.O_PATH, os.O_DIRECT, os.O_SYNC, os.O_NOATIME,
               os.O_TMPFILE, os.O_TMPFILE | os.O_EXCL)
    for kind, access, option, who in product(KINDS, (os.O_RDONLY, os.O_WRONLY, os.O_RDWR), options,
                                             ("root", "alice")):
        yield (f"open: {kind} {access | option:o} by {who}", [
            *make("file", "plain"), *make("dir", "d"), *make(kind, "f", "root"),
            call(who, "open", 0, "f", access | option, 0o4751), call(who, "write", 0, b"abc"),
            call(who, "pread", 0, 99, 0), call("root", "lstat", "f")])


def creations() -> Iterator[Case]:
    """Modes of what is made: umask, set-group-id directories, groups of the maker."""
    for mask, mode, top, who in product((0, 0o022, 0o077, 0o777), (0o777, 0o6755, 0o1644, 0),
                                        (0o777, 0o2777, 0o3777), USERS):
        start = [call("root", "umask", 0o022), call("root", "mkdir", "top", 0o777),
                 call("root", "chown", "top", 0, 61100), call("root", "chmod", "top", top),
                 call("root", "umask", mask)]
        for one in (call(who, "mkdir", "top/f", mode),
                    call(who, "open", 0, "top/f", os.O_CREAT | os.O_RDWR, mode),
                    call(who, "mknod", "top/f", stat.S_IFREG | mode),
                    call(who, "mknod", "top/f", stat.S_IFIFO | mode),
                    call(who, "mknod", "top/f", stat.S_IFCHR | mode, 259),
                    call(who, "symlink", "x", "top/f"),
                    call(who, "open", 0, "top", os.O_TMPFILE | os.O_RDWR, mode)):
            yield f"creation: umask {mask:o}, top {top:o}: {one}", [
                *start, one, call(who, "link_open", 0, "top/g")]


def sizes() -> Iterator[Case]:
    """Lengths and offsets at their limits, holes, and limits of processes."""
    ends = (0, 1, 7, 4095, 4096, 4097, 70000, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 8,
            (1 << 63) - 5, (1 << 63) - 1, -1)
    modes = (0, 1, 2, 3, 4, 0x8, 0x10, 0x11, 0x20, 0x40, 0x12, 0x13)
    start = [*make("file", "f"), call("root", "open", 0, "f", os.O_RDWR)]
    for end in ends:
        yield f"sizes: truncate to {end}", [
            *start, call("root", "truncate", "f", end), call("root", "fstat", 0),
            call("root", "pread", 0, 100, 0), call("root", "ftruncate", 0, end)]
        yield f"sizes: write at {end}", [
            *start, call("root", "pwrite", 0, b"12345", end), call("root", "pwrite", 0, b"", end),
            call("root", "pread", 0, 20, max(end - 3, 0))]
        yield f"sizes: limited write at {end}", [
            *start, call("root", "limited_write", 0, b"12345", end, 4098)]
    for mode, offset, length in product(modes, (-1, 0, 3, 5000, 8192), (-1, 0, 1, 4096, 20000)):
        yield f"sizes: fallocate {mode:#x} {offset} {length}", [
            *start, call("root", "pwrite", 0, b"x" * 10_000, 0),
            call("root", "fallocate", 0, mode, offset, length), call("root", "fstat", 0),
            call("root", "pread", 0, 50_000, 0), call("root", "pwrite", 0, b"later", 6000)]
    for source, offset, to, length in product((0, 1), (0, 100, 9000, 20000), (0, 5000, 30000),
                                              (0, 1, 5000, 1 << 20)):
        yield f"sizes: copy {source} {offset} to {to} {length}", [
            *start, call("root", "pwrite", 0, bytes(range(250)) * 40, 3),
            call("root", "open", 1, "g", os.O_RDWR | os.O_CREAT),
            call("root", "pwrite", 1, b"z" * 12_000, 0),
            call("root", "copy_range", source, offset, 1, to, length),
            call("root", "pread", 1, 60_000, 0), call("root", "fstat", 1)]
    for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND):
        yield f"sizes: calls on a descriptor opened {mode}", [
            *make("file", "f"), call("root", "open", 0, "f", mode),
            call("root", "write", 0, b"abc"), call("root", "pread", 0, 9, 0),
            call("root", "ftruncate", 0, 2), call("root", "fallocate", 0, 0, 0, 50),
            call("root", "copy_range", 0, 0, 0, 100, 2), call("root", "pwrite", 0, b"at 1", 1),
            call("root", "fstat", 0)]


def links() -> Iterator[Case]:
    """Numbers of links and change times over lives and deaths."""
    for kind, who in product(KINDS, ("root", "alice")):
        yield f"links: of {kind} by {who}", [
            *make("file", "plain"), *make("dir", "d"), *make(kind, "f"),
            call(who, "open", 0, "f", os.O_PATH | os.O_NOFOLLOW), call(who, "link", "f", "g"),
            call(who, "link", "f", "d/g"), call(who, "lstat", "f"), call(who, "unlink", "f"),
            call(who, "fstat", 0), call(who, "unlink", "g"), call(who, "rename", "d/g", "h"),
            call(who, "unlink", "h"), call(who, "rmdir", "f"), call(who, "fstat", 0),
            call(who, "link_open", 0, "again"), call(who, "fchmod", 0, 0o600)]


def accesses() -> Iterator[Case]:
    """What notes a read, on a mount that keeps access times (relatime).

    Surveys read directories and links, so what is told of times comes before the last call.
    """
    for length, flags, later, who in product(
            (7, 2 << 20), (os.O_RDONLY, os.O_RDWR, os.O_NOATIME, os.O_RDWR | os.O_NOATIME),
            (None, 0, os.O_NOATIME), ("root", "alice")):
        reads = ([call(who, "read", 0, 7)], [call(who, "read_mapped", 0, 7)],
                 [call(who, "copy_range", 0, 0, 1, 0, length)])
        # The flags of an open file are told by each read, and not by a copy.
        for read in reads if later is None else reads[:2]:
            yield f"access: {length} bytes, opened {flags:o}, then {later}: {read[0]}", [
                call("root", "open", 1, "to", os.O_CREAT | os.O_RDWR, 0o666),
                call(who, "open", 3, "f", os.O_CREAT | os.O_WRONLY, 0o666),
                call(who, "write", 3, b"content" * (length // 7)),
                call("root", "utimens", "f", 10**18, 10**18),
                call(who, "open", 0, "f", flags),
                *([] if later is None else [call(who, "set_flags", 0, later)]),
                *read, call("root", "atime", "f"), call("root", "lstat", "f")]
    for flags, who in product((0, os.O_NOATIME), ("root", "alice")):
        yield f"access: directory opened {flags:o} by {who}", [
            call("root", "mkdir", "d", 0o755), call("root", "utimens", "d", 10**18, 10**18),
            call(who, "open", 0, "d", os.O_DIRECTORY | flags), call(who, "list_open", 0),
            call("root", "atime", "d"), call("root", "lstat", "d")]
    for between in (call("root", "utimens", "l", 10**18, 10**18),
                    call("root", "chown", "l", *_ids("bob"))):
        for read in ([call("root", "readlink", "l")], [call("root", "stat", "l")]):
            yield f"access: link read again after {between}: {read[0]}", [
                call("root", "symlink", ".", "l"), *read,
                call("root", "utimens", "l", 10**18, 10**18), between, *read,
                call("root", "atime", "l"), call("root", "lstat", "l")]


RELATIME_FAMILIES: dict[str, Family] = {"accesses": accesses}
FAMILIES: dict[str, Family] = {
    "bad_paths": bad_paths, "permissions": permissions, "sticky": sticky, "privileges": privileges,
    "owners": owners, "renames": renames, "opens": opens, "creations": creations, "sizes": sizes,
    "links": links,
}


def cases(family: str, *, step: int = 1, first: int = 0) -> Iterator[Case]:
    """Every `step`th case of a family. What its last call changes is seen."""
    for index, (name, program) in enumerate((FAMILIES | RELATIME_FAMILIES)[family]()):
        if index % step == first % step:
            yield name, [*program[:-1], call("root", "survey"), program[-1]]
