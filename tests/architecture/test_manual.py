"""The runbook has a page for each event and each error id, and the manual is made from it."""

import ast
import re

import pytest

from ecfs.base.errors import EcfsError
from ecfs.cli.runbook import EVENTS, REFUSALS
from ecfs.observe import AUDITED_KINDS, CRITICAL_KINDS, SEVERITIES, EventKind, Severity
from ecfs.testing.manual import DOCUMENT, PAGE, document, exit_codes, page
from tests.architecture.source import sources


def test_every_event_has_a_severity_and_a_page() -> None:
    assert set(EVENTS) == set(SEVERITIES) == set(EventKind)
    assert all(entry.means and entry.do for entry in [*EVENTS.values(), *REFUSALS.values()])


def test_every_error_id_has_a_page() -> None:
    assert set(REFUSALS) == set(exit_codes())


def test_every_error_id_in_the_source_has_a_page() -> None:
    named = {
        node.value
        for source in sources("ecfs")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"E-[A-Z-]+", node.value)
    }
    assert named == set(REFUSALS)


def test_exit_codes_of_refusals_are_those_of_the_contract() -> None:
    codes = {name: code for name, code in exit_codes().items() if code not in (0, 1, 2, 70)}
    assert sorted(codes.values()) == list(range(10, 24))
    assert codes["E-PASSPHRASE"] == 10 and codes["E-FORKED"] == 23
    assert EcfsError.exit_code == 1


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_is_told_somewhere(kind: EventKind) -> None:
    name = f"EventKind.{kind.name}"
    telling = [source.path for source in sources("ecfs")
               if source.room not in ("observe", "testing", "cli") and name in source.text]
    assert telling, f"nothing records {name}"


def test_what_asks_for_an_act_is_audited() -> None:
    for kind, severity in SEVERITIES.items():
        assert severity is Severity.INFO or kind in AUDITED_KINDS
        assert severity is not Severity.ALARM or kind in CRITICAL_KINDS


def test_the_manual_is_what_the_runbook_says() -> None:
    how = "run python -m ecfs.testing.manual"
    assert DOCUMENT.read_text() == document(), how
    assert PAGE.read_text() == page(), how


def test_the_manual_lists_each_id_once() -> None:
    for name in [*EVENTS, *REFUSALS]:
        assert document().count(f"\n### {name}\n") == 1
        assert page().count(f"\n.It Sy {name} Pq ") == 1
