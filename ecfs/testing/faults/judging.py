"""One life of a damaged pool: mounted, read, mended, scrubbed; and what must hold of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from ecfs.base.errors import Bug, Damage, EcfsError, UnknownFormat
from ecfs.base.ids import InodeId
from ecfs.formats import decode_label
from ecfs.observe import Event, EventKind, Journal
from ecfs.observe.events import EVIDENCE_KINDS
from ecfs.repair import scrub
from ecfs.testing.faults.disk import Disks
from ecfs.testing.faults.expecting import Expectation, intact
from ecfs.testing.faults.site import XATTR, XATTR_VALUE, Site, labels_of
from ecfs.testing.faults.world import FaultGround
from ecfs.testing.pools import Opening, live_columns
from ecfs.volume import OpenOptions

TIME_MAX_S = 120.0
TELLING = EVIDENCE_KINDS | {
    EventKind.REPAIRED, EventKind.SHARD_MENDED, EventKind.RECORD_TORN}
"""Kinds of events that name a damaged target."""


@dataclass(slots=True)
class Verdict:
    """What was wrong, a line each, the kind of wrong first; `log`: what happened."""

    problems: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def blame(self, kind: str, detail: str) -> None:
        """Something did not hold."""
        self.problems.append(f"{kind}: {detail}")


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error


async def judge(site: Site, ground: FaultGround, expected: Expectation, *,
                check_again: bool) -> Verdict:
    """Live with the damage. `check_again`: fsck afterwards as well."""
    verdict = Verdict()
    began_s = trio.current_time()
    try:
        async with ground.open_and_crash(OpenOptions()) as opening:
            await _life(site, ground.disks, opening, expected, verdict)
    except BaseException as error:
        judge_error(error, expected.may_fail, verdict)
    if trio.current_time() - began_s > TIME_MAX_S:
        verdict.blame("slow", f"took {trio.current_time() - began_s:.0f} s")
    if check_again and not verdict.problems and not expected.may_fail and (
            not expected.beyond and not expected.missing):
        try:
            report = await ground.fsck()
            if not report.clean:
                verdict.blame("fsck", "; ".join(f"{one.id} {one.description}"
                                                for one in report.findings[:3]))
        except BaseException as error:
            judge_error(error, "", verdict)
    return verdict


def judge_error(error: BaseException, may_fail: str, verdict: Verdict) -> None:
    """Nothing but an EcfsError may come out, and that only where it is excused."""
    for leaf in leaves_of(error):
        if isinstance(leaf, (KeyboardInterrupt, SystemExit)):
            raise leaf
        verdict.log.append(f"raised {type(leaf).__name__}: {leaf}")
        if isinstance(leaf, Bug) or not isinstance(leaf, EcfsError):
            verdict.blame("crash", f"{type(leaf).__name__}: {leaf}")
        elif not may_fail:
            verdict.blame("refused", f"{type(leaf).__name__}: {leaf}")


async def _life(site: Site, disks: Disks, opening: Opening, expected: Expectation,
                verdict: Verdict) -> None:
    volume = opening.volume
    if volume.read_only and not (expected.read_only or expected.may_fail):
        verdict.blame("read-only", volume.read_only)
    await _read_all(site, opening, expected, verdict, "read")
    if not volume.read_only:
        await trio.sleep(0.5)
        await opening.mending.drained()
    await scrub(volume)
    if expected.lost and not volume.read_only:
        await _read_all(site, opening, expected, verdict, "read after scrub")
    _check_events(site, volume.journal, expected, verdict)
    if not volume.read_only and not expected.may_fail:
        _check_mended(site, disks, opening, expected, verdict)


async def _read_all(site: Site, opening: Opening, expected: Expectation, verdict: Verdict,
                    word: str) -> None:
    shell = opening.shell
    try:
        found = shell.paths()
    except Damage:
        if not expected.may_fail:
            raise
        return
    if found.keys() != site.expected.keys():
        verdict.blame("wrong names", f"{word}: {sorted(found.keys() ^ site.expected.keys())}")
    for path, content in site.expected.items():
        if path not in found:
            continue
        try:
            if shell.is_file(path):
                data = await shell.read(path)
                if data != content:
                    verdict.blame("wrong bytes", f"{word}: {path!r}")
        except Damage as damage:
            if path not in expected.lost and not expected.may_fail:
                verdict.blame("unreadable", f"{word}: {path!r}: {damage}")
    try:
        if opening.volume.tree.get_xattr(found[b"docs/small1"].inode, XATTR) != XATTR_VALUE:
            verdict.blame("wrong bytes", f"{word}: attribute")
        if opening.volume.tree.readlink(found[b"link"].inode) != b"docs/small1":
            verdict.blame("wrong bytes", f"{word}: link")
        size = len(await opening.volume.files.read(InodeId(site.orphan), 0, 1 << 20))
        if size != 9_000:
            verdict.blame("wrong bytes", f"{word}: the orphan has {size}")
    except EcfsError:
        if not (expected.may_fail or expected.lost):
            raise


def _check_events(site: Site, journal: Journal, expected: Expectation, verdict: Verdict) -> None:
    events = journal.recent(10_000)
    verdict.log += [event.text() for event in events]
    honest = {number for number in range(site.shape.targets_count)
              if number not in expected.hurt}
    for event in events:
        if event.kind in EVIDENCE_KINDS:
            for number in honest:
                if _tells_of(site, event, number):
                    verdict.blame("accused", f"target {number}: {event.kind}")
    for number in sorted(expected.named):
        if not any(event.kind in TELLING and _tells_of(site, event, number) for event in events):
            verdict.blame("not named", f"target {number}")


def _tells_of(site: Site, event: Event, number: int) -> bool:
    if event.target is not None:
        return event.target == site.ids[number]
    path = site.paths[number]
    return f"{path}:" in event.message or f"{path}/" in event.message


def _check_mended(site: Site, disks: Disks, opening: Opening, expected: Expectation,
                  verdict: Verdict) -> None:
    """What is there is as it was, byte for byte."""
    live = live_columns(opening.volume)
    for target in expected.hurt - expected.missing:
        disk = disks.disks[site.paths[target]]
        for number, stripe in enumerate(site.stripes):
            if stripe.column not in live or target not in stripe.targets or (
                    number in expected.beyond or (not stripe.live and expected.beyond)):
                continue
            if not intact(site, disks, target, stripe.column, stripe.offset,
                          stripe.offset + stripe.record_len):
                word = "stripe" if stripe.live else "dead stripe"
                verdict.blame("not mended", f"{word} {number} of target {target}")
            if not intact(site, disks, target, stripe.column, 0, 4096):
                verdict.blame("not mended", f"header of {stripe.column} of target {target}")
        for record in site.records:
            if target in site.members and not intact(
                    site, disks, target, record.name, record.offset,
                    record.offset + record.length):
                verdict.blame("not mended", f"record {record.name}+{record.offset:x}")
        for name in labels_of(disk.files)[:2]:
            try:
                if disk.bad.get(name) or decode_label(bytes(disk.files[name])).was_rotten:
                    verdict.blame("not mended", f"{name} of target {target}")
            except (Damage, UnknownFormat) as error:
                verdict.blame("not mended", f"{name} of target {target}: {error}")
