"""Programs that people use, on the mount: they succeed, and agree with an ordinary directory."""

import hashlib
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = 120


def run(*command: object, cwd: Path | None = None) -> str:
    """Run to success; returns stdout."""
    result = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True,
                            text=True, check=False)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


@pytest.fixture
def source(reference: Path) -> Iterator[Path]:
    """A tree with all kinds of files on an ordinary file system."""
    rng = random.Random(11)
    tree = reference / "source"
    for number in range(FILES):
        path = tree / f"d{number % 7}" / f"e{number % 3}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice((0, 1, 500, 4096, 30_000, 200_000))))
        path.chmod(rng.choice((0o644, 0o600, 0o755, 0o4755)))
        os.utime(path, ns=(rng.randrange(10**18), rng.randrange(10**18)))
    os.link(tree / "d0" / "e0" / "file 0", tree / "hard")
    os.symlink("d0/e0/file 0", tree / "soft")
    os.symlink("nowhere", tree / "dangling")
    os.mkfifo(tree / "fifo")
    for name in ("soft", "dangling", "fifo"):
        os.utime(tree / name, ns=(10**18, 10**18), follow_symlinks=False)
    os.setxattr(tree / "d1" / "e1" / "file 1", "user.note", b"kept")
    os.chown(tree / "d2", 12, 34)
    yield tree


def fingerprint(tree: Path) -> list[tuple[object, ...]]:
    """Names, kinds, modes, owners, times and contents of all files."""
    found: list[tuple[object, ...]] = []
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        content = (hashlib.blake2b(path.read_bytes()).hexdigest()
                   if path.is_file() and not path.is_symlink() else "")
        found.append((path.relative_to(tree), status.st_mode, status.st_uid, status.st_gid,
                      0 if path.is_dir() else status.st_mtime_ns, content,
                      status.st_nlink if not path.is_dir() else 0))
    return found


def test_cp(root: Path, source: Path) -> None:
    run("cp", "-a", source, root / "copy")
    assert fingerprint(root / "copy") == fingerprint(source)
    assert os.getxattr(root / "copy" / "d1" / "e1" / "file 1", "user.note") == b"kept"
    run("cp", "-a", root / "copy", root / "again")
    run("diff", "-r", "--no-dereference", "--exclude=fifo", root / "copy", root / "again")
    run("rm", "-r", root / "copy")
    assert fingerprint(root / "again") == fingerprint(source)


def test_rsync(root: Path, source: Path) -> None:
    run("rsync", "-aHX", f"{source}/", root / "copy")
    assert fingerprint(root / "copy") == fingerprint(source)
    again = run("rsync", "-aHXc", "--itemize-changes", f"{source}/", root / "copy")
    assert again == ""
    (source / "d3" / "e0" / "file 3").write_bytes(b"changed")
    (source / "hard").unlink()
    run("rsync", "-aHX", "--delete", f"{source}/", root / "copy")
    assert fingerprint(root / "copy") == fingerprint(source)


def test_tar(root: Path, source: Path) -> None:
    run("tar", "--format=posix", "-cf", root / "archive.tar", "-C", source, ".")
    with tarfile.open(root / "archive.tar") as archive:
        assert len(archive.getmembers()) > FILES
    (root / "out").mkdir()
    run("tar", "-xpf", root / "archive.tar", "-C", root / "out")
    assert fingerprint(root / "out") == fingerprint(source)


def test_git(root: Path, source: Path) -> None:
    def git(*words: object) -> str:
        return run("git", "-c", "user.name=n", "-c", "user.email=e@example.org",
                   "-c", f"safe.directory={root / 'work'}", *words, cwd=root / "work")

    run("cp", "-r", source / "d0", root / "work")
    git("init", "--quiet")
    git("add", "-A")
    git("commit", "--quiet", "-m", "one")
    next(path for path in (root / "work").rglob("file*")).write_bytes(b"changed")
    assert len(git("status", "--short").splitlines()) == 1
    git("commit", "--quiet", "-a", "-m", "two")
    git("gc", "--quiet")
    git("fsck", "--strict")
    git("checkout", "--quiet", "HEAD~1")
    assert git("status", "--short") == ""
    run("git", "-c", f"safe.directory={root / 'work'}", "clone", "--quiet",
        f"file://{root / 'work'}", root / "clone")


def test_sqlite(root: Path) -> None:
    for mode in ("delete", "wal"):
        database = root / f"{mode}.db"
        run("sqlite3", database, f"PRAGMA journal_mode={mode}; CREATE TABLE t(a, b);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) "
            "INSERT INTO t SELECT i, randomblob(50) FROM n; CREATE INDEX x ON t(b);"
            "DELETE FROM t WHERE a%2; VACUUM;")
        assert run("sqlite3", database, "PRAGMA integrity_check; SELECT count(*) FROM t;"
                   ).split() == ["ok", "2500"]


def test_compiling(root: Path) -> None:
    (root / "main.c").write_text('#include <stdio.h>\nint main(void){puts("built here");}\n')
    run("gcc", "-O1", "-o", root / "main", root / "main.c")
    assert run(root / "main") == "built here\n"


def test_find_and_du(root: Path, source: Path) -> None:
    run("cp", "-a", source, root / "copy")
    for words in (("-type", "f"), ("-size", "+10k"), ("-perm", "-4000"), ("-newermt", "1990-01-01"),
                  ("-type", "d"), ("-links", "2", "-type", "f")):
        ours = run("find", ".", *words, cwd=root / "copy").splitlines()
        assert sorted(ours) == sorted(run("find", ".", *words, cwd=source).splitlines())
    used = int(run("du", "-sk", root / "copy").split()[0])
    assert used >= sum(path.stat().st_size for path in source.rglob("file*")) // 1024 // 2


def test_dd(root: Path, reference: Path) -> None:
    for base in (root, reference):
        (base / "in").write_bytes(random.Random(5).randbytes(1 << 20))
        run("dd", f"if={base / 'in'}", f"of={base / 'out'}", "bs=7777", "seek=3", "conv=fsync",
            "status=none")
        run("dd", f"if={base / 'in'}", f"of={base / 'out'}", "bs=1000", "count=5", "skip=9",
            "conv=notrunc", "status=none")
        run("dd", "if=/dev/zero", f"of={base / 'sparse'}", "bs=1", "count=0", "seek=3G",
            "status=none")
    assert (root / "out").read_bytes() == (reference / "out").read_bytes()
    assert (root / "sparse").stat().st_size == 3 << 30


def test_attributes_of_the_shell(root: Path) -> None:
    (root / "f").touch()
    run("setfattr", "-n", "user.a", "-v", "value", root / "f")
    assert "user.a=\"value\"" in run("getfattr", "-d", root / "f")
    run("touch", "-d", "2001-02-03T04:05:06.789012345Z", root / "f")
    assert run("stat", "-c", "%.9Y", root / "f").strip() == "981173106.789012345"
    run("flock", "-x", root / "f", "true")
