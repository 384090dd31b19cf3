"""Every verb has its manual page, help, completion and line in the changelog."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from ecfs.cli.install_system import HELPERS
from ecfs.cli.main import command_of
from tests.architecture.source import TOP, project

PAGES = sorted((TOP / "man").glob("*.[1578]"))


def root() -> click.Group:
    command, _ = command_of("ecfs")
    assert isinstance(command, click.Group)
    return command


def verbs(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """`target replace` and its like, with their commands."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


VERBS = dict(verbs(root()))


def page(name: str, section: int = 1) -> str:
    return (TOP / "man" / f"{name}.{section}").read_text()


def test_the_verbs_are_those_of_the_contract() -> None:
    assert set(VERBS) == {
        "mkfs",
        "mount",
        "umount",
        "sync",
        "status",
        "fsck",
        "scrub",
        "target replace",
        "salvage",
        "audit",
        "install-system",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_manual_page_with_all_its_options(verb: str) -> None:
    text = page("ecfs-" + verb.replace(" ", "-"))
    assert f".Nm ecfs Cm {verb}\n" in text
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        assert re.search(rf"^\.Sh {section}$", text, re.MULTILINE), section
    documented = set(re.findall(r"^\.It Fl .*$", text, re.MULTILINE))
    words = {word for line in documented for word in re.split(r"[ ,]+", line)}
    for parameter in VERBS[verb].params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert option[1:] in words, option


@pytest.mark.parametrize("verb", VERBS)
def test_no_manual_page_documents_an_option_that_is_not_there(verb: str) -> None:
    text = page("ecfs-" + verb.replace(" ", "-"))
    known = {option for parameter in VERBS[verb].params for option in parameter.opts}
    known |= {"-h", "--help"}
    for line in re.findall(r"^\.It Fl (.*)$", text, re.MULTILINE):
        for word in re.split(r" *, *", line.split(" Ar ")[0]):
            assert f"-{word.removeprefix('Fl ').strip()}" in known, line


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_options_have_help(verb: str) -> None:
    command = VERBS[verb]
    assert command.help
    assert all(
        parameter.help for parameter in command.params if isinstance(parameter, click.Option)
    )


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_its_options_complete(verb: str) -> None:
    shell = ShellComplete(root(), {}, "ecfs", "_ECFS_COMPLETE")
    *groups, last = verb.split()
    assert last in {item.value for item in shell.get_completions(groups, last[:2])}
    offered = {item.value for item in shell.get_completions(verb.split(), "--")}
    options = {
        option
        for parameter in VERBS[verb].params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert options <= offered


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_stands_in_the_overview_and_in_the_changelog(verb: str) -> None:
    assert f".It Cm {verb}\n" in page("ecfs")
    assert f"`ecfs {verb}" in (TOP / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_is_installed_and_has_a_page(helper: str) -> None:
    assert project()["project"]["scripts"][helper] == "ecfs.cli:main"
    assert any(f".Nm {helper}" in path.read_text() for path in PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_a_manual_page_is_clean(path: Path) -> None:
    told = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_a_manual_page_refers_to_pages_that_are_there(path: Path) -> None:
    text = path.read_text()
    for name, section in re.findall(r"^\.Xr (\S+) (\d)", text, re.MULTILINE):
        if "ecfs" in name:
            assert (TOP / "man" / f"{name}.{section}").is_file(), (name, section)


def test_every_exit_code_of_the_contract_is_in_the_manual() -> None:
    text = page("ecfs")
    for code in (0, 1, 2, *range(10, 24), 70):
        assert f".It {code}\n" in text
