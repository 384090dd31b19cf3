"""The manual pages name each member of each form of JSON, with its type, and no other.

Real commands on real pools; together their runs have shown every member.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pytest

from tests.unit.cli.shell import TOP, Done, Shell, assert_done

TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "object": dict,
                          "array": list, "null": NoneType}
MAPS = {"counts", "notes"}
"""Objects whose members are not of the form."""


def documented(page: str) -> dict[str, set[type]]:
    """The members that a page names."""
    text = (TOP / "man" / f"{page}.1").read_text()
    section = text.split("\n.Sh JSON\n")[1].split("\n.Sh ")[0]
    found = re.findall(r"^\.It Sy (\S+) Pq (.+)$", section, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return {name: {TYPES[word] for word in words.split(" or ")} for name, words in found}


def form_of(page: str) -> str:
    text = (TOP / "man" / f"{page}.1").read_text()
    form, again = re.findall(r"^\.Ql (ecfs\.[a-z]+/[0-9]+)\b", text.split("\n.Sh JSON\n")[1],
                             re.MULTILINE)[:2]
    assert form == again
    return str(form)


def members(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if name:
        yield name, value
    if isinstance(value, dict) and name not in MAPS:
        for key, inner in value.items():
            yield from members(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict):
                for key, value_of_key in inner.items():
                    yield from members(value_of_key, f"{name}[].{key}")


def assert_documented(page: str, *reports: Done) -> None:
    """The page names what these show, each with its type, and nothing else."""
    named, shown = documented(page), set()
    for done in reports:
        document = json.loads(done.stdout)
        assert next(iter(document)) == "schema" and document["schema"] == form_of(page)
        for name, value in members(document):
            assert type(value) in named[name], (name, value)
            shown.add(name)
    assert shown == set(named)


def with_key(shell: Shell, *words: str) -> Done:
    return shell.within("ecfs", *words[:-1], "--json", "--passfile", str(shell.passfile), words[-1])


def test_mkfs(shell: Shell) -> None:
    made = shell.mkfs("--json", "--recovery-key", *shell.targets)
    assert_done(made)
    assert_documented("ecfs-mkfs", made, shell.mkfs("--json", "--force", *shell.targets))


def test_status_sync_scrub_and_audit_of_a_mounted_pool(mounted: Shell) -> None:
    (mounted.root / "file").write_bytes(bytes(100_000))
    place = str(mounted.root)
    assert_documented("ecfs-sync", mounted.ecfs("sync", "--json", place))
    assert_documented("ecfs-scrub", mounted.ecfs("scrub", "--json", place))
    status = mounted.ecfs("status", "--json", place)
    assert_documented("ecfs-audit", mounted.ecfs("audit", "--json", place),
                      mounted.ecfs("audit", "--json"),
                      mounted.ecfs("audit", "--json", "--verify"))
    assert_done(mounted.unmount())
    assert_documented("ecfs-status", status, with_key(mounted, "status", mounted.pool),
                      mounted.ecfs("status", "--json", mounted.pool))


def test_fsck_salvage_and_target_replace(mounted: Shell) -> None:
    (mounted.root / "file").write_bytes(bytes(100_000))
    assert_done(mounted.unmount())
    column = next(Path(mounted.targets[0]).glob("segments/*/*.col"))
    column.unlink()
    found = with_key(mounted, "fsck", "-f", mounted.pool)
    assert json.loads(found.stdout)["findings"]
    assert_documented("ecfs-fsck", found, with_key(mounted, "fsck", "-p", "-f", mounted.pool),
                      with_key(mounted, "fsck", mounted.pool))
    key = ("--json", "--passfile", str(mounted.passfile))
    assert_documented("ecfs-salvage", mounted.within(
        "ecfs", "salvage", *key, mounted.pool, str(mounted.top / "out")))
    replaced = mounted.within("ecfs", "target", "replace", *key, mounted.pool, "target1",
                              str(mounted.top / "new"))
    assert_done(replaced)
    assert_documented("ecfs-target-replace", replaced)


def test_errors(shell: Shell) -> None:
    failed = shell.ecfs("status", "--json", str(shell.top))
    assert failed.returncode == 11
    assert_documented("ecfs", failed)


def test_each_page_of_a_verb_that_knows_json_names_its_form() -> None:
    for page in sorted((TOP / "man").glob("ecfs-*.1")):
        text = page.read_text()
        assert (".It Fl -json\n" in text) == (".Sh JSON\n" in text), page
        if ".Sh JSON\n" in text:
            assert documented(page.stem)["schema"] == {str}
            assert ".Ql ecfs.error/1 ,\nas in\n.Xr ecfs 1 .\n" in text


@pytest.mark.parametrize("page", ["ecfs-status", "ecfs-audit"])
def test_what_the_log_proves_is_told_in_the_same_members(page: str) -> None:
    prefix = {"ecfs-status": "audit.", "ecfs-audit": "pool."}[page]
    found = {name.removeprefix(prefix) for name in documented(page) if name.startswith(prefix)}
    assert found - {"pool_id"} == {"match", "text", "log", "count", "pool", *(
        f"pool.{name}" for name in (
            "commit", "epoch", "writer", "host", "log", "count", "hash"))}
