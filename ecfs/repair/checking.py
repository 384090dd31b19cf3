"""fsck: look at everything without changing it, repair what the mode allows, look again.

The first look opens the pool read-only: no claim, no write on any target. Only when it found
something that may be repaired is the pool claimed. What is reported as repaired is what the last
look no longer finds, so it is also proven to be readable from the targets.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from ecfs.base.errors import Damage, EcfsError, Refusal, TooFewReachable
from ecfs.observe import Event, EventKind
from ecfs.repair.database_pass import DatabasePass
from ecfs.repair.findings import Finding, Findings, FsckMode, FsckReport
from ecfs.repair.target_pass import TARGET_FINDINGS, TargetPass
from ecfs.volume import (
    Environment,
    OpenOptions,
    Secret,
    Volume,
    claimer_of,
    look_everywhere,
    open_volume,
    pool_of,
)

__all__ = ["Finding", "FsckMode", "FsckReport", "check_pool"]


@dataclass(slots=True)
class _Look:
    """What a look without changes came to."""

    pool_id: str = ""
    findings: Findings = field(default_factory=Findings)
    notes: Counter[str] = field(default_factory=Counter)
    full: bool = True
    gap: bool = False
    mountable: bool = True


async def check_pool(paths: Iterable[str], secret: Secret, environment: Environment,
                     options: OpenOptions | None = None, *, mode: FsckMode,
                     force: bool) -> FsckReport:
    """Check a pool that is not mounted, and repair it as far as `mode` goes.

    Without `force` a pool that was unmounted cleanly and of which nothing is missing is only said
    to be clean. Of `options` it takes where the anchor is, and whether a history that does not
    contain it is accepted: every look then says so in the audit log, and a repair makes that
    history the one that is remembered. Raises refusals, InUse for a mounted pool among them.
    """
    given, chosen = tuple(paths), options or OpenOptions()
    look = await _look(given, secret, environment, chosen, force=force)
    findings = look.findings
    if mode is FsckMode.LOOK or not findings.has_errors() or not look.mountable or (
            look.gap and mode is not FsckMode.YES):
        return FsckReport.of(look.pool_id, mode, findings, full=look.full, notes=dict(look.notes))
    done = await _repair(given, secret, environment, chosen, mode, look)
    if done is None:
        return FsckReport.of(look.pool_id, mode, findings, notes=dict(look.notes))
    after = await _look(given, secret, environment, chosen, force=True)
    done.settle(after.findings)
    return FsckReport.of(look.pool_id, mode, done, notes=dict(after.notes))


# -- looking ---------------------------------------------------------------------------------


async def _look(paths: Sequence[str], secret: Secret, environment: Environment,
                chosen: OpenOptions, *, force: bool) -> _Look:
    look = _Look()
    async with AsyncExitStack() as stack:
        try:
            volume = await _open_to_look(stack, paths, secret, environment, chosen, look)
        except Damage as damage:
            look.mountable = False
            look.pool_id = await _pool_id(paths, environment)
            look.findings.add(Finding(
                "database-lost", f"the metadata cannot be read: {damage}. Bring back more targets, "
                "or get the files out with `ecfs salvage`"))
            return look
        look.pool_id = volume.pool_id.hex()
        await _refuse_mounted(volume)
        look.full = force or look.gap or not volume.opened.clean or any(
            not member.online for member in volume.fleet)
        if look.full:
            await DatabasePass(volume, FsckMode.LOOK, look.findings).run()
            await TargetPass(volume, look.findings, look.notes).look()
    return look


async def _open_to_look(stack: AsyncExitStack, paths: Sequence[str], secret: Secret,
                        environment: Environment, chosen: OpenOptions, look: _Look) -> Volume:
    """The volume, read-only; past a gap in the log, as it is before the gap."""
    try:
        return await stack.enter_async_context(
            open_volume(paths, secret, environment, replace(chosen, read_only=True)))
    except TooFewReachable as error:
        try:
            volume = await stack.enter_async_context(open_volume(
                paths, secret, environment, _past_gap(chosen, read_only=True)))
        except (Refusal, Damage):
            raise error from None
        chain = volume.opened.chain
        if chain is None or not chain.dropped:
            raise
        look.gap = True
        look.findings.add(Finding(
            "log-gap", f"commit {chain.tip.commit.seq + 1} is on no target that is here, but "
            f"{len(chain.dropped)} later ones are; they can be given up, or bring back more "
            "targets", gives_up=True))
        return volume


def _past_gap(chosen: OpenOptions, *, read_only: bool) -> OpenOptions:
    # What this client has acknowledged may be among what is given up: that is the point.
    return replace(chosen, read_only=read_only, drop_tail=True, accept_rollback=True)


async def _refuse_mounted(volume: Volume) -> None:
    """InUse when somebody writes to the pool: on this host, or on another whose heart beats."""
    opened = volume.opened
    opened.lock.take()
    if opened.clean:
        return
    claimer = claimer_of(opened)
    view = await claimer.look()
    if view.newest is not None and claimer.may_be_alive(view.newest):
        await claimer.await_silence(view)


async def _pool_id(paths: Sequence[str], environment: Environment) -> str:
    search = await look_everywhere(paths, environment)
    search.close()
    return (pool_of(search.sightings) or b"").hex()


# -- repairing -------------------------------------------------------------------------------


async def _repair(paths: Sequence[str], secret: Secret, environment: Environment,
                  chosen: OpenOptions, mode: FsckMode, look: _Look) -> Findings | None:
    """Everything that `mode` allows; findings as they were met on the way. None, and one finding
    more in `look`, when the pool does not take writes."""
    findings = Findings()
    options = _past_gap(chosen, read_only=False) if look.gap else chosen
    async with open_volume(paths, secret, environment, options) as volume:
        if volume.read_only:
            look.findings.add(Finding(
                "targets-read-only", f"the pool cannot be repaired now: {volume.read_only}"))
            return None
        for finding in look.findings.kept:
            if finding.id in TARGET_FINDINGS or finding.id == "log-gap":
                findings.add(finding)
        await DatabasePass(volume, mode, findings).run()
        await volume.commit()
        targets = TargetPass(volume, Findings())
        await targets.look()
        try:
            await targets.put_right()
        except EcfsError as error:
            findings.add(Finding("targets-not-mended", str(error)))
        for finding in findings.kept:
            if finding.repaired:
                volume.journal.record(Event(
                    EventKind.REPAIRED, f"fsck: {finding.id}: {finding.description}"))
    return findings
