"""Is this pool mounted here, whatever way it was named?"""

from dataclasses import replace

import trio

from ecfs.base.errors import EcfsError
from ecfs.cli.linux import mounts_of
from ecfs.cli.pool import PoolSpec
from ecfs.cli.runtime import MountRecord
from ecfs.cli.tools import Tools


def mounted_as(spec: PoolSpec, tools: Tools) -> MountRecord | None:
    """The live mount of the pool: by the paths of its targets, else by the id in its labels. Its
    mount point is where it is now: a folder above may have been renamed."""
    record = _record_of(spec, tools)
    if record is None or not record.device:
        return record
    here = [mount.mountpoint for mount in mounts_of(record.device)]
    if not here or record.mountpoint in here:
        return record
    return replace(record, mountpoint=here[0])


def _record_of(spec: PoolSpec, tools: Tools) -> MountRecord | None:
    if spec.mounted is not None:
        return spec.mounted
    if not any(record.is_alive for record in tools.run.records()):
        return None
    try:
        pool_id = trio.run(tools.engine.peek, spec.paths)["pool_id"]
    except EcfsError:
        # Whatever is wrong with the labels is told by the verb itself.
        return None
    return tools.run.of_pool(pool_id)
