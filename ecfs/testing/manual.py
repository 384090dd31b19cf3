"""Makes docs/operations.md and man/ecfs-events.7 from the runbook: `python -m ecfs.testing.manual`.
"""

import re
import sys
from pathlib import Path

from ecfs.base.errors import EcfsError
from ecfs.cli.outcome import INTERRUPTED
from ecfs.cli.runbook import EVENTS, REFUSALS, Entry
from ecfs.observe import AUDITED_KINDS, SEVERITIES, EventKind, Severity

TOP = Path(__file__).resolve().parents[2]
DOCUMENT = TOP / "docs" / "operations.md"
PAGE = TOP / "man" / "ecfs-events.7"
_BY_SEVERITY = sorted(EventKind, key=lambda kind: (-list(Severity).index(SEVERITIES[kind]), kind))
_WORDS_OF_SEVERITY = {
    Severity.ALARM: "act at once: the storage or somebody on this machine may be hostile, or data "
                    "is in danger",
    Severity.ERROR: "act soon: something does not work, or one more fault costs data",
    Severity.WARNING: "look at it: something was wrong and ecfs coped, or a person overrode it",
    Severity.INFO: "nothing to do",
}
_INTRO = (
    "Every event has a stable id, which stands in the log, in the audit log (`ecfs audit`) and in "
    "this list; every error that a command ends with has a stable id, at the end of its message "
    "and in its JSON. Ids do not change their meaning.")


def exit_codes() -> dict[str, int]:
    """Exit code of each error id that a command can end with."""
    found = {"E-OS": EcfsError.exit_code, INTERRUPTED.id: INTERRUPTED.exit_code}
    waiting: list[type[EcfsError]] = [EcfsError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__.startswith("ecfs."):
            waiting += kind.__subclasses__()
            if isinstance(kind.__dict__.get("id"), str):
                found[kind.id] = kind.exit_code
    return found


def document() -> str:
    """docs/operations.md."""
    lines = ["# Operations: events, errors, and what to do", "",
             "Made from `ecfs/cli/runbook.py` by `python -m ecfs.testing.manual`; ecfs-events(7) "
             "has the same.", "", _INTRO, "", "| severity | means |", "|---|---|"]
    lines += [f"| {severity} | {_WORDS_OF_SEVERITY[severity]} |" for severity in _WORDS_OF_SEVERITY]
    lines += ["", "## Events", ""]
    for kind in _BY_SEVERITY:
        lines += [f"### {kind}", "", f"*{_traits(kind)}.* {EVENTS[kind].means}", "",
                  f"**Do:** {EVENTS[kind].do}", ""]
    lines += ["## Errors", "", "Exit codes are those of all verbs but `ecfs fsck` and the helpers "
              "of mount(8), which have the bits of fsck(8) and mount(8).", ""]
    codes = exit_codes()
    for name, entry in REFUSALS.items():
        lines += [f"### {name}", "", f"*exit code {codes[name]}.* {entry.means}", "",
                  f"**Do:** {entry.do}", ""]
    return "\n".join(lines)


def page() -> str:
    """man/ecfs-events.7."""
    lines = [".Dd November 25, 2026", ".Dt ECFS-EVENTS 7", ".Os", ".Sh NAME", ".Nm ecfs-events",
             ".Nd what ecfs tells of, what it means and what to do", ".Sh DESCRIPTION",
             _mdoc(_INTRO), ".Pp", "Severities:", ".Bl -tag -width warning"]
    for severity, words in _WORDS_OF_SEVERITY.items():
        lines += [f".It {severity}", words]
    lines += [".El", ".Sh EVENTS", ".Bl -tag -width Ds"]
    for kind in _BY_SEVERITY:
        lines += [f".It Sy {kind} Pq {_traits(kind)}", *_told(EVENTS[kind])]
    lines += [".El", ".Sh ERROR IDS", "Exit codes are those of all verbs but", ".Nm ecfs Cm fsck",
              "and the helpers of", ".Xr mount 8 .", ".Bl -tag -width Ds"]
    codes = exit_codes()
    for name, entry in REFUSALS.items():
        lines += [f".It Sy {name} Pq exit code {codes[name]}", *_told(entry)]
    lines += [".El", ".Sh SEE ALSO", ".Xr ecfs 1 ,", ".Xr ecfs-audit 1 ,", ".Xr ecfs-status 1", ""]
    return "\n".join(lines)


def _traits(kind: EventKind) -> str:
    return f"{SEVERITIES[kind]}, {'audited' if kind in AUDITED_KINDS else 'not audited'}"


def _told(entry: Entry) -> list[str]:
    return [_mdoc(entry.means), ".br", r"\fBDo:\fR " + _mdoc(entry.do)]


def _mdoc(text: str) -> str:
    """Text for mdoc(7), a sentence a line; what is typed in bold."""
    quoted = text.replace("\\", r"\e").replace("-", r"\-")
    quoted = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", quoted)
    return re.sub(r"(?<=[.:?]) (?=[A-Z])", "\n", quoted)


def main() -> int:
    """Writes both; always 0."""
    DOCUMENT.write_text(document())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
