"""Bytes of files: extents, write-back, cache, read-ahead, truncation, moving extents.

Owns what is dirty and the rows that say where a file's bytes lie. Knows no names, no permissions,
and not when a commit happens.
"""

from ecfs.content.blocks import Mender
from ecfs.content.files import Files
from ecfs.content.index import StripeIndex
from ecfs.content.lateness import note_behind
from ecfs.content.logged import WriteLog
from ecfs.content.state import FileNote, InodeTable

__all__ = ["FileNote", "Files", "InodeTable", "Mender", "StripeIndex", "WriteLog",
           "note_behind"]
