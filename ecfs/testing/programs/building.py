"""Version control, compilers, installers, copies of trees."""

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

from ecfs.testing.programs.running import Stage, require, run

FILES_COUNT = 60
SOURCES_COUNT = 24


def _tree(base: Path, files_count: int, seed: int = 1) -> None:
    """Directories with files of all lengths."""
    rng = random.Random(seed)
    for number in range(files_count):
        path = base / f"d{number % 7}" / f"e{number % 3}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice((0, 1, 500, 4096, 30_000, 200_000))))


def git(stage: Stage) -> None:
    """Commit, clone, branch, collect garbage; every object is there and the tree is clean."""
    origin, clone = stage.mounted / "origin", stage.mounted / "clone"
    identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "gc.auto=0")
    run("git", "init", "-q", "-b", "main", origin)
    for step in range(4 * stage.scale):
        _tree(origin, FILES_COUNT, seed=step)
        run("git", "add", "-A", cwd=origin)
        run("git", *identity, "commit", "-q", "-m", f"step {step}", cwd=origin)
    run("git", "clone", "-q", origin, clone)
    run("git", "clone", "-q", origin, stage.plain / "clone")
    for repository in (origin, clone):
        run("git", "checkout", "-q", "-b", "other", "HEAD~2", cwd=repository)
        run("git", "checkout", "-q", "main", cwd=repository)
        run("git", "gc", "-q", "--prune=now", cwd=repository)
        run("git", "fsck", "--full", "--strict", cwd=repository)
        require(run("git", "status", "--porcelain", cwd=repository) == "", "the tree is not clean")
    run("diff", "-r", "-x", ".git", clone, stage.plain / "clone")


def make(stage: Stage) -> None:
    """A C project with two jobs at once; a second make has nothing to do, a change little."""
    project = stage.mounted / "project"
    project.mkdir()
    names = [f"part{number}" for number in range(SOURCES_COUNT * stage.scale)]
    for number, name in enumerate(names):
        (project / f"{name}.c").write_text(f"int {name}(void) {{ return {number}; }}\n")
    declared = "".join(f"int {name}(void);\n" for name in names)
    summed = " + ".join(f"{name}()" for name in names)
    (project / "main.c").write_text(
        f"#include <stdio.h>\n{declared}int main(void) {{ printf(\"%d\\n\", {summed}); }}\n")
    (project / "Makefile").write_text(
        "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n"
        "program: $(OBJECTS)\n\t$(CC) -o $@ $^\n%.o: %.c\n\t$(CC) -c -O1 -o $@ $<\n")
    run("make", "-j2", cwd=project)
    total = sum(range(len(names)))
    require(run("./program", cwd=project) == f"{total}\n", "the program computes something else")
    require("up to date" in run("make", "-j2", cwd=project), "make has work left")
    (project / "part0.c").write_text("int part0(void) { return 1000; }\n")
    again = run("make", "-j2", cwd=project)
    require(again.count(" -c ") == 1, "make compiles what did not change")
    require(run("./program", cwd=project) == f"{total + 1000}\n", "the change is not compiled")


def _wheel(path: Path) -> None:
    """A package with a command, as pip installs it without a build or a network."""
    info = "hello-1.dist-info"
    files = {
        "hello/__init__.py": "WORD = 'hello from the mount'\n",
        "hello/run.py": "from hello import WORD\n\n\ndef main():\n    print(WORD)\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: ecfs\nRoot-Is-Purelib: true\n"
                         "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nhello = hello.run:main\n"}
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)


def venv(stage: Stage) -> None:
    """A virtual environment, and a package installed into it by its own pip, offline."""
    package = stage.plain / "hello-1-py3-none-any.whl"
    _wheel(package)
    python = getattr(sys, "_base_executable", sys.executable)
    run(python, "-m", "venv", stage.mounted / "env")
    binary = stage.mounted / "env" / "bin"
    pip = (binary / "pip", "--disable-pip-version-check", "-q")
    run(*pip, "install", "--no-index", package)
    require(run(binary / "hello") == "hello from the mount\n", "the package does not run")
    run(*pip, "uninstall", "-y", "hello")
    require(not (binary / "hello").exists(), "the package is still there")


def rsync(stage: Stage) -> None:
    """There and back with links, lists, attributes and holes: no difference in either direction."""
    source, there, back = stage.plain / "source", stage.mounted / "there", stage.plain / "back"
    _tree(source, FILES_COUNT * stage.scale)
    _dress(source)
    run("rsync", "-aHAXS", f"{source}/", f"{there}/")
    run("rsync", "-aHAXS", f"{there}/", f"{back}/")
    for left, right in ((source, there), (there, back), (source, back)):
        found = run("rsync", "-aHAXSnci", "--delete", f"{left}/", f"{right}/")
        require(found == "", f"{left} and {right} differ: {found[:500]}")
    (source / "d1" / "e1" / "file 1").write_bytes(b"changed")
    (source / "d0" / "e0" / "file 0").unlink()
    run("rsync", "-aHAXS", "--delete", "--inplace", f"{source}/", f"{there}/")
    require(run("rsync", "-aHAXSnci", "--delete", f"{source}/", f"{there}/") == "", "not in step")


def _dress(source: Path) -> None:
    """Links, modes, owners, times, attributes, lists, holes, special files."""
    for number, path in enumerate(sorted(source.rglob("file *"))):
        path.chmod((0o644, 0o600, 0o755, 0o4755, 0o2750)[number % 5])
        os.utime(path, ns=(10**18 + number, 10**18 + 7 * number))
        if number % 4 == 0:
            os.setxattr(path, "user.note", b"note %d" % number)
        if number % 6 == 0:
            run("setfacl", "-m", "u:1234:rw,g:55:r", path)
        if number % 9 == 0:
            os.link(path, path.with_name(f"link {number}"))
    run("setfacl", "-d", "-m", "u:1234:rwx", source / "d2")
    os.chown(source / "d3", 12, 34)
    os.symlink("d0/e0/file 0", source / "soft")
    os.symlink("nowhere", source / "dangling")
    os.mkfifo(source / "fifo")
    with (source / "sparse").open("wb") as file:
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(50 << 20)


def archives(stage: Stage) -> None:
    """tar, cp -a and find agree on the mount and beside it."""
    source = stage.plain / "source"
    _tree(source, FILES_COUNT * stage.scale)
    run("tar", "--format=posix", "-cf", stage.plain / "t", "-C", stage.plain, "source")
    run("tar", "-xf", stage.plain / "t", "-C", stage.mounted)
    run("cp", "-a", stage.mounted / "source", stage.mounted / "copy")
    for tree in ("source", "copy"):
        run("diff", "-r", source, stage.mounted / tree)
    listing = [subprocess.run(["find", ".", "-printf", "%P %y %s %T@\n"], cwd=tree, check=True,
                              capture_output=True).stdout.splitlines()
               for tree in (source, stage.mounted / "copy")]
    plain, mounted = (sorted(line for line in lines if b" d " not in line) for lines in listing)
    require(plain == mounted, "find tells another tree")
