"""How much of the log the next mount has to read, and checkpoints in time to keep that little.

A mount reads records from where the newest labels point, so far and no further (`recordscan`). Who
writes sees to it that all of them lie within: mounts that crash again and again before their first
checkpoint, and checkpoints that fail, would else lead past what is read, and so lose it.
"""

import logging
from collections.abc import Awaitable, Callable

from ecfs.base.errors import AppendRefused, Damage, NoSpace, ReadOnly, TargetError
from ecfs.base.limits import LOG_EPOCHS_DUE, LOG_EPOCHS_MAX, LOG_LEN_DUE, LOG_LEN_MAX
from ecfs.base.units import MIB
from ecfs.formats import CheckpointPointer
from ecfs.volume.committing import Committer
from ecfs.volume.records import LogView

SHORTENED_BY = 2
"""Checkpoints: labels point to where replay from the one before the newest begins."""

_log = logging.getLogger("ecfs.volume")


def check_countable(view: LogView | None) -> None:
    """ReadOnly where so many mounts ended without a checkpoint that another one must not begin."""
    if view is not None and len(_epochs_of(view)) >= 2 * LOG_EPOCHS_MAX:
        raise ReadOnly(f"the last {len(_epochs_of(view))} mounts ended before they could write a "
                       "checkpoint, and what another one wrote might be past what can be read; "
                       "copy the files to another pool, and see why the mounts ended")


def _epochs_of(view: LogView) -> list[int]:
    """Epochs of which most members have a record file: what a few name may be made up."""
    return [epoch for epoch, count in view.files.items() if 2 * count > len(view.read)]


class LogLength:
    """What lies between the place `start`, to which labels point, and the end of the file of
    `epoch`, which is ours. `view` is what was there before this epoch began."""

    def __init__(self, view: LogView | None, epoch: int,
                 start: Callable[[], CheckpointPointer | None], committer: Committer,
                 checkpoint: Callable[[], Awaitable[None]]) -> None:
        self._ends = dict(view.ends) if view is not None else {}
        self._epochs = _epochs_of(view) if view is not None else []
        self._epoch = epoch
        self._start = start
        self._committer = committer
        self._checkpoint = checkpoint

    def length(self) -> int:
        """In bytes of one target's files, without room that is reserved."""
        start = self._start()
        epoch, offset = (start.epoch, start.offset) if start is not None else (0, 0)
        tip = self._committer.tip
        ends = self._ends | {self._epoch: tip.offset + tip.length}
        return sum(end - (offset if number == epoch else 0)
                   for number, end in ends.items() if number >= epoch)

    def epochs(self) -> int:
        """How many files."""
        start = self._start()
        low = start.epoch if start is not None else 0
        return 1 + sum(low <= epoch < self._epoch for epoch in self._epochs)

    def is_due(self) -> bool:
        """Whether it is time for checkpoints."""
        return self.length() > LOG_LEN_DUE or self.epochs() > LOG_EPOCHS_DUE

    def is_full(self) -> bool:
        """Whether nothing more may be acknowledged."""
        return self.length() > LOG_LEN_MAX or self.epochs() > LOG_EPOCHS_MAX

    async def shorten(self) -> None:
        """Write the checkpoints that are due. ReadOnly where they fail and the log is full."""
        failure: Exception | None = None
        for _ in range(SHORTENED_BY):
            if failure is None and self.is_due():
                try:
                    await self._checkpoint()
                except (AppendRefused, NoSpace, Damage, TargetError) as error:
                    failure = error
                    _log.warning("the log is long, and a checkpoint failed: %s", error)
        if self.is_full():
            full = ReadOnly(
                f"the log since the last checkpoints has {self.length() // MIB} MiB of "
                f"{self.epochs()} mounts, which is as much as the next mount is sure to read, and "
                f"no checkpoint can be written ({failure or 'none has made it shorter'}); see to "
                "the targets, then mount the pool again")
            self._committer.fail(full)
            raise full
