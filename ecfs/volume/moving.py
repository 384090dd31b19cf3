"""Content that commits carry goes into stripes, where it takes less room; what cannot go stays."""

import logging

from ecfs.base.errors import AppendRefused, Damage, NoSpace
from ecfs.content import Files

_log = logging.getLogger("ecfs.volume")


async def move_small(files: Files) -> None:
    """What only records carry, and what is in the database itself."""
    await files.flush_logged()
    try:
        await files.move_inline()
    except (AppendRefused, NoSpace, Damage) as error:
        # It is as safe there. A lost page of these rows is no reason to write no checkpoint, for
        # without them the log grows until nothing more may be written.
        _log.warning("content stays in the metadata for now: %s", error)
