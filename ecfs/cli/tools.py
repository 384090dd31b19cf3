"""What every verb is handed: the engine, the run directory, the log."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ecfs.cli.engine import Engine
from ecfs.cli.runtime import RunDirectory


class LogStarter(Protocol):
    """Sends the log somewhere; see `logs.start_log`."""

    def __call__(self, name: str, *, log_file: str | None, to_stderr: bool = False) -> None:
        """Starts the log of this process."""
        ...


@dataclass(frozen=True)
class Tools:
    """The outside of a command."""

    engine: Engine
    run: RunDirectory
    state_dir: Path
    log: LogStarter
