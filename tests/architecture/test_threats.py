"""Every threat of the model is a test, or says where it is documented."""

import ast
import tomllib
from functools import cache
from typing import Any

import pytest

from tests.architecture.source import TOP, Source

THREATS: dict[str, dict[str, Any]] = tomllib.loads((TOP / "tests" / "threats.toml").read_text())
THREATS_COUNT = 54


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = Source((TOP / path).relative_to(TOP)).tree
    return frozenset(node.name for node in ast.walk(tree)
                     if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                     and node.name.startswith("test_"))


def test_every_threat_has_its_number() -> None:
    assert list(THREATS) == [str(number) for number in range(1, THREATS_COUNT + 1)]


@pytest.mark.parametrize("number", THREATS)
def test_a_threat_is_a_test_or_is_documented(number: str) -> None:
    threat = THREATS[number]
    assert set(threat) <= {"what", "tests", "documented"} and threat["what"]
    assert threat["tests"] or "documented" in threat
    for test in threat["tests"]:
        path, _, name = test.partition("::")
        assert (TOP / path).is_file(), f"{number}: there is no {path}"
        assert name in names_in(path), f"{number}: there is no {test}"
    if "documented" in threat:
        text = " ".join((TOP / threat["documented"]["file"]).read_text().split())
        assert threat["documented"]["words"] in text
