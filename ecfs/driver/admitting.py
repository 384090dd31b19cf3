"""Who may change something now: a volume is asked before each change."""

from collections.abc import Awaitable, Callable

from ecfs.base.errors import NoSpace
from ecfs.driver.volume_protocol import Mounted


async def admitted(mounted: Mounted, tidy: Callable[[], Awaitable[None]], *, grows: bool) -> None:
    """Return when a change may be made, in the same step of the event loop. ReadOnly; NoSpace for
    one that grows, once what is gone (`tidy`) and dead has given its room back in vain."""
    await mounted.room()
    try:
        mounted.admit(grows=grows)
    except NoSpace:
        await tidy()
        await mounted.make_room()
        mounted.admit(grows=grows)
