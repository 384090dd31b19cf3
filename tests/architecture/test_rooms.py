"""Rooms: imports point down, each is private below its facade, no room has state of its own."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator

from tests.architecture.source import TOP, Source, project, rooms, sources

# Modules that other rooms import directly; everything else goes through a facade.
OPEN_ROOM = "base"
OPEN_MODULES = {"ecfs.metadata.database"}
# It stands outside of the order and may import all.
OUTSIDE = "testing"

MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem",
    "popleft", "remove", "setdefault", "sort", "update",
}  # fmt: skip
CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CONTAINER_CALLS = {
    "list", "dict", "set", "bytearray", "deque", "defaultdict", "Counter", "OrderedDict",
    "WeakValueDictionary", "WeakKeyDictionary", "WeakSet", "count", "local", "ContextVar",
}  # fmt: skip


def test_imports_point_down() -> None:
    # In a process of its own: the linter switches off every logger that exists.
    code = "import sys, importlinter.cli as c; sys.exit(c.lint_imports(no_cache=True))"
    result = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True,
                            check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_room_has_its_place_in_the_order_and_in_the_package() -> None:
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg")
    order = config["importlinter:contract:order"]["layers"].split()
    assert len(order) == len(set(order))
    assert set(order) | {OUTSIDE} == rooms()
    packages = set(project()["tool"]["setuptools"]["packages"])
    folders = {".".join(path.parent.relative_to(TOP).parts)
               for path in (TOP / "ecfs").rglob("__init__.py")}
    assert packages == {"ecfs.cli.man"} | folders


def imported_modules(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of each module of ours that is imported."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.path}:{node.lineno}: a relative import"
            if node.module == "ecfs":
                yield from ((node.lineno, f"ecfs.{alias.name}") for alias in node.names)
            elif node.module is not None and node.module.startswith("ecfs."):
                yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("ecfs."):
                    yield node.lineno, alias.name


def test_a_room_is_entered_by_its_facade() -> None:
    trespasses = [
        f"{source.path}:{line}: {module}"
        for source in sources("ecfs")
        if source.room != OUTSIDE
        for line, module in imported_modules(source)
        if module.count(".") > 1
        and module.split(".")[1] not in (source.room, OPEN_ROOM)
        and module not in OPEN_MODULES
    ]
    assert trespasses == []


def test_private_names_stay_in_their_module() -> None:
    trespasses = [
        f"{source.path}:{node.lineno}: {node.module}.{alias.name}"
        for source in sources("ecfs")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecfs")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert trespasses == []


def test_each_facade_says_what_the_room_owns() -> None:
    silent = [
        str(source.path)
        for source in sources("ecfs")
        if source.path.name == "__init__.py" and len(ast.get_docstring(source.tree) or "") < 60
    ]
    assert silent == []


def module_containers(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of each container that is bound at module level."""
    for node in source.tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        called = value.func if isinstance(value, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if isinstance(value, CONTAINERS) or name in CONTAINER_CALLS:
            for target in targets:
                if isinstance(target, ast.Name) and target.id != "__all__":
                    yield node.lineno, target.id


def changed_names(source: Source) -> set[str]:
    """Names whose value is changed in place somewhere in the file."""
    changed = set()
    for node in ast.walk(source.tree):
        held: ast.AST | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            held = node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATORS
        ):
            held = node.func.value
        if isinstance(held, ast.Name):
            changed.add(held.id)
    return changed


def test_no_module_has_state() -> None:
    found = []
    for source in sources("ecfs"):
        changed = changed_names(source)
        for line, name in module_containers(source):
            # A table that is never changed is a constant, and is written as one.
            if name in changed or not name.isupper():
                found.append(f"{source.path}:{line}: {name}")
        found += [
            f"{source.path}:{node.lineno}: global {', '.join(node.names)}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Global)
        ]
    assert found == []
