"""Sizes and names of files and functions, and that tests neither sleep nor skip."""

import ast

from tests.architecture.source import sources

FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
NAMES_THAT_SAY_NOTHING = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
EVASIONS = {"skip", "skipif", "xfail", "importorskip"}


def test_files_are_short() -> None:
    long = [
        f"{source.path}: {lines} lines"
        for source in sources("ecfs", "tests", "scripts")
        if (lines := source.text.count("\n"))
        > (TEST_FILE_LINES_MAX if source.is_test else FILE_LINES_MAX)
    ]
    assert long == []


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{source.path}:{node.lineno} {node.name}: {lines} lines"
        for source in sources("ecfs", "tests", "scripts")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_file_names_say_what_is_inside() -> None:
    silent = [
        str(source.path)
        for source in sources("ecfs", "tests", "scripts")
        if source.path.name in NAMES_THAT_SAY_NOTHING
    ]
    assert silent == []


def test_tests_neither_sleep_nor_skip() -> None:
    found = []
    for source in sources("tests"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                sleeps = (owner, node.attr) == ("time", "sleep")
                evades = owner in ("pytest", "mark") and node.attr in EVASIONS
                if sleeps or evades:
                    found.append(f"{source.path}:{node.lineno}: {owner}.{node.attr}")
    assert found == []


def test_nothing_is_left_to_be_done() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3)
    found = [
        f"{source.path}:{number}: {line.strip()}"
        for source in sources("ecfs", "tests", "scripts")
        for number, line in enumerate(source.text.splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert found == []


def test_an_ignore_names_its_reason() -> None:
    bare = [
        f"{source.path}:{number}"
        for source in sources("ecfs", "tests", "scripts")
        for number, line in enumerate(source.text.splitlines(), 1)
        if line.rstrip().endswith(("# type" + ": ignore", "# no" + "qa"))
    ]
    assert bare == []
