"""Many processes at once, many names, and the field's stress programs."""

import os
import subprocess
import sys
from pathlib import Path

from ecfs.testing.programs.running import ProgramFailed, Stage, require, run

WORKERS_COUNT = 4
NAMES_COUNT = 3000
APPENDED_LEN = 64
# Makes, renames, replaces and removes its own names among those of others, and appends to one file.
_WORKER = """
import os, random, sys
base, me, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(me)
log = os.open(f"{base}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for step in range(rounds):
    name = f"{base}/{me}.{step}"
    with open(name, "wb") as file:
        file.write(b"%d" % me * (step % 5000))
    os.rename(name, f"{base}/{me}.last")
    with open(f"{base}/shared.tmp.{me}", "wb") as file:
        file.write(b"%d" % me * 100)
    os.rename(f"{base}/shared.tmp.{me}", f"{base}/shared")
    assert len(set(open(f"{base}/shared", "rb").read())) == 1
    try:
        os.mkdir(f"{base}/turn")
        os.rmdir(f"{base}/turn")
    except OSError as error:
        assert error.errno in (17, 2), error
    os.write(log, (f"{me:02d} {step:06d}").encode().ljust(63) + b"\\n")
"""


def crowd(stage: Stage) -> None:
    """Four processes in one directory; no name, no byte and no appended line gets lost."""
    base, rounds_count = stage.mounted / "crowd", 60 * stage.scale
    base.mkdir()
    workers = [subprocess.Popen([sys.executable, "-c", _WORKER, str(base), str(me),
                                 str(rounds_count)], stderr=subprocess.PIPE, text=True)
               for me in range(WORKERS_COUNT)]
    for worker in workers:
        _, told = worker.communicate()
        require(worker.returncode == 0, told)
    wanted = {"log", "shared", *(f"{me}.last" for me in range(WORKERS_COUNT))}
    require(set(os.listdir(base)) == wanted, f"names: {sorted(os.listdir(base))[:9]}")
    lines = (base / "log").read_bytes()
    require(len(lines) == WORKERS_COUNT * rounds_count * APPENDED_LEN, "appends got lost")
    told_lines = {lines[at:at + 9] for at in range(0, len(lines), APPENDED_LEN)}
    require(len(told_lines) == WORKERS_COUNT * rounds_count, "appends overwrote each other")


def many_names(stage: Stage) -> None:
    """A large directory is read while names come and go, and removed while others make more."""
    base = stage.mounted / "many"
    base.mkdir()
    stay = {f"stay{number:06d}" for number in range(NAMES_COUNT * stage.scale)}
    for name in stay:
        (base / name).touch()
    for number in range(200):
        (base / f"go{number}").touch()
    seen: list[str] = []
    with os.scandir(base) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number < 200:
                (base / f"go{number}").unlink()
                (base / f"new{number}").touch()
    require(len(seen) == len(set(seen)), "a name was listed twice")
    require(stay <= set(seen), "a name that stayed was not listed")
    maker = subprocess.Popen([sys.executable, "-c", (
        "import os, sys, itertools\nfor n in itertools.count():\n"
        "    try:\n        open(f'{sys.argv[1]}/late{n}', 'w').close()\n"
        "    except OSError:\n        break\n    if n > 500: break\n"), str(base)])
    try:
        _remove(base)
    finally:
        maker.wait()
    _remove(base)
    require(not base.exists(), "the directory is still there")


def _remove(base: Path) -> None:
    """rm -rf; that somebody made a name meanwhile is no failure of it."""
    try:
        run("rm", "-rf", base)
    except ProgramFailed as failure:
        require("not empty" in str(failure), str(failure))


def fio(stage: Stage) -> None:
    """Random and sequential writes of mixed lengths, each verified."""
    for pattern in ("randwrite", "write", "randrw"):
        for extra in (("--direct=1",), ("--fsync=32",), ("--ioengine=mmap",)):
            run("fio", f"--name={pattern}", f"--directory={stage.mounted}", f"--rw={pattern}",
                f"--size={16 * stage.scale}m", "--bsrange=512-128k", "--bs_unaligned=0",
                "--blockalign=512", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
                "--numjobs=2", "--minimal", "--unlink=1", "--verify_state_save=0", *extra)


STRESSORS = (
    "access", "aio", "aiol", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep",
    "dirmany", "dup", "fallocate", "fcntl", "fiemap", "filename", "flock", "fpunch", "fstat",
    "getdent", "hdd", "inotify", "io", "iomix", "io-uring", "leases", "link", "lockf", "locka",
    "lockofd", "mknod", "msync", "open", "readahead", "rename", "revio", "seek", "sendfile",
    "splice", "symlink", "sync-file", "touch", "unlink", "utime", "verity", "xattr")
STRESSOR_OPTIONS = {"hdd": ("--hdd-bytes", "16m"), "fallocate": ("--fallocate-bytes", "16m"),
                    "copy-file": ("--copy-file-bytes", "128m"),
                    "sync-file": ("--sync-file-bytes", "16m")}


def stress_ng(stage: Stage) -> None:
    """stress-ng's file system stressors, one after the other, each checking what it reads.

    What fails on a kernel file system as well is no fault of ours.
    """
    known = run("stress-ng", "--stressors").split()
    failures = []
    for stressor in (name for name in STRESSORS if name in known):
        try:
            _stress(stressor, stage.mounted, stage.scale)
        except ProgramFailed as failure:
            try:
                _stress(stressor, stage.plain, stage.scale)
            except ProgramFailed:
                continue
            failures.append(f"{stressor}: {failure}")
    require(not failures, "\n".join(failures))


def _stress(stressor: str, place: Path, seconds: int) -> None:
    run("stress-ng", f"--{stressor}", "2", "--timeout", f"{seconds}s", "--verify", "--temp-path",
        place, *STRESSOR_OPTIONS.get(stressor, ()))


def dbench(stage: Stage) -> None:
    """The load of a file server with four clients."""
    run("dbench", "-D", stage.mounted, "-t", 5 * stage.scale, "-c", "/usr/share/dbench/client.txt",
        WORKERS_COUNT)
