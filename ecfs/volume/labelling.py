"""Writing labels: the pool's view of itself, on every target, whenever a checkpoint is durable."""

import os
from dataclasses import replace
from functools import partial

from ecfs.base.errors import TargetError
from ecfs.base.limits import TARGET_PATH_LEN_MAX, TARGET_SYNC_DEADLINE_S
from ecfs.formats import (
    CheckpointPointer,
    Label,
    TargetEntry,
    encode_label,
    label_name,
    labels_among,
)
from ecfs.keys import MasterKey
from ecfs.stripes import Fleet, run_jobs
from ecfs.targets import Target
from ecfs.volume.locate import label_mac

LABELS_KEPT = 2


class Labeller:
    """Holds the newest label and writes it. `label.target_id` is set for each target."""

    def __init__(self, fleet: Fleet, master: MasterKey, label: Label, epoch: int) -> None:
        self._fleet = fleet
        self._mac = label_mac(master)
        self._epoch = epoch
        self.label = label

    @property
    def generation(self) -> int:
        """Of the newest labels."""
        return self.label.generation

    def change(self, label: Label) -> None:
        """Another membership or other slots, from the next `write` on."""
        self.label = label

    async def write(self, pointer: CheckpointPointer | None) -> set[bytes]:
        """LABELS: write the next generation to every target that is there; ids of its holders."""
        targets = tuple(self._entry(entry) for entry in self.label.targets)
        self.label = replace(self.label, epoch=self._epoch, generation=self.label.generation + 1,
                             checkpoint=pointer or self.label.checkpoint, targets=targets)
        jobs = []
        asked = []
        for member in self._fleet.online():
            if member.leaving:
                # Its labels stay those of a member: nothing that it shows later may say more.
                continue
            assert member.target is not None and member.lane is not None
            data = encode_label(replace(self.label, target_id=member.id), self._mac)
            jobs.append((member.lane, partial(self._write_one, member.target, data)))
            asked.append(member)
        done = set()
        for member, result in zip(asked, await run_jobs(jobs, TARGET_SYNC_DEADLINE_S), strict=True):
            if isinstance(result, TargetError):
                self._fleet.note_write_error(member.id, result)
            else:
                done.add(member.id)
                member.generation = (self.label.epoch, self.label.generation)
        return done

    def _entry(self, entry: TargetEntry) -> TargetEntry:
        member = self._fleet.get(entry.id)
        if member is None or not member.online:
            return entry
        path = os.path.abspath(member.path)
        fits = len(os.fsencode(path)) <= TARGET_PATH_LEN_MAX
        return replace(entry, path=path) if fits else entry

    def _write_one(self, target: Target, data: bytes) -> None:
        """Runs in the target's lane. The label before is kept until the next one. What has the name
        of a later one is a later writer's, or junk: it neither goes nor takes the place of ours."""
        ours = (self.label.epoch, self.label.generation)
        target.replace(label_name(*ours), data)
        names = [name for epoch, generation, name in labels_among(target.list_names())
                 if (epoch, generation) <= ours]
        for name in names[LABELS_KEPT:]:
            target.remove(name)
