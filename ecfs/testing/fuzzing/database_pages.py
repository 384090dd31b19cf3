"""Target: pages of the metadata database, authentic and wrong, as a bug would write them."""

from collections.abc import Callable, Iterator
from functools import cache

from ecfs.base.errors import Damage, EcfsError
from ecfs.base.ids import ROOT_INODE
from ecfs.base.units import BLOCK_LEN
from ecfs.base.world import SystemClock
from ecfs.formats import SegmentEntry
from ecfs.metadata import (
    MAIN_NAME,
    TREE_CHECKS,
    CheckQueries,
    ContentTables,
    Database,
    ExtentRow,
    PageStore,
    PageVfs,
    StripeRow,
)
from ecfs.namespace import Tree
from ecfs.testing.fuzzing.material import POOL_ID
from ecfs.testing.fuzzing.target import FuzzTarget

FUZZED, MADE = "fuzzed", "made"


def database_pages(data: bytes) -> None:
    """Each four bytes: a place in the database, and what is exclusive-ored into it."""
    image = bytearray(_image())
    for at in range(0, len(data) - 3, 4):
        image[int.from_bytes(data[at:at + 3], "big") % len(image)] ^= data[at + 3]
    pages = PageStore(_nowhere)
    pages.page_count = len(image) // BLOCK_LEN
    pages.overlay = {page + 1: bytes(image[page * BLOCK_LEN:(page + 1) * BLOCK_LEN])
                     for page in range(pages.page_count)}
    vfs = PageVfs(FUZZED, pages)
    database = _opened(FUZZED, pages)
    try:
        _use(database)
    finally:
        database.close()
        vfs.unregister()


def _use(database: Database) -> None:
    database.check_version()
    tree, tables = Tree(database, SystemClock()), ContentTables(database)
    looks: list[Callable[[], object]] = [
        lambda: tree.attributes(ROOT_INODE), lambda: tree.list_directory(ROOT_INODE),
        lambda: tree.lookup(ROOT_INODE, b"file3"), tree.count, lambda: tree.orphans(10),
        lambda: tree.list_xattrs(ROOT_INODE), tables.segments, tables.next_ids,
        lambda: tables.stripe(1), lambda: tables.extents_of(1), lambda: tables.extent(1),
        lambda: tables.pieces(3, 0, 1 << 20, 100), lambda: tables.history_hash(1),
        tables.behind, tables.live_by_segment, lambda: database.integrity_findings(20),
        lambda: [CheckQueries(database).find(check, 20) for check in TREE_CHECKS],
    ]
    for look in looks:
        try:
            look()
        except EcfsError as error:
            if not isinstance(error, Damage) and error.id == "E-BUG":
                raise


@cache
def _image() -> bytes:
    """A small database of ours, whole."""
    pages = PageStore(_nowhere)
    vfs = PageVfs(MADE, pages)
    database = _opened(MADE, pages)
    database.create_tables()
    tree, tables = Tree(database, SystemClock()), ContentTables(database)
    tree.format_root(0, 0, 0o755)
    for number in range(40):
        made = tree.create(ROOT_INODE, b"file%d" % number, mode=0o100644, uid=0, gid=0)
        tree.set_xattr(made.inode, b"user.a", b"value")
    tables.put_segment(SegmentEntry(5, 3, 4, 2, (POOL_ID,) * 6, 0x9000))
    tables.add_stripe(StripeRow(1, 5, 0x1000, 0x3EF8, bytes(32), bytes(32), 0))
    tables.add_extent(ExtentRow(1, 1, 0, 4096, 0), birth=1)
    tables.map_range(3, 0, 4096, 1)
    database.commit()
    database.close()
    vfs.unregister()
    return b"".join(pages.committed(page) for page in range(1, pages.page_count + 1))


def _opened(name: str, pages: PageStore) -> Database:
    def take_damage() -> Damage | None:
        damage, pages.damage = pages.damage, None
        return damage

    return Database(MAIN_NAME, vfs=name, damage_of=take_damage)


def _nowhere(place: int) -> bytes:
    raise Damage("no stripe holds this page")


def _seeds() -> Iterator[bytes]:
    yield b""
    for page in range(len(_image()) // BLOCK_LEN):
        start = (page * BLOCK_LEN).to_bytes(3, "big")
        yield start + b"\xff"
        yield b"".join((page * BLOCK_LEN + at).to_bytes(3, "big") + b"\x5a"
                       for at in range(0, BLOCK_LEN, 97))


TARGETS = (FuzzTarget("database-pages", database_pages, _seeds, refusals=(EcfsError,)),)
