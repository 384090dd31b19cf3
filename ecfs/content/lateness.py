"""Who has to catch up, remembered in the database."""

from ecfs.metadata import ContentTables, Database
from ecfs.stripes import Fleet


def note_behind(fleet: Fleet, tables: ContentTables, database: Database) -> bool:
    """Remember who has to catch up, so that an interrupted resilver goes on at the next mount;
    whether there was anything to note. In the open transaction."""
    late = {member.id for member in fleet if member.behind}
    lacking = late - tables.behind() if late else late
    if lacking:
        with database.change():
            for target_id in sorted(lacking):
                tables.set_behind(target_id, behind=True)
    return bool(lacking)
