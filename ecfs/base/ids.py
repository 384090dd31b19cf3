"""Ids as distinct types, so that two of them cannot change places unnoticed."""

from typing import NewType

InodeId = NewType("InodeId", int)
ExtentId = NewType("ExtentId", int)
StripeId = NewType("StripeId", int)
SegmentId = NewType("SegmentId", int)
ShardIndex = NewType("ShardIndex", int)
Epoch = NewType("Epoch", int)
CommitSeq = NewType("CommitSeq", int)
PageNumber = NewType("PageNumber", int)

PoolId = NewType("PoolId", bytes)
TargetId = NewType("TargetId", bytes)
WriterId = NewType("WriterId", bytes)

ID_LEN = 16
ROOT_INODE = InodeId(1)
