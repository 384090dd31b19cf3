"""The source tree as the architecture tests see it: files, their rooms, their syntax."""

import ast
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file. `path` is relative to the top of the tree."""

    path: Path

    @cached_property
    def text(self) -> str:
        return (TOP / self.path).read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def room(self) -> str:
        """`volume` of `ecfs/volume/opening.py`; empty for `ecfs/__init__.py`."""
        return self.path.parts[1] if len(self.path.parts) > 2 else ""

    @property
    def is_test(self) -> bool:
        return self.path.parts[0] == "tests"


def sources(*folders: str) -> list[Source]:
    """All Python files below the folders, in a stable order."""
    return [
        Source(path.relative_to(TOP))
        for folder in folders
        for path in sorted((TOP / folder).rglob("*.py"))
    ]


def rooms() -> set[str]:
    """The rooms that there are."""
    return {path.parent.name for path in (TOP / "ecfs").glob("*/__init__.py")}


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((TOP / "pyproject.toml").read_text())
