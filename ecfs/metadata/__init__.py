"""The database: SQLite over the log, its pages, tables and every SQL statement.

No other room writes SQL. It knows nothing of POSIX rules (namespace) nor of who may write (volume).
"""

from ecfs.metadata.content import ContentTables, ExtentRow, MapPiece, StripeRow
from ecfs.metadata.database import Database
from ecfs.metadata.pages import (
    CHUNK_LEN,
    CHUNK_PLACES,
    Batch,
    PageMap,
    PageStore,
    decode_delta,
    encode_delta,
)
from ecfs.metadata.tree import TreeTables
from ecfs.metadata.vfs import MAIN_NAME, PageVfs

__all__ = [
    "CHUNK_LEN", "CHUNK_PLACES", "MAIN_NAME", "Batch", "ContentTables", "Database", "ExtentRow",
    "MapPiece", "PageMap", "PageStore", "PageVfs", "StripeRow", "TreeTables",
    "decode_delta", "encode_delta",
]
