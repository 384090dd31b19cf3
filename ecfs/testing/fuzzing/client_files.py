"""Targets: what this client reads of its own: options, passphrases, its state directory."""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from io import BytesIO
from pathlib import Path

from ecfs.base.errors import AnchorUnusable, EcfsError
from ecfs.base.world import SystemClock
from ecfs.cli.mountopts import parse
from ecfs.cli.pool import distinct, join_targets, read_pool_file, resolve, split_targets
from ecfs.cli.runtime import RunDirectory
from ecfs.cli.secret import PASSPHRASE_LEN_MAX, SecretSource, first_line
from ecfs.keys import parse_recovery_key, recovery_key_text
from ecfs.observe import AuditLog, Event, EventKind
from ecfs.testing.fuzzing.material import POOL_ID
from ecfs.testing.fuzzing.target import FuzzTarget, expect
from ecfs.volume.anchor import Anchor, AnchorFile, PathMemory

SHM = Path("/dev/shm")
ANCHOR = (b'{"pool_id": "10", "epoch": 3, "seq": 42, "hash": "c0", "data": 4, "parity": 2, '
          b'"commitment": "aa", "version": 1}')


def in_folder(function: Callable[[Path, bytes], None]) -> Callable[[bytes], None]:
    """The function with a fresh folder in memory."""
    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None) as folder:
            function(Path(folder), data)
    return run


def recovery_key(data: bytes) -> None:
    """A recovery key as somebody typed it."""
    text = data.decode(errors="replace")
    secret = parse_recovery_key(text)
    expect(parse_recovery_key(recovery_key_text(secret)) == secret, "a key does not come back")


def mount_options(data: bytes) -> None:
    """The words after -o."""
    words = tuple(os.fsdecode(part) for part in data.split(b"\n"))
    wish = parse(words)
    lengths = (wish.block_cache_len, wish.write_back_len)
    expect(all(length is None or 0 < length < 1 << 100 for length in lengths), "a length")
    wish.source(SecretSource())


def pool_words(data: bytes) -> None:
    """POOL as a word of the command line, which has no NUL in it."""
    text = os.fsdecode(data.replace(b"\0", b""))
    parts = split_targets(text)
    if not any(part.endswith("\\") for part in parts):
        expect(split_targets(join_targets(parts)) == parts, "words do not come back")
    distinct(parts)
    if not set(text) & set("*?["):
        resolve(text, RunDirectory(Path("/nonexistent/ecfs-fuzzing")))


def pool_file(folder: Path, data: bytes) -> None:
    """A pool file."""
    path = folder / "pool"
    path.write_bytes(data)
    paths = distinct(read_pool_file(path))
    expect(all(os.path.isabs(name) and "\0" not in name for name in paths), "a relative path")


def passfile(folder: Path, data: bytes) -> None:
    """The file of a passphrase, the same on a descriptor, and as a key file."""
    path = folder / "secret"
    path.write_bytes(data)
    SecretSource(keyfile=str(path)).read()
    line = SecretSource(passfile=str(path)).read()
    expect(line == first_line(BytesIO(data)), "another line from a file")
    expect(0 < len(line) <= PASSPHRASE_LEN_MAX and b"\n" not in line, "an odd passphrase")


def anchor(folder: Path, data: bytes) -> None:
    """The anchor of a pool."""
    path = folder / "anchors" / f"{POOL_ID.hex()}.json"
    path.parent.mkdir()
    path.write_bytes(data)
    found = AnchorFile(folder, POOL_ID).load()
    if found is None:
        expect(False, "an anchor that is there was passed over")
        return
    for part in fields(Anchor):
        value = getattr(found, part.name)
        expect(type(value) is part.type, f"{part.name} of an anchor is {value!r}")


def path_memory(folder: Path, data: bytes) -> None:
    """targets.json."""
    (folder / "targets.json").write_bytes(data)
    memory = PathMemory(folder)
    try:
        known = memory.load()
    except AnchorUnusable:
        return
    expect(all(isinstance(part, str) for item in known.items() for part in item), "not text")
    memory.note(["/some/where"], POOL_ID)
    expect(memory.load()["/some/where"] == POOL_ID.hex(), "a path was not noted")


def audit_log(folder: Path, data: bytes) -> None:
    """audit.jsonl: verified, and gone on from."""
    path = folder / "audit.jsonl"
    path.write_bytes(data)
    log = AuditLog(str(path), SystemClock())
    try:
        log.append(Event(EventKind.MOUNTED, "mounted"), sync=False)
    finally:
        log.close()
    expect(path.read_bytes()[:len(data)] == data, "the audit log was changed")
    AuditLog.verify(str(path))


def mount_record(folder: Path, data: bytes) -> None:
    """A record of a mount in the run directory."""
    os.chmod(folder, 0o700)
    (folder / "pool.json").write_bytes(data)
    run = RunDirectory(folder)
    run.of_pool("pool")
    run.at_mountpoint("/mnt")
    run.with_target(("/a",))
    for record in run.records():
        shown: tuple[object, ...] = (record.socket, record.pid)
        expect(tuple(map(type, shown)) == (str, int), "a wrong type")
        run.read(record)


def _audit_seeds() -> Iterator[bytes]:
    yield b""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        log = AuditLog(str(path), SystemClock())
        for kind in (EventKind.MOUNTED, EventKind.SHARD_BAD):
            log.append(Event(kind, "text", POOL_ID, 5, 0x1000, "a", "b"), sync=False)
        log.close()
        yield path.read_bytes()
        yield path.read_bytes()[:-20]
    yield b'{"seq": 1e400, "previous": 0}\n'
    yield b"[" * 4000 + b"\n"


def _json_seeds(*documents: bytes) -> Callable[[], Iterator[bytes]]:
    def made() -> Iterator[bytes]:
        yield from documents
        yield b"[" * 5000
        yield b'{"a": ' * 5000
        yield b"1" * 5000
        yield b"{}"
        yield b"\xff\xfe"
    return made


TARGETS = (
    FuzzTarget("recovery-key", recovery_key,
               lambda: [recovery_key_text(bytes(range(32))).encode(), b"-" * 70, b"0" * 70]),
    FuzzTarget("mount-options", mount_options, lambda: [
        b"ro,allow_other,cache=64M,write_back=1G\nanchor=always,passfile=/a,x-y,_netdev",
        b"cache=999999999999999T,nodev,comment=x"], refusals=(EcfsError,)),
    FuzzTarget("pool-words", pool_words, lambda: [b"/a:/b\\:c", b"a:b:c", b"*"],
               refusals=(EcfsError,)),
    FuzzTarget("pool-file", in_folder(pool_file),
               lambda: [b"# a pool\n/mnt/a\n./b\n", b"a\n" * 20_000], refusals=(EcfsError,)),
    FuzzTarget("passfile", in_folder(passfile), lambda: [b"correct horse\n", b"x" * 5000],
               refusals=(EcfsError,)),
    FuzzTarget("anchor", in_folder(anchor), _json_seeds(ANCHOR, ANCHOR.replace(b"42", b'"x"'))),
    FuzzTarget("path-memory", in_folder(path_memory), _json_seeds(b'{"/a": "10"}', b"[1]")),
    FuzzTarget("audit-log", in_folder(audit_log), _audit_seeds, refusals=(EcfsError,)),
    FuzzTarget("mount-record", in_folder(mount_record), _json_seeds(
        b'{"schema": "ecfs.mounted/1", "pool_id": "pool", "pid": 1, "process_start": 1, "boot_id":'
        b' "b", "mountpoint": "/mnt", "socket": "/run/pool.sock", "targets": ["/a"]}')),
)
