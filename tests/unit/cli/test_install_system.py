import os
import subprocess
from pathlib import Path

import pytest

from ecfs.cli import install_system
from ecfs.cli.main import run_command
from ecfs.cli.tools import Tools

HELPERS = install_system.HELPERS


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to install; the programs are in a directory of their own."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in HELPERS:
        (programs / name).touch()
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    # Who starts pytest by its own name has the real ones beside it.
    monkeypatch.setattr("sys.argv", [str(programs / "ecfs")])
    return tmp_path / "prefix"


def tree(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir())


def install(tools: Tools, prefix: Path, *more: str) -> int:
    return run_command("ecfs", ["install-system", "--prefix", str(prefix), *more], tools)


def test_everything_comes_and_goes(tools: Tools, prefix: Path) -> None:
    assert install(tools, prefix) == 0
    installed = tree(prefix)
    assert {f"sbin/{name}" for name in HELPERS} <= set(installed)
    assert (prefix / "sbin/mount.ecfs").readlink().parent.name == "bin"
    assert "share/man/man8/mount.ecfs.8" in installed
    assert "share/man/man1/ecfs.1" in installed
    assert "share/man/man5/ecfs.5" in installed
    assert "share/bash-completion/completions/ecfs" in installed
    assert "share/zsh/site-functions/_ecfs" in installed
    assert "share/fish/vendor_completions.d/ecfs.fish" in installed
    assert install(tools, prefix) == 0
    assert tree(prefix) == installed
    assert install(tools, prefix, "--remove") == 0
    assert tree(prefix) == []
    assert install(tools, prefix, "--remove") == 0


def test_a_dry_run_touches_nothing(
    tools: Tools, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tools, prefix, "--dry-run") == 0
    assert not prefix.exists()
    assert f"would install {prefix}/sbin/fsck.ecfs" in capsys.readouterr().out
    install(tools, prefix)
    installed = tree(prefix)
    assert install(tools, prefix, "--remove", "--dry-run") == 0
    assert tree(prefix) == installed


@pytest.mark.parametrize("name", ["sbin/mount.ecfs", "share/man/man1/ecfs.1"])
def test_what_is_not_ours_stays(tools: Tools, prefix: Path, name: str) -> None:
    path = prefix / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert install(tools, prefix) == 1
    assert install(tools, prefix, "--remove") == 0
    assert path.read_text() == "mine"


@pytest.mark.parametrize("more", [(), ("--remove",)])
def test_who_may_not_is_told_what_to_do_and_nothing_else(
    tools: Tools, prefix: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/other/path")

    assert install(tools, prefix) == 0
    before = tree(prefix)
    capsys.readouterr()
    monkeypatch.setattr(os, "symlink", refused)
    monkeypatch.setattr(os, "unlink", refused)
    assert install(tools, prefix, *more) == 1
    out, err = capsys.readouterr()
    assert (out, tree(prefix)) == ("", before)
    verb = "removed" if more else "installed"
    assert err == (
        f"ecfs: {prefix}/sbin/mount.ecfs cannot be {verb}: Permission denied; do it as root, or "
        "below a directory of your own with --prefix DIR [E-FAILED]\n"
    )


def test_without_an_installation_there_is_nothing_to_link(
    tools: Tools, prefix: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in HELPERS:
        (prefix.parent / "venv" / "bin" / name).unlink()
    assert install(tools, prefix) == 1
    assert "install ecfs with pip" in capsys.readouterr().err


def test_the_scripts_of_bash_and_zsh_are_scripts(tools: Tools, prefix: Path) -> None:
    install(tools, prefix)
    script = prefix / "share/bash-completion/completions/ecfs"
    subprocess.run(["bash", "-n", str(script)], check=True)
    zsh = (prefix / "share/zsh/site-functions/_ecfs").read_text()
    assert zsh.startswith("#compdef ecfs\n")
