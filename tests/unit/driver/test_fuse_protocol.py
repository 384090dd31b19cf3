"""The protocol's numbers and structures are the kernel's: its header says so, and its traffic."""

import struct
import subprocess
from pathlib import Path

import pytest

from ecfs.driver import fuse_protocol as fuse
from ecfs.testing.fuse_traffic import Asked, answer_all, read_recording

RECORDINGS = sorted((Path(__file__).parents[2] / "golden" / "traffic").glob("*.txt"))
STRUCTS = {
    "fuse_in_header": fuse.IN_HEADER, "fuse_out_header": fuse.OUT_HEADER,
    "fuse_init_out": fuse.INIT_OUT, "fuse_entry_out": fuse.ENTRY_OUT,
    "fuse_attr": fuse.ATTR, "fuse_attr_out": fuse.ATTR_OUT, "fuse_open_out": fuse.OPEN_OUT,
    "fuse_forget_in": fuse.FORGET_IN, "fuse_batch_forget_in": fuse.BATCH_FORGET_IN,
    "fuse_forget_one": fuse.FORGET_ONE, "fuse_setattr_in": fuse.SETATTR_IN,
    "fuse_mknod_in": fuse.MKNOD_IN, "fuse_mkdir_in": fuse.MKDIR_IN,
    "fuse_rename_in": fuse.RENAME_IN, "fuse_rename2_in": fuse.RENAME2_IN,
    "fuse_link_in": fuse.LINK_IN, "fuse_open_in": fuse.OPEN_IN, "fuse_create_in": fuse.CREATE_IN,
    "fuse_read_in": fuse.READ_IN, "fuse_write_in": fuse.WRITE_IN, "fuse_write_out": fuse.WRITE_OUT,
    "fuse_statfs_out": fuse.STATFS_OUT, "fuse_setxattr_in": fuse.SETXATTR_IN,
    "fuse_getxattr_in": fuse.GETXATTR_IN, "fuse_getxattr_out": fuse.GETXATTR_OUT,
    "fuse_fallocate_in": fuse.FALLOCATE_IN, "fuse_lseek_in": fuse.LSEEK_IN,
    "fuse_lseek_out": fuse.LSEEK_OUT, "fuse_copy_file_range_in": fuse.COPY_FILE_RANGE_IN,
    "fuse_notify_inval_inode_out": fuse.INVAL_INODE_OUT}
NEWER_STRUCTS = {"fuse_statx_out": fuse.STATX_OUT, "fuse_statx": fuse.STATX}
NEWER_OPCODES = (fuse.Opcode.STATX,)
FEATURES = {name: value for name, value in vars(fuse.Feature).items() if name.isupper()}
OTHER_NAMES = {
    "FUSE_WRITE_KILL_SUIDGID": fuse.WRITE_IN_KILL_SUIDGID,
    "FUSE_OPEN_KILL_SUIDGID": fuse.OPEN_IN_KILL_SUIDGID,
    "FUSE_SETXATTR_ACL_KILL_SGID": fuse.SETXATTR_ACL_KILL_SGID,
    "FOPEN_KEEP_CACHE": fuse.OPEN_KEEP_CACHE,
    "FATTR_KILL_SUIDGID": fuse.SetAttr.KILL_SUIDGID,
    "FATTR_SIZE": fuse.SetAttr.SIZE, "FATTR_CTIME": fuse.SetAttr.CTIME}


def test_numbers_and_lengths_are_those_of_the_header(tmp_path: Path) -> None:
    lines = ['#include <linux/fuse.h>', '#include <stdio.h>', 'int main(void) {']
    expected = {}

    def ask(what: str, value: int) -> None:
        lines.append(f'printf("{what} %ld\\n", (long)({what}));')
        expected[what] = value

    for name, layout in STRUCTS.items():
        ask(f"sizeof(struct {name})", layout.size)
    for opcode in fuse.Opcode:
        if opcode not in NEWER_OPCODES:
            ask(f"FUSE_{opcode.name}", opcode.value)
    for name, value in FEATURES.items():
        ask(f"FUSE_{name}", value)
    for name, value in OTHER_NAMES.items():
        ask(name, value)
    lines.append("#if FUSE_KERNEL_MINOR_VERSION >= 39")
    newer = dict(expected)
    for name, layout in NEWER_STRUCTS.items():
        ask(f"sizeof(struct {name})", layout.size)
    for opcode in NEWER_OPCODES:
        ask(f"FUSE_{opcode.name}", opcode.value)
    lines += ["#endif", "return 0; }"]
    source = tmp_path / "ask.c"
    source.write_text("\n".join(lines))
    subprocess.run(["gcc", "-o", tmp_path / "ask", source], check=True)
    told = subprocess.run([tmp_path / "ask"], check=True, capture_output=True, text=True).stdout
    found = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in told.splitlines()}
    assert newer.items() <= found.items() <= expected.items()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
async def test_recorded_requests_get_the_recorded_replies(path: Path) -> None:
    recording = list(read_recording(path))
    assert {fuse.Opcode.STATX, fuse.Opcode.TMPFILE, fuse.Opcode.LSEEK, fuse.Opcode.CREATE,
            fuse.Opcode.COPY_FILE_RANGE} <= {asked.opcode for asked, _ in recording}
    assert await answer_all(asked for asked, _ in recording) == [reply for _, reply in recording]


@pytest.mark.parametrize(("offered", "told"), [(33, 33), (38, 38), (39, 39), (45, 39)])
async def test_the_older_version_counts(offered: int, told: int) -> None:
    asked = Asked(fuse.Opcode.INIT, 0, 0, 0, fuse.INIT_IN.pack(7, offered, 0, 0xFFFFFFFF))
    reply, = await answer_all([asked])
    major, minor, _, features, *_ = fuse.INIT_OUT.unpack(bytes.fromhex(reply))
    assert (major, minor) == (7, told)
    assert features == fuse.WANTED | fuse.Feature.CACHE_SYMLINKS | fuse.Feature.POSIX_ACL


@pytest.mark.parametrize("version", [(7, 32), (6, 45), (8, 0)])
async def test_a_kernel_too_old_or_too_new_is_refused(version: tuple[int, int]) -> None:
    asked = Asked(fuse.Opcode.INIT, 0, 0, 0, fuse.INIT_IN.pack(*version, 0, 0))
    reply, = await answer_all([asked])
    assert reply.startswith("!")


async def test_only_what_is_offered_is_taken() -> None:
    asked = Asked(fuse.Opcode.INIT, 0, 0, 0, fuse.INIT_IN.pack(7, 39, 0, fuse.Feature.POSIX_ACL))
    reply, = await answer_all([asked])
    assert fuse.INIT_OUT.unpack(bytes.fromhex(reply))[3] == fuse.Feature.POSIX_ACL


async def test_a_birth_time_is_in_its_place() -> None:
    made, asked = (Asked(fuse.Opcode.MKDIR, 1, 5, 6, fuse.MKDIR_IN.pack(0o755, 0o022) + b"d\0"),
                   Asked(fuse.Opcode.STATX, 2, 0, 0, bytes(24)))
    _, reply = await answer_all([made, asked])
    raw = bytes.fromhex(reply)
    mask, = struct.unpack_from("=I", raw, 32)
    assert mask & fuse.STATX_BTIME
    uid, gid, mode = struct.unpack_from("=IIH", raw, 32 + 20)
    assert (uid, gid, mode) == (5, 6, 0o40755)
    seconds, ns = struct.unpack_from("=qI", raw, 32 + 64 + 16)
    assert seconds == 10**9 and ns > 0
