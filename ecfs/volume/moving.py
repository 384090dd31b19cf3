"""Content that commits carry goes into stripes, where it takes less room; what cannot go stays."""

import logging

from ecfs.base.errors import AppendRefused, Damage, NoSpace
from ecfs.content import Files

_log = logging.getLogger("ecfs.volume")


async def move_logged(files: Files) -> None:
    """What only records carry. Else the next record with pages makes rows of it."""
    try:
        await files.flush_logged()
    except (AppendRefused, Damage, NoSpace) as error:
        _log.warning("content stays in the log for now: %s", error)


async def move_small(files: Files) -> None:
    """That, and what is in the database itself."""
    await move_logged(files)
    try:
        await files.move_inline()
    except (AppendRefused, NoSpace) as error:
        _log.warning("content stays in the metadata for now: %s", error)
