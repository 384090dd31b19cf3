"""What a volume asks of what goes on in its background; `tending` has the real one."""

from typing import Protocol


class Background(Protocol):
    """What goes on while a volume is open."""

    async def tend(self) -> None:
        """One round."""
        ...

    async def reclaim(self) -> None:
        """Delete segments in which nothing lives."""
        ...

    async def make_room(self) -> None:
        """Give back what is dead until something may grow again, in bounded time. Does not raise.
        """
        ...

    async def give_back(self) -> None:
        """Give back what is dead, where room is low."""
        ...

    async def tidy(self) -> None:
        """Give back all that is dead, as if room were low."""
        ...


class Idle:
    """Nothing goes on: of a volume that is only read, or not begun yet."""

    async def tend(self) -> None:
        """Nothing."""

    async def reclaim(self) -> None:
        """Nothing."""

    async def make_room(self) -> None:
        """Nothing."""

    async def give_back(self) -> None:
        """Nothing."""

    async def tidy(self) -> None:
        """Nothing."""
