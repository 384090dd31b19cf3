"""Before a target is replaced: can it be spared, and has the new one room for what it holds?

Asked before anything is changed. From the exchange on the new target counts in the place of the old
one and holds nothing yet; with too many others away, or behind, files could not be read meanwhile.
"""

from ecfs.base.errors import ReadOnly, Refusal, TooFewReachable
from ecfs.base.limits import RESERVE_LEN_MIN
from ecfs.base.units import MIB
from ecfs.formats import KIND_CONTENT, SegmentEntry
from ecfs.metadata import Stored
from ecfs.stripes import Member
from ecfs.volume import COPY_OUT, Volume, dead_len_of

NOTHING_STORED = Stored(0, 0, 0)


def check_spare(volume: Volume, old: Member) -> None:
    """TooFewReachable where the pool needs `old`, which is there: where without it too few of the
    others are there and whole to read every stripe, or, once some are away, to write and to find
    the newest state should a crash come in the middle and `old` not be there after it."""
    others = [member for member in volume.fleet if member is not old]
    lacking = [member for member in others if not member.online or member.behind]
    if not lacking:
        return
    members = set(volume.labeller.label.members)
    here = {member.id for member in others if member.online} & members
    needed = max(volume.quorum.commit, volume.quorum.recover)
    if old.id in members and len(here) < needed:
        raise _needed(old, lacking, f"only {len(here)} of the {needed} members that are needed to "
                      "write would be left")
    whole = {member.id for member in others} - {member.id for member in lacking}
    for entry in _columns_on(volume, old):
        left_count = len(whole.intersection(entry.columns))
        if left_count < entry.data:
            raise _needed(old, lacking, f"only {left_count} of the {entry.data} shards that are "
                          "needed to read some stripes would be left")


def check_writable(volume: Volume) -> None:
    """TooFewReachable, with names, where the pool takes no writes since too few are there to take
    them; ReadOnly where it takes none for another reason."""
    if not volume.read_only:
        return
    told = f"a target cannot be replaced now: {volume.read_only}"
    members = set(volume.labeller.label.members)
    gone = [member for member in volume.fleet if member.id in members and not member.online]
    if len(members) - len(gone) >= volume.quorum.commit:
        raise ReadOnly(told)
    raise TooFewReachable(f"{told}. Nothing was changed. Bring back first, as many as are needed, "
                          f"of: {_listed(gone)}. {COPY_OUT}")


def _needed(old: Member, lacking: list[Member], reason: str) -> TooFewReachable:
    return TooFewReachable(
        f"{old.name} ({old.path}) is there, and the pool cannot spare it now: without it {reason}. "
        f"Nothing was changed. Bring back, or replace, the others first: {_listed(lacking)}")


def _listed(members: list[Member]) -> str:
    return ", ".join(f"{member.name} ({member.path}, {_how(member)})" for member in members)


def _how(member: Member) -> str:
    return "catching up" if member.online else member.state.value


def held_len(volume: Volume, member: Member) -> int:
    """Bytes that a new target takes in the place of one: its columns, but of content that may have
    been given back only what lives, for no more than that is made anew."""
    stored = volume.files.tables.stored_by_segment()
    content = volume.files.index.segments
    length = 0
    for entry in _columns_on(volume, member):
        length += entry.length
        if content.get(entry.id) is entry and not volume.store.keeps_dead(entry, KIND_CONTENT):
            length -= dead_len_of(entry, stored.get(entry.id, NOTHING_STORED))
    return length


def check_room(path: str, free_len: int, needed_len: int) -> None:
    """Refusal where the new target would be full, or in its reserve, before it holds everything."""
    if free_len < needed_len + RESERVE_LEN_MIN:
        raise Refusal(
            f"{path} has {free_len // MIB} MiB free, and {_mib(needed_len + RESERVE_LEN_MIN)} MiB "
            "are needed for what the old target holds and the reserve; give a larger disk. Nothing "
            "was changed")


def _mib(length: int) -> int:
    return -(-length // MIB)


def _columns_on(volume: Volume, member: Member) -> list[SegmentEntry]:
    return [entry for segments in (volume.opened.table.segments, volume.files.index.segments)
            for entry in segments.values() if member.id in entry.columns]
