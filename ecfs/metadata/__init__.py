"""The database: SQLite over the log, its pages, tables and every SQL statement.

No other room writes SQL. It knows nothing of POSIX rules (namespace) nor of who may write (volume).
"""

from ecfs.metadata.checking import (
    ATTRIBUTE_CHECKS,
    CONTENT_CHECKS,
    EXTENT_CHECKS,
    MAP_CHECKS,
    ROOT_CHECKS,
    SEGMENT_CHECKS,
    TREE_CHECKS,
    CheckQueries,
    RowCheck,
)
from ecfs.metadata.content import ContentTables, ExtentRow, StripeRow
from ecfs.metadata.database import Database
from ecfs.metadata.dead import LiveRun, Stored
from ecfs.metadata.deltas import decode_delta, encode_delta
from ecfs.metadata.mapping import Hidden, NewPiece
from ecfs.metadata.pages import (
    CHUNK_LEN,
    CHUNK_PLACES,
    Batch,
    PageMap,
    PageStore,
)
from ecfs.metadata.sharing import SharingTables
from ecfs.metadata.tree import TreeTables
from ecfs.metadata.vfs import MAIN_NAME, PageVfs
from ecfs.metadata.whole_maps import MapPiece

__all__ = [
    "ATTRIBUTE_CHECKS", "CHUNK_LEN", "CHUNK_PLACES", "CONTENT_CHECKS", "EXTENT_CHECKS", "MAIN_NAME",
    "MAP_CHECKS", "ROOT_CHECKS", "SEGMENT_CHECKS", "TREE_CHECKS", "Batch", "CheckQueries",
    "ContentTables", "Database", "ExtentRow", "Hidden", "LiveRun", "MapPiece", "NewPiece",
    "PageMap", "PageStore", "PageVfs", "RowCheck", "SharingTables", "Stored", "StripeRow",
    "TreeTables", "decode_delta", "encode_delta",
]
