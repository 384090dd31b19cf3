"""What a volume asks of who tends it."""

from typing import Protocol


class Background(Protocol):
    """What goes on while a volume is open; `tending` has the real one."""

    async def tend(self) -> None:
        """One round."""
        ...

    async def reclaim(self) -> None:
        """Delete segments in which nothing lives."""
        ...
