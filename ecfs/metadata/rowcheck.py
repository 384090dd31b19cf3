"""What a check of rows is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowCheck:
    """One thing that must hold of the tables.

    `find` is a query with one parameter, the limit; each of its rows is a finding. The first column
    is the inode that it concerns, 0 for none; `text` is formatted with all columns. `repairs` are
    statements whose ?1, ?2, ... are those columns; without any, the repair is not a matter of SQL
    alone. `gives_up`: the repair loses something that was stored.
    """

    id: str
    text: str
    find: str
    repairs: tuple[str, ...] = ()
    gives_up: bool = False

    @property
    def part(self) -> str:
        """Of which pass it is: the id up to its first hyphen."""
        return self.id.split("-", 1)[0]
