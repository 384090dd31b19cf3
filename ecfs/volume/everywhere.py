"""Doing one thing on every target that is there, all at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ecfs.base.limits import TARGET_DEADLINE_S
from ecfs.stripes import Fleet, run_jobs
from ecfs.targets import Target

TargetWork = Callable[[Target], Any]


async def on_online(fleet: Fleet, work: TargetWork,
                    deadline_s: float = TARGET_DEADLINE_S) -> dict[bytes, Any]:
    """Do something on every target that is there; results or TargetErrors by target id."""
    online = fleet.online()
    jobs = []
    for member in online:
        assert member.target is not None and member.lane is not None
        jobs.append((member.lane, partial(work, member.target)))
    results = await run_jobs(jobs, deadline_s)
    return dict(zip([member.id for member in online], results, strict=True))
