"""The steps of the protocol have the same names in the model, in the code and in the papers."""

import ast
import re

import pytest

from ecfs.testing.modelling import MODEL, STEPS
from tests.architecture.source import TOP, Source, sources

FUNCTIONS = {
    "CLAIM": "Claimer.claim",
    "READ": "read_log",
    "ADOPT": "adopt",
    "SECURE": "LogMender.secure",
    "OPEN": "Committer.open_epoch",
    "STRIPES": "StripeStore.sync",
    "RECORD": "RecordWriter._append_steps",
    "SYNC": "RecordWriter._append_steps",
    "RECHECK": "RecordWriter.check_claims",
    "ACKNOWLEDGE": "Committer._send",
    "CHECKPOINT": "Volume._checkpoint",
    "LABELS": "Labeller.write",
    "DELETE": "Volume._give_back",
    "EXCHANGE": "exchange_member",
    "REJOIN": "Rejoiner._prepare",
}


def documented(source: Source) -> dict[str, str]:
    """Docstrings of functions and methods, by qualified name."""
    found = {}
    for node in source.tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for function in inner:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + function.name] = ast.get_docstring(function) or ""
    return found


@pytest.fixture(scope="module")
def docstrings() -> dict[str, str]:
    """Of the rooms that keep the protocol."""
    found: dict[str, str] = {}
    for source in sources("ecfs/volume", "ecfs/stripes"):
        found.update(documented(source))
    return found


def test_the_steps_of_the_model_are_those_of_the_code() -> None:
    assert set(STEPS) == set(FUNCTIONS)
    text = MODEL.read_text()
    for step in STEPS:
        assert re.search(rf"\b{step}\b", text), step


@pytest.mark.parametrize("step", STEPS)
def test_the_function_that_does_a_step_says_so(step: str, docstrings: dict[str, str]) -> None:
    assert re.search(rf"\b{step}\b", docstrings[FUNCTIONS[step]]), FUNCTIONS[step]


def test_the_table_in_the_papers_names_steps_that_there_are() -> None:
    text = (TOP / "docs" / "design.md").read_text()
    named = re.findall(r"^\| ([A-Z]+):", text, re.MULTILINE)
    assert len(named) >= 10
    assert set(named) <= set(STEPS)
